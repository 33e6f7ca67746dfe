#!/usr/bin/env python3
"""Runs a script of this directory in a venv with the clients and servers it needs, made once. Standard library only."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / "target" / "protocols"
PACKAGES = [
    "grpcio==1.85.1", "grpcio-health-checking==1.85.1", "openai==3.54.0",
    "mlflow-skinny==3.17.2", "pandas==3.1.1", "fastapi==0.165.0", "uvicorn==0.54.0",
]


def venv():
    """The venv's Python."""
    python, stamp = CACHE / "venv" / "bin" / "python", CACHE / ".stamp"
    # A venv belongs to one path and to one Python.
    key = repr([str(CACHE), sys.base_prefix, sys.version, PACKAGES])
    wanted = hashlib.sha256(key.encode()).hexdigest()
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(CACHE / "venv", ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", CACHE / "venv"], check=True, stdout=sys.stderr)
            install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input", *PACKAGES]
            subprocess.run(install, check=True, stdout=sys.stderr, timeout=900)
            stamp.write_text(wanted)
    return python


if __name__ == "__main__":
    script = HERE / sys.argv[1]
    python = venv()
    # Nothing of the environment may lead the clients elsewhere.
    alien = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "no_proxy", "pythonpath", "openai_")
    env = {key: value for key, value in os.environ.items() if not key.lower().startswith(alien)}
    os.execve(python, [str(python), str(script), *sys.argv[2:]], {**env, "PYTHONDONTWRITEBYTECODE": "1"})
