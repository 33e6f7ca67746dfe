#!/usr/bin/env python3
"""What batch jobs cost and what they stand: a million rows in ten thousand files, gateways that are killed on the way,
several gateways on one PostgreSQL, and what a saturating job does to online requests.

Starts an issuer (`scoregate dev`), a model (this file, `--model`), gateways (`scoregate serve`) and, for `many`, a
PostgreSQL cluster on loopback. Exits 1 if a part says that it failed. Standard library and Linux only; `many` needs
Debian's package postgresql.

    python3 benches/batch.py [--bin target/release/scoregate] [--only scale,many,online] [--files 10000] [--rows 100]

    scale    one gateway: undisturbed, then killed ten times with an instance killed and started again; the same bytes?
             Memory, rows a second, and the same rows posted by a Python client with the same concurrency
    many     four gateways on one PostgreSQL, two of them killed and PostgreSQL restarted on the way; the same bytes? Did
             both of the others do their part?
    online   p99 of an online endpoint at a fixed rate, with a saturating job beside it and without: at most 1.2 times as
             long, and no request failed?
"""

import argparse
import asyncio
import base64
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
from pathlib import Path

import stand

CONCURRENCY = 8
FINAL = {"Completed", "Failed", "Canceled"}
# The longest that a job may take, and that it may stand still.
JOB_WITHIN, STEP_WITHIN = 3600, 600
# Of `online`: seconds of each round, and what the median p99 beside a job may be of that without one.
ROUND, RATIO = 8, 1.2
# Its job: mini-batches at once, of so many files of one request each, and the model's seconds for one. The files are such
# that the job outlasts a round even if the gateway took no time at all.
AT_ONCE, MINI_BATCH, DELAY = 16, 10, 0.02
ONLINE_FILES = int(1.5 * ROUND * AT_ONCE / DELAY)


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
        self.port, self.delay, self.process = stand.free_port(), delay, None
        self.start()

    def start(self):
        argv = [sys.executable, __file__, "--model", str(self.port), str(self.delay)]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, preexec_fn=stand.die_with_parent)
        self.process.stdout.readline()

    def kill(self):
        self.process.kill()
        self.process.wait()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


# ---- gateways and jobs

