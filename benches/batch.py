#!/usr/bin/env python3
"""What batch jobs cost and what they stand: a million rows in ten thousand files, gateways that are killed on the way,
several gateways on one PostgreSQL, and what a saturating job does to online requests.

Starts an issuer (`scoregate dev`), a model (this file, `--model`), gateways (`scoregate serve`) and, for `many`, a
PostgreSQL cluster on loopback. Standard library and Linux only; `many` needs Debian's package postgresql.

    python3 benches/batch.py [--bin target/release/scoregate] [--only scale,many,online] [--files 10000] [--rows 100]

    scale    one gateway: undisturbed, then killed ten times with an instance killed and started again; the same bytes?
             Memory, rows a second, and the same rows posted by a Python client with the same concurrency
    many     four gateways on one PostgreSQL, two of them killed and PostgreSQL restarted on the way; who did how much
    online   p99 of an online endpoint at a fixed rate, with a saturating job beside it and without
"""

import argparse
import asyncio
import collections
import contextlib
import csv
import hashlib
import http.client
import json
import os
import pwd
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import ssl
import uuid
from pathlib import Path

import control_scale as bench

CONCURRENCY = 8
FINAL = {"Completed", "Failed", "Canceled"}


# ---- the model: adds up the first two columns of each row

async def model(port, delay):
    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                rows = json.loads(await reader.readexactly(length))["dataframe_split"]["data"]
                if delay:
                    await asyncio.sleep(delay)
                body = json.dumps({"predictions": [row[0] + row[1] for row in rows]}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, reuse_address=True)
    print("ready", flush=True)
    await server.serve_forever()


class Model:
    """An instance in a process of its own, which can be killed and started again."""

    def __init__(self, delay=0.0):
        self.port, self.delay, self.process = bench.free_port(), delay, None
        self.start()

    def start(self):
        argv = [sys.executable, __file__, "--model", str(self.port), str(self.delay)]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=bench.die_with_parent)
        self.process.stdout.readline()

    def kill(self):
        self.process.kill()
        self.process.wait()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


# ---- gateways and jobs

def token(issuer, scope):
    facts, admin = issuer.facts, issuer.facts["principals"]["admin"]
    form = urllib.parse.urlencode({
        "client_id": admin["client_id"], "client_secret": admin["client_secret"],
        "grant_type": "client_credentials", "scope": f"{scope}/.default",
    }).encode()
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=facts["ca_file"]))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
    with opener.open(f"{facts['authority_url']}/{facts['tenant_id']}/oauth2/v2.0/token", form, timeout=10) as answer:
        return json.load(answer)["access_token"]


