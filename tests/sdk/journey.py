#!/usr/bin/env python3
"""Drives a `scoregate dev` through the unmodified Azure clients for Python and checks what comes of it.

    journey.py [PATH_OF_SCOREGATE]          or SCOREGATE_BIN=PATH journey.py

Installs the clients below target/sdk first. Prints a line for each check; exits 0 only if all held and enough ran.
"""

import argparse
import logging
import os
import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# No bytecode beside the sources, here and in the processes that this one starts.
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

LEAST = 60
WITHIN = 900


def too_late(*_):
    raise TimeoutError(f"not done in {WITHIN} s")


def ended(number, _frame):
    sys.exit(128 + number)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "binary", nargs="?", default=os.environ.get("SCOREGATE_BIN", ROOT / "target" / "debug" / "scoregate")
    )
    arguments.add_argument("--cache", type=Path, default=ROOT / "target" / "sdk")
    arguments.add_argument("--only", metavar="CHAPTER", help="run only this one, such as `keys`")
    arguments = arguments.parse_args()
    cache = arguments.cache.resolve()
    if Path(sys.prefix) != cache / "venv":
        import installed

        python = installed.python(cache)
        os.execv(python, [str(python), __file__, *sys.argv[1:]])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ended)
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(WITHIN)
    # What the clients log besides is no part of what is checked.
    logging.disable(logging.CRITICAL)
    return walk(str(Path(arguments.binary).resolve()), arguments.only)


def walk(binary, only):
    # Not before the environment is known to be the right one; and processes forked for `fresh` shall not do it again.
    import aiming
    import batch_resources
    import deployments
    import endings
    import endpoints
    import errors
    import grants
    import keys
    import management
    import roles
    import scoring
    import tokens
    import traffic
    import world
    from checks import Checks

    chapters = [
        aiming,
        endpoints,
        deployments,
        batch_resources,
        traffic,
        scoring,
        keys,
        tokens,
        grants,
        roles,
        management,
        errors,
        endings,
    ]
    checks = Checks()
    with world.running(binary) as here:
        for chapter in chapters:
            if only in (None, chapter.__name__):
                with checks.chapter(chapter.__name__, chapter.__doc__.splitlines()[0]):
                    chapter.run(here, checks)
        held = checks.summary(LEAST)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