class Gateway(stand.Gateway):
    """A gateway that may read and write the files of jobs."""

    def __init__(self, binary, home, issuer, data, **sections):
        super().__init__(
            binary, home, issuer,
            batch={"directories": [str(data)]}, limits={"batch_lease": "2s", "drain_notice": "0s"}, **sections,
        )

    def memory(self):
        return stand.memory(self.process)[0]

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.data, timeout=60)
        headers = {"Authorization": "Bearer " + self.issuer.token(stand.SCORING), "Content-Type": "application/json"}
        connection.request(method, f"/endpoints/sums/jobs{path}", body and json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise stand.Refused(f"{method} {path}: {answer.status} {text[:500]!r}", answer.status)
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

    def shown(self, name):
        """The job, unless the gateway cannot say."""
        with contextlib.suppress(stand.Refused, OSError):
            return self.job(name)


def counts(job):
    return job["properties"]["scoregate"]["counts"]


def describe(gateway, data, models, concurrency=CONCURRENCY):
    """The store of the files, the batch endpoint and its deployment."""
    client = gateway.client()
    place = json.dumps({"kind": "local_directory", "path": str(data)})
    client.call("PUT", f"{stand.WORKSPACE}/datastores/files?{stand.VERSION}", {"properties": {
        "datastoreType": "AzureBlob", "credentials": {"credentialsType": "None"}, "properties": {"scoregate.place": place},
    }})
    endpoint = f"{stand.WORKSPACE}/batchEndpoints/sums"
    body = {"location": "local", "properties": {"authMode": "AADToken"}}
    client.call("PUT", f"{endpoint}?{stand.VERSION}", body)
    client.call("PUT", f"{endpoint}/deployments/blue?{stand.VERSION}", {"location": "local", "properties": {
        "miniBatchSize": MINI_BATCH, "maxConcurrencyPerInstance": concurrency, "resources": {"instanceCount": 1},
        "retrySettings": {"maxRetries": 3, "timeout": "PT60S"},
        "properties": {
            "scoregate.backend": json.dumps({"urls": [model.url for model in models]}),
            "scoregate.request_format": "dataframe_split", "scoregate.rows_per_request": "1000",
        },
    }})
    client.call("PUT", f"{endpoint}?{stand.VERSION}", body | {"properties": body["properties"] | {"defaults": {"deploymentName": "blue"}}})


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


def ended(job):
    return job is not None and job["properties"]["status"] in FINAL


def wait(gateway, name):
    stand.until(f"job {name} ends", lambda: ended(gateway.job(name)), JOB_WITHIN, 0.2)
    return gateway.job(name)


def right_bytes(job, file, right):
    """Whether a job completed, and wrote what it should."""
    return job["properties"]["status"] == "Completed" and digest_of(file) == right


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
        same = right_bytes(job, data / "out/undisturbed/predictions.csv", right)
        failed |= not same
        print(f"  undisturbed: {job['properties']['status']} in {took:.1f} s, {total / took:.0f} rows/s, right bytes: {same}, memory {idle} -> {most} MiB", flush=True)
        python = by_python(data / "in", models[0].url)
        print(f"  python client: {python:.1f} s, {total / python:.0f} rows/s; the job does {python / took:.2f} times as many", flush=True)
        began = time.monotonic()
        gateway.submit("disturbed")
        planned = options.files // MINI_BATCH
        for kill in range(1, 11):
            far = planned * kill // 12
            stand.until("the job goes on", lambda: counts(gateway.job("disturbed"))["done"] >= far, STEP_WITHIN)
            if kill == 4:
                models[0].kill()
            if kill == 6:
                models[0].start()
            gateway.kill()
            gateway.start()
        job = wait(gateway, "disturbed")
        same = right_bytes(job, data / "out/disturbed/predictions.csv", right)
        failed |= not same
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
    """A cluster of its own on a free port. As root, who may not run one, it belongs to the user `postgres`."""

    def __init__(self, home):
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        if not versions:
            sys.exit("there is no PostgreSQL; apt-get install postgresql")
        self.bin, self.port, self.home, self.user = versions[-1], stand.free_port(), home, []
        home.mkdir()
        if os.geteuid() == 0:
            self.user = ["runuser", "-u", "postgres", "--"]
            user = pwd.getpwnam("postgres")
            os.chown(home, user.pw_uid, user.pw_gid)
            # The directory made for this run is root's alone.
            home.parent.chmod(0o755)
        self.run("initdb", "-D", home / "data", "-A", "trust", "-U", "postgres", "--no-sync")
        self.start()

    def run(self, name, *words):
        argv = [*self.user, self.bin / name, *words]
        subprocess.run([str(word) for word in argv], check=True, stdout=subprocess.DEVNULL)

    def start(self):
        options = f"-p {self.port} -k {self.home} -c listen_addresses=127.0.0.1 -c max_connections=200"
        self.run("pg_ctl", "-D", self.home / "data", "-w", "-l", self.home / "log", "-o", options, "start")

    def stop(self):
        """As a crash would."""
        self.run("pg_ctl", "-D", self.home / "data", "-w", "-m", "immediate", "stop")

    @property
    def url(self):
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"


def many(options, home, issuer):
    files = max(400, options.files // 4)
    data = home / "files"
    write_rows(data / "in", files, options.rows)
    right = expected_digest(files, options.rows)
    key = home / "master.key"
    key.write_bytes(base64.b64encode(os.urandom(32)) + b"\n")
    key.chmod(0o600)
    print(f"many: four gateways on one PostgreSQL, {files} files, {files * options.rows} rows", flush=True)
    shares = collections.Counter()
    with contextlib.ExitStack() as ends:
        postgres = Postgres(home / "postgres")
        ends.callback(postgres.stop)
        models = [Model(), Model()]
        gateways = []
        for number in range(4):
            own = home / f"gateway-{number}"
            shared = {"store": postgres.url, "master_key": {"file": str(key)}, "data_directory": str(own)}
            gateways.append(Gateway(options.bin, own, issuer, data, **shared))
        for one in models:
            ends.callback(one.kill)
        for gateway in gateways:
            ends.callback(gateway.stop)
            gateway.start()

        def look(check):
            """What `check` says of the job as gateway 3 shows it; and notes who has done how much."""
            for number, gateway in enumerate(gateways):
                done = gateway.metric('scoregate_batch_mini_batches_total{outcome="done"}')
                shares[number] = max(shares[number], done)
            job = gateways[3].shown("shared")
            return job is not None and check(job)

        def further(share):
            far = files // MINI_BATCH * share
            stand.until("the job goes on", lambda: look(lambda job: counts(job)["done"] >= far), STEP_WITHIN)

        describe(gateways[0], data, models)
        began = time.monotonic()
        gateways[0].submit("shared")
        stand.until("every gateway knows the endpoint and its job", lambda: all(g.shown("shared") for g in gateways))
        further(0.25)
        gateways[0].kill()
        further(0.4)
        postgres.stop()
        time.sleep(2)
        postgres.start()
        further(0.6)
        gateways[1].kill()
        stand.until("the job ends", lambda: look(ended), JOB_WITHIN)
        took, job = time.monotonic() - began, gateways[3].job("shared")
        same = right_bytes(job, data / "out/shared/predictions.csv", right)
        done = sum(shares.values()) or 1
        told = ", ".join(f"{number}: {shares[number]:.0f} ({shares[number] / done:.0%})" for number in range(4))
        print(f"  two killed, PostgreSQL restarted: {job['properties']['status']} in {took:.1f} s, right bytes: {same}", flush=True)
        print(f"  mini-batches by gateway, as last seen (0 and 1 were killed): {told}", flush=True)
    idle = [number for number in (2, 3) if not shares[number]]
    if idle:
        print(f"  gateways that did nothing: {idle}", flush=True)
    return not same or bool(idle)


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
            try:
                connection.request("POST", "/endpoints/online/score", body, headers)
                answer = connection.getresponse()
                answer.read()
                self.failed += answer.status != 200
            except (OSError, http.client.HTTPException):
                self.failed += 1
                connection.close()
            self.times.append(time.perf_counter() - began)
            due += 1 / self.rate


def online(options, home, issuer):
    data = home / "files"
    write_rows(data / "in", ONLINE_FILES, options.rows)
    # The models of the job wait instead of computing: on two cores they would take the processor from everybody.
    models, shown = [Model(DELAY), Model(DELAY)], Model(0.005)
    gateway = Gateway(options.bin, home / "gateway", issuer, data)
    gateway.start()
    rounds, failed, early = {"without": [], "with": []}, 0, 0
    try:
        describe(gateway, data, models, AT_ONCE)
        client = gateway.client()
        endpoint = f"{stand.WORKSPACE}/onlineEndpoints/online"
        body = {"location": "local", "properties": {"authMode": "AADToken", "traffic": {}}}
        client.call("PUT", f"{endpoint}?{stand.VERSION}", body)
        client.call("PUT", f"{endpoint}/deployments/blue?{stand.VERSION}", {"location": "local", "properties": {
            "endpointComputeType": "Managed", "requestSettings": {"maxConcurrentRequestsPerInstance": 64},
            "properties": {"scoregate.backend": json.dumps({"urls": [shown.url]})},
        }})
        body["properties"]["traffic"] = {"blue": 100}
        client.call("PUT", f"{endpoint}?{stand.VERSION}", body)
        credential = issuer.token(stand.SCORING)
        print(f"online: 100 requests/s of one endpoint, with and without a job of {AT_ONCE} mini-batches at once, in turns", flush=True)
        for number in range(5):
            for what in ("without", "with"):
                name = f"beside-{number}"
                if what == "with":
                    gateway.submit(name)
                    stand.until("the job is under way", lambda: counts(gateway.job(name))["done"] >= 5)
                until = time.monotonic() + ROUND
                work = [Online(gateway, credential, 25, until) for _ in range(4)]
                for one in work:
                    one.start()
                for one in work:
                    one.join()
                note = ""
                if what == "with":
                    job, rate = gateway.job(name), gateway.metric("scoregate_batch_rows_total")
                    early += ended(job)
                    note = f", job {job['properties']['status']} at {counts(job)['done']} mini-batches, {rate:.0f} rows in all"
                    if not ended(job):
                        gateway.call("POST", f"/{name}/cancel")
                        wait(gateway, name)
                times = sorted(took for one in work for took in one.times)
                p99, lost = times[int(len(times) * 0.99)] * 1000, sum(one.failed for one in work)
                rounds[what].append(p99)
                failed += lost
                print(f"  {what:8} p50 {times[len(times) // 2] * 1000:.2f} ms, p99 {p99:.2f} ms, failed {lost}{note}", flush=True)
        ratio = statistics.median(rounds["with"]) / statistics.median(rounds["without"])
        print(f"  median p99 with ÷ without: {ratio:.2f}; {failed} requests failed; {early} jobs ended before their round", flush=True)
    finally:
        gateway.stop()
        for one in [*models, shown]:
            one.kill()
    return ratio > RATIO or failed > 0 or early > 0


def main():
    if sys.argv[1:2] == ["--model"]:
        return asyncio.run(model(int(sys.argv[2]), float(sys.argv[3])))
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", type=Path, default=stand.BINARY)
    options.add_argument("--only", default="scale,many,online")
    options.add_argument("--files", type=int, default=10_000)
    options.add_argument("--rows", type=int, default=100, help="rows of a file")
    options = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    parts = {"scale": scale, "many": many, "online": online}
    failed = []
    for name in options.only.split(","):
        with tempfile.TemporaryDirectory(prefix="scoregate-batch-") as home:
            home = Path(home)
            with stand.issuer(options.bin, home / "issuer") as issuer:
                if parts[name](options, home, issuer):
                    failed.append(name)
    if failed:
        sys.exit("failed: " + ", ".join(failed))


if __name__ == "__main__":
    main()