class Gateway:
    """A gateway of its own directory, or of a PostgreSQL; its ports stay the same over restarts."""

    def __init__(self, binary, home, issuer, data, store="sqlite://scoregate.db", key=None):
        self.binary, self.home, self.issuer = binary, home, issuer
        self.data, self.control, self.admin = bench.free_port(), bench.free_port(), bench.free_port()
        home.mkdir(parents=True, exist_ok=True)
        facts = issuer.facts
        lines = [
            f'data_plane: {{ listen: "127.0.0.1:{self.data}", workers: 2 }}',
            f'control_plane: {{ listen: "127.0.0.1:{self.control}" }}',
            f'admin: {{ listen: "127.0.0.1:{self.admin}" }}',
            f'store: "{store}"',
            f'identity: {{ entra: [ {{ authority: "{facts["authority_url"]}", tenants: [ {facts["tenant_id"]} ], ca_file: "{facts["ca_file"]}" }} ] }}',
            f"workspaces: [ {{ subscription: {bench.SUBSCRIPTION}, resource_group: default, name: default, location: local }} ]",
            f"owners: [ {issuer.owner} ]",
            f'batch: {{ directories: [ "{data}" ] }}',
            "limits: { batch_lease: 2s, drain_notice: 0s }",
            "logs: { level: warn, access: false }",
        ]
        if key:
            lines += [f'master_key: {{ file: "{key}" }}', f'data_directory: "{home}"']
        (home / "scoregate.yaml").write_text("\n".join(lines) + "\n")
        self.process = None

    def start(self):
        with open(self.home / "log", "ab") as log:
            argv = [self.binary, "serve", "--config", self.home / "scoregate.yaml"]
            self.process = subprocess.Popen(
                [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                preexec_fn=bench.die_with_parent,
            )
        deadline = time.monotonic() + 60
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit("a gateway did not get ready:\n" + (self.home / "log").read_text(errors="replace")[-3000:])
            time.sleep(0.01)

    def ready(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.look("/readyz")[0] == 200
        return False

    def look(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def metric(self, start):
        with contextlib.suppress(OSError, http.client.HTTPException):
            for line in self.look("/metrics")[1].splitlines():
                if line.startswith(start):
                    return float(line.rsplit(" ", 1)[1])
        return 0.0

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
                return
            self.process.kill()

    def client(self):
        context = ssl.create_default_context(cafile=self.home / "control-ca.pem")
        return bench.Client(self.control, context, self.issuer.token())

    def memory(self):
        return bench.memory(self.process)[0]

    # ---- jobs

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.data, timeout=60)
        headers = {"Authorization": "Bearer " + token(self.issuer, "https://ml.azure.com"), "Content-Type": "application/json"}
        connection.request(method, f"/endpoints/sums/jobs{path}", body and json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:500]!r}")
        return json.loads(text)

    def submit(self, name, more=None):
        properties = {
            "name": name,
            "inputData": {"rows": {"jobInputType": "UriFolder", "uri": "azureml://datastores/files/paths/in"}},
            "outputData": {"score": {"jobOutputType": "UriFolder", "uri": f"azureml://datastores/files/paths/out/{name}"}},
        } | (more or {})
        return self.call("POST", "", {"properties": properties})

    def job(self, name):
        return self.call("GET", f"/{name}")


def counts(job):
    return job["properties"]["scoregate"]["counts"]


def describe(gateway, data, models, concurrency=CONCURRENCY):
    """The store of the files, the batch endpoint and its deployment."""
    client = gateway.client()
    place = json.dumps({"kind": "local_directory", "path": str(data)})
    client.call("PUT", f"{bench.WORKSPACE}/datastores/files?{bench.VERSION}", {"properties": {
        "datastoreType": "AzureBlob", "credentials": {"credentialsType": "None"}, "properties": {"scoregate.place": place},
    }})
    endpoint = f"{bench.WORKSPACE}/batchEndpoints/sums"
    body = {"location": "local", "properties": {"authMode": "AADToken"}}
    client.call("PUT", f"{endpoint}?{bench.VERSION}", body)
    client.call("PUT", f"{endpoint}/deployments/blue?{bench.VERSION}", {"location": "local", "properties": {
        "miniBatchSize": 10, "maxConcurrencyPerInstance": concurrency, "resources": {"instanceCount": 1},
        "retrySettings": {"maxRetries": 3, "timeout": "PT60S"},
        "properties": {
            "scoregate.backend": json.dumps({"urls": [model.url for model in models]}),
            "scoregate.request_format": "dataframe_split", "scoregate.rows_per_request": "1000",
        },
    }})
    client.call("PUT", f"{endpoint}?{bench.VERSION}", body | {"properties": body["properties"] | {"defaults": {"deploymentName": "blue"}}})


def write_rows(folder, files, rows):
    folder.mkdir(parents=True)
    for number in range(files):
        lines = "".join(f"{number * rows + row},{row % 7},a word\n" for row in range(rows))
        (folder / f"part-{number:06}.csv").write_text("a,b,c\n" + lines)


def expected_digest(files, rows):
    digest = hashlib.sha256()
    for number in range(files):
        name = f"part-{number:06}.csv"
        digest.update("".join(f"{name},{number * rows + row + row % 7}\r\n" for row in range(rows)).encode())
    return digest.hexdigest()


def digest_of(file):
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


class Watch(threading.Thread):
    """The most memory that a gateway had while a job ran."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.gateway, self.most, self.ended = gateway, 0.0, threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.2):
            with contextlib.suppress(OSError, KeyError):
                self.most = max(self.most, self.gateway.memory())

    def end(self):
        self.ended.set()
        self.join()
        return self.most


def wait(gateway, name, within=3600):
    until = time.monotonic() + within
    while time.monotonic() < until:
        job = gateway.job(name)
        if job["properties"]["status"] in FINAL:
            return job
        time.sleep(0.2)
    raise SystemExit(f"job {name} did not end")


def by_python(folder, url):
    """The same rows, read, packed and posted by a Python client with as many threads as the job has requests."""
    files, lock = iter(sorted(folder.iterdir())), threading.Lock()
    port = int(url.rsplit(":", 1)[1])

    def work():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                file = next(files, None)
            if file is None:
                return
            with open(file, newline="") as opened:
                columns, *rows = csv.reader(opened)
            data = [[int(a), int(b), c] for a, b, c in rows]
            body = json.dumps({"dataframe_split": {"columns": columns, "data": data}})
            connection.request("POST", "/score", body, {"Content-Type": "application/json"})
            assert len(json.loads(connection.getresponse().read())["predictions"]) == len(data)

    began = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(CONCURRENCY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - began


def scale(options, home, issuer):
    data = home / "files"
    write_rows(data / "in", options.files, options.rows)
    total, right = options.files * options.rows, expected_digest(options.files, options.rows)
    models = [Model(), Model()]
    gateway = Gateway(options.bin, home / "gateway", issuer, data)
    gateway.start()
    print(f"scale: {options.files} files, {total} rows, {CONCURRENCY} mini-batches at once, two instances", flush=True)
    failed = False
    try:
        describe(gateway, data, models)
        idle, watch = gateway.memory(), Watch(gateway)
        began = time.monotonic()
        gateway.submit("undisturbed")
        job = wait(gateway, "undisturbed")
        took, most = time.monotonic() - began, watch.end()
        same = digest_of(data / "out/undisturbed/predictions.csv") == right
        failed |= not same or job["properties"]["status"] != "Completed"
        print(f"  undisturbed: {job['properties']['status']} in {took:.1f} s, {total / took:.0f} rows/s, right bytes: {same}, memory {idle} -> {most} MiB", flush=True)
        python = by_python(data / "in", models[0].url)
        print(f"  python client: {python:.1f} s, {total / python:.0f} rows/s; the job does {python / took:.2f} times as many", flush=True)
        began = time.monotonic()
        gateway.submit("disturbed")
        planned = options.files // 10
        for kill in range(1, 11):
            until = time.monotonic() + 600
            while counts(gateway.job("disturbed"))["done"] < planned * kill // 12:
                if time.monotonic() > until:
                    raise SystemExit("the job does not go on")
                time.sleep(0.05)
            if kill == 4:
                models[0].kill()
            if kill == 6:
                models[0].start()
            gateway.kill()
            gateway.start()
        job = wait(gateway, "disturbed")
        same = digest_of(data / "out/disturbed/predictions.csv") == right
        failed |= not same or job["properties"]["status"] != "Completed"
        found = counts(job)
        print(f"  killed 10 times, an instance killed and started: {job['properties']['status']} in {time.monotonic() - began:.1f} s, the same bytes: {same}, "
              f"failures {found['failures']}, retries {found['retries']}", flush=True)
    finally:
        gateway.stop()
        for one in models:
            one.kill()
    return failed


# ---- PostgreSQL

class Postgres:
    """A cluster of its own on a free port."""

    def __init__(self, home):
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        if not versions:
            sys.exit("there is no PostgreSQL; apt-get install postgresql")
        self.bin, self.port, self.home = versions[-1], bench.free_port(), home
        user = pwd.getpwnam("postgres")
        home.mkdir(parents=True)
        os.chown(home, user.pw_uid, user.pw_gid)
        for parent in home.parents:
            if parent == Path(tempfile.gettempdir()):
                break
            parent.chmod(0o755)
        self.run("initdb", "-D", home / "data", "-A", "trust", "-U", "postgres", "--no-sync")
        self.start()

    def run(self, name, *words):
        argv = ["runuser", "-u", "postgres", "--", self.bin / name, *words]
        subprocess.run([str(word) for word in argv], check=True, stdout=subprocess.DEVNULL)

    def start(self):
        options = f"-p {self.port} -k {self.home} -c listen_addresses=127.0.0.1 -c max_connections=200"
        self.run("pg_ctl", "-D", self.home / "data", "-w", "-l", self.home / "log", "-o", options, "start")

    def stop(self, mode="fast"):
        self.run("pg_ctl", "-D", self.home / "data", "-w", "-m", mode, "stop")

    @property
    def url(self):
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"


def many(options, home, issuer):
    files = max(400, options.files // 4)
    data = home / "files"
    write_rows(data / "in", files, options.rows)
    right = expected_digest(files, options.rows)
    postgres = Postgres(home / "postgres")
    key = home / "master.key"
    key.write_text(subprocess.run(["openssl", "rand", "-base64", "32"], check=True, capture_output=True, text=True).stdout)
    key.chmod(0o600)
    models = [Model(), Model()]
    gateways = [Gateway(options.bin, home / f"gateway-{n}", issuer, data, postgres.url, key) for n in range(4)]
    print(f"many: four gateways on one PostgreSQL, {files} files, {files * options.rows} rows", flush=True)
    failed = False
    shares = collections.Counter()

    def look():
        for number, gateway in enumerate(gateways):
            shares[number] = max(shares[number], gateway.metric('scoregate_batch_mini_batches_total{outcome="done"}'))

    def further(watcher, share):
        until = time.monotonic() + 600
        while counts(watcher.job("shared"))["done"] < files // 10 * share:
            look()
            if time.monotonic() > until:
                raise SystemExit("the job does not go on")
            time.sleep(0.1)

    try:
        for gateway in gateways:
            gateway.start()
        describe(gateways[0], data, models)
        time.sleep(1)
        began = time.monotonic()
        gateways[0].submit("shared")
        further(gateways[2], 0.25)
        gateways[0].kill()
        further(gateways[2], 0.4)
        postgres.stop("immediate")
        time.sleep(2)
        postgres.start()
        further(gateways[2], 0.6)
        gateways[1].kill()
        until = time.monotonic() + 900
        while (job := gateways[3].job("shared"))["properties"]["status"] not in FINAL and time.monotonic() < until:
            look()
            time.sleep(0.1)
        look()
        same = digest_of(data / "out/shared/predictions.csv") == right
        failed = not same or job["properties"]["status"] != "Completed"
        done = sum(shares.values()) or 1
        told = ", ".join(f"{number}: {shares[number]:.0f} ({shares[number] / done:.0%})" for number in range(4))
        print(f"  two killed, PostgreSQL restarted: {job['properties']['status']} in {time.monotonic() - began:.1f} s, right bytes: {same}", flush=True)
        print(f"  mini-batches by gateway, as last seen (0 and 1 were killed): {told}", flush=True)
    finally:
        for gateway in gateways:
            if gateway.process:
                gateway.stop()
        for one in models:
            one.kill()
        postgres.stop("immediate")
    return failed


# ---- online requests beside a job

class Online(threading.Thread):
    """One kept connection that scores at a rate of its own, and how long each answer took."""

    def __init__(self, gateway, credential, rate, until):
        super().__init__()
        self.gateway, self.credential, self.rate, self.until = gateway, credential, rate, until
        self.times, self.failed = [], 0

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.data, timeout=30)
        body = json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}})
        headers = {"Authorization": "Bearer " + self.credential, "Content-Type": "application/json"}
        due = time.monotonic()
        while due < self.until:
            time.sleep(max(0.0, due - time.monotonic()))
            began = time.perf_counter()
            connection.request("POST", "/endpoints/online/score", body, headers)
            answer = connection.getresponse()
            answer.read()
            self.times.append(time.perf_counter() - began)
            self.failed += answer.status != 200
            due += 1 / self.rate


def online(options, home, issuer):
    data = home / "files"
    write_rows(data / "in", 4000, options.rows)
    # The models of the job wait instead of computing: on two cores they would take the processor from everybody.
    models, shown = [Model(0.02), Model(0.02)], Model(0.005)
    gateway = Gateway(options.bin, home / "gateway", issuer, data)
    gateway.start()
    rounds = {"without": [], "with": []}
    try:
        describe(gateway, data, models, 16)
        client = gateway.client()
        endpoint = f"{bench.WORKSPACE}/onlineEndpoints/online"
        body = {"location": "local", "properties": {"authMode": "AADToken", "traffic": {}}}
        client.call("PUT", f"{endpoint}?{bench.VERSION}", body)
        client.call("PUT", f"{endpoint}/deployments/blue?{bench.VERSION}", {"location": "local", "properties": {
            "endpointComputeType": "Managed", "requestSettings": {"maxConcurrentRequestsPerInstance": 64},
            "properties": {"scoregate.backend": json.dumps({"urls": [shown.url]})},
        }})
        body["properties"]["traffic"] = {"blue": 100}
        client.call("PUT", f"{endpoint}?{bench.VERSION}", body)
        credential = token(issuer, "https://ml.azure.com")
        print("online: 100 requests/s of one endpoint, with and without a job of 16 mini-batches at once, in turns", flush=True)
        for number in range(5):
            for what in ("without", "with"):
                name = f"beside-{number}"
                if what == "with":
                    gateway.submit(name)
                    while counts(gateway.job(name))["done"] < 5:
                        time.sleep(0.05)
                until = time.monotonic() + 8
                work = [Online(gateway, credential, 25, until) for _ in range(4)]
                for one in work:
                    one.start()
                for one in work:
                    one.join()
                times = sorted(took for one in work for took in one.times)
                p99 = times[int(len(times) * 0.99)] * 1000
                rounds[what].append(p99)
                note = ""
                if what == "with":
                    rate = gateway.metric("scoregate_batch_rows_total")
                    note = f", job at {counts(gateway.job(name))['done']} mini-batches, {rate:.0f} rows in all"
                    gateway.call("POST", f"/{name}/cancel")
                    wait(gateway, name)
                print(f"  {what:8} p50 {times[len(times) // 2] * 1000:.2f} ms, p99 {p99:.2f} ms, failed {sum(one.failed for one in work)}{note}", flush=True)
        ratio = statistics.median(rounds["with"]) / statistics.median(rounds["without"])
        print(f"  median p99 with ÷ without: {ratio:.2f}", flush=True)
    finally:
        gateway.stop()
        for one in [*models, shown]:
            one.kill()
    return ratio > 1.2


def main():
    if sys.argv[1:2] == ["--model"]:
        return asyncio.run(model(int(sys.argv[2]), float(sys.argv[3])))
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", type=Path, default=bench.ROOT / "target/release/scoregate")
    options.add_argument("--only", default="scale,many,online")
    options.add_argument("--files", type=int, default=10_000)
    options.add_argument("--rows", type=int, default=100, help="rows of a file")
    options = options.parse_args()
    parts = {"scale": scale, "many": many, "online": online}
    failed = []
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory(prefix="scoregate-batch-") as home:
            home = Path(home)
            with bench.issuer(options.bin, home / "issuer") as issuer:
                if parts[name](options, home, issuer):
                    failed.append(name)
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
