#!/usr/bin/env python3
"""Starts two real Azure ML inference servers (blue, green) and an independent OpenID issuer on 127.0.0.1.

Installs what they need into a cache directory first. Prints one line of JSON when all three are healthy, then obeys
its standard input until that ends: `restart-issuer`, `stop blue|green`, `start blue|green`. Standard library only.
"""

import json
import os
import secrets
import socket
import sys
import time
import urllib.request
from pathlib import Path

import keep
from children import end

HERE = Path(__file__).resolve().parent

TENANT = "e63f83f1-7a57-47fe-937c-a5a613e7350d"
# client id and object id differ, as in Entra: rights belong to the object id
CLIENTS = {
    "scientist": ("4eda5d1c-a7d9-48d9-8a4d-31aa15b0a229", "129850e9-3053-4ec6-a18e-a35451f8707a"),
    "outsider": ("99231087-e469-46de-8b88-c334ee1727b5", "a0f268ae-6565-43c3-a29b-2091f257ad21"),
}
AUDIENCE = "https://ml.azure.com"
# The issuer also makes tokens for the control plane, which the data plane has to refuse.
AUDIENCES = [AUDIENCE, "https://management.azure.com"]

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


class Cache(keep.Cache):
    """What the servers need, and the two models."""

    python_packages = ["azureml-inference-server-http==1.5.1", "scikit-learn==1.9.1"]
    node_packages = {"oidc-provider": "9.13.3"}

    @property
    def models(self):
        return self.dir / "models"

    def make(self):
        super().make()
        self.once("models", [self.venv_key, TRAIN], lambda: self.run(self.python, "-c", TRAIN, self.models))


def reserve(port=0):
    """A bound socket that doesn't listen. While a server is down, clients are refused, and the kernel gives the port
    to nobody: not to another server, and not to a client, which could otherwise even connect to itself."""
    held = socket.socket()
    if port:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections in TIME_WAIT
    held.bind(("127.0.0.1", port))
    return held


class Server(keep.Server):
    """One of the three: stays on its port whenever it is started again."""

    def __init__(self, name, parent, log):
        super().__init__(name, parent, log)
        self.held = reserve()
        self.port = self.held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        if self.process:
            return
        if self.held:
            self.held.close()
            self.held = None
        super().start()

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
    return keep.unknown(command)


def serve(cache, parent):
    logs = cache.run_directory()
    models = {name: Model(name, parent, logs / f"{name}.log", cache) for name in ("blue", "green")}
    issuer = Issuer(parent, logs / "issuer.log", cache)

    def facts():
        return {
            **{name: model.url for name, model in models.items()},
            "issuer": issuer.issuer, "authority": issuer.url, "tenant": TENANT,
            "token_endpoint": issuer.token_endpoint, "clients": issuer.clients, "audience": AUDIENCE,
        }

    keep.keep([*models.values(), issuer], logs, parent, facts, lambda command: obey(command, issuer, models))


if __name__ == "__main__":
    sys.exit(keep.main(__doc__, Cache, "real-servers", serve))
