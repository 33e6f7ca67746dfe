"""Child processes that end with the one that started them, whatever becomes of that. Standard library only."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# Before there are children: between fork and exec little may be done.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
STARTED_WITHIN, STOPPED_WITHIN = 60, 40


def die_with_parent():
    """For `preexec_fn`."""
    if LIBC:
        LIBC.prctl(1, signal.SIGTERM)  # 1 = PR_SET_PDEATHSIG


def spawn(argv, log, **options):
    """Starts a child in a process group of its own, so that its workers can be stopped with it."""
    with open(log, "ab") as out:
        return subprocess.Popen(
            [str(arg) for arg in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=die_with_parent, **options,
        )


def signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says the second of a group of zombies
        pass


def end(processes, within=3):
    """Ends process groups: politely at first, then for sure."""
    for process in processes:
        signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + within
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.02)
    for process in processes:
        signal_group(process, signal.SIGKILL)
        process.wait()


def tail(log, lines=40):
    return "\n".join(Path(log).read_text(errors="replace").splitlines()[-lines:])


def start_dev(binary, directory):
    """Starts `scoregate dev` with its data below a directory: the process, its ready-file and its log."""
    ready, log = directory / "ready.json", directory / "dev.log"
    argv = [binary, "dev", "--port-base", "0", "--ready-file", ready, "--data-dir", directory / "dev"]
    return spawn(argv, log), ready, log


@contextlib.contextmanager
def dev(binary, directory):
    """A running `scoregate dev`; gives what its ready-file says."""
    process, ready, log = start_dev(binary, directory)
    try:
        yield wait_for(ready, process, log)
        if process.poll() is not None:
            sys.exit(f"scoregate dev ended by itself: {process.returncode}\n{tail(log)}")
    finally:
        end([process], STOPPED_WITHIN)


def wait_for(ready, process, log):
    deadline = time.monotonic() + STARTED_WITHIN
    while process.poll() is None and time.monotonic() < deadline:
        # Not all of it may be written yet.
        with contextlib.suppress(OSError, ValueError):
            return json.loads(ready.read_text())
        time.sleep(0.05)
    sys.exit(f"scoregate dev is not ready:\n{tail(log)}")
