"""Records checks: one line each, in the order they are made, and a summary at the end."""

import contextlib
import time
import traceback

from azure.core.exceptions import HttpResponseError

# A change is in force a second after it was acknowledged, and on a slow machine after a few looks.
IN_FORCE_WITHIN = 1.0
LOOKS = 5


class Checks:
    """What was tried and whether it held."""

    def __init__(self):
        self.count = 0
        self.failed = []
        self.within = ""
        self.started = time.monotonic()

    def that(self, what, held, seen=None):
        """Records whether something holds; `seen` is told when it does not."""
        self.count += 1
        what = f"{self.within}: {what}"
        if held:
            print(f"ok {self.count} {what}", flush=True)
        else:
            self.failed.append(what)
            print(f"not ok {self.count} {what}\n    seen: {str(seen)[:2000]}", flush=True)
        return bool(held)

    def equal(self, what, seen, expected):
        return self.that(what, seen == expected, f"{seen!r}\n    not:  {expected!r}")

    def soon(self, what, look, expected):
        """Looks again and again until it sees what is expected, or the time for that is over."""
        deadline, looks = time.monotonic() + IN_FORCE_WITHIN, 0
        while True:
            seen, looks = look(), looks + 1
            if seen == expected or (time.monotonic() > deadline and looks >= LOOKS):
                return self.equal(what, seen, expected)
            time.sleep(0.02)

    def refused(self, what, call, status, code=None, kind=HttpResponseError, target=None):
        """Records that a client's call raises `kind` with this status, and with the code and target in `.error`.

        `status` and `code` may be one or a tuple of several. The exception is returned.
        """
        try:
            seen = f"no exception but {call()!r}"
        except HttpResponseError as error:
            told = error.error
            seen = (type(error).__name__, error.status_code, told and told.code, told and told.target, error.message)
            held = isinstance(error, kind) and error.status_code in several(status)
            # An envelope that azure.core can read is wanted always, whatever is in it.
            held = held and bool(told and told.code and told.message)
            held = held and (code is None or told.code in several(code))
            held = held and (target is None or told.target == target)
            self.that(what, held, seen)
            return error
        except Exception as error:  # whatever else a client raises is not what its user can handle
            seen = f"{type(error).__name__}: {error}"
        self.that(what, False, seen)
        return None

    @contextlib.contextmanager
    def chapter(self, name, title):
        """Checks that belong together. An exception ends the chapter, as a check that did not hold."""
        print(f"# {name}: {title}", flush=True)
        self.within, started = name, time.monotonic()
        try:
            yield
        except TimeoutError:  # of the whole journey
            raise
        except Exception:
            self.that("to the end of the chapter", False, "\n" + traceback.format_exc(limit=-6)[-4000:])
        print(f"# {name}: {time.monotonic() - started:.1f} s", flush=True)

    def summary(self, least):
        """Prints what came of it all; whether everything held and enough was tried."""
        seconds = time.monotonic() - self.started
        print(f"{self.count - len(self.failed)} of {self.count} checks held, in {seconds:.0f} s", flush=True)
        for what in self.failed:
            print(f"  did not hold: {what}", flush=True)
        if self.count < least:
            print(f"  only {self.count} checks ran, and at least {least} have to", flush=True)
        return not self.failed and self.count >= least


def several(one_or_more):
    return one_or_more if isinstance(one_or_more, tuple) else (one_or_more,)


def told(answer):
    """Status and code of a refusal and whether it has a message, if it is in the envelope that all clients read."""
    try:
        error = answer.json()["error"]
        return answer.status_code, error["code"], bool(error["message"])
    except (ValueError, KeyError, TypeError):
        return answer.status_code, "no envelope", answer.text[:500]
