"""Makes the virtual environment with the Azure clients, once. Standard library only."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
INSTALLED_WITHIN = 900


def python(cache):
    """The interpreter of the environment in `cache`, which is made unless the same has been made there before."""
    cache.mkdir(parents=True, exist_ok=True)
    venv, stamp = cache / "venv", cache / ".stamp"
    requirements = HERE / "requirements.txt"
    # A venv belongs to one path and to one Python, whatever name that was called by.
    key = json.dumps([str(cache), sys.base_prefix, sys.version, requirements.read_text()])
    wanted = hashlib.sha256(key.encode()).hexdigest()
    with open(cache / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be installing
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(venv, ignore_errors=True)
            run(cache, sys.executable, "-m", "venv", venv)
            pip = [venv / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input"]
            run(cache, *pip, "install", "--requirement", requirements)
            stamp.write_text(wanted)
    return venv / "bin" / "python"


def run(cache, *argv):
    print("installing: " + " ".join(str(arg) for arg in argv[-4:]), flush=True)
    done = subprocess.run(
        [str(arg) for arg in argv],
        cwd=cache,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=INSTALLED_WITHIN,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{argv[0]}: exit status {done.returncode}\n{done.stdout[-4000:]}")
