#!/usr/bin/env python3
"""Everything that can go wrong around a gateway, one thing after another, with good clients at a fixed rate beside it.

Starts the release binary on loopback, with two instances, an issuer and a certificate that misbehave as they are told to;
prints what became of the clients' requests during each event. A request that failed counts as

  failed   there was an instance that was well, nobody had taken the request, and no answer had begun;
  taken    an instance had it, or may have had it, and broke, hung or died with it: sending it once more could do its work twice;
  cut      its answer had begun: it is passed on as cut, never as complete;
  nobody   the gateway itself had been told to end or was killed, and nobody listened.

The last three are excuses, each for those events alone that bring it about. Exits 1 if a request failed or has no excuse, if
none went well during an event, or if an event did not come to what it should.

Standard library and Linux only; the certificates are made by the `openssl` command.

    python3 benches/chaos.py [--bin target/release/scoregate] [--rate 100] [--connections 8]
"""

import argparse
import asyncio
import base64
import collections
import contextlib
import hashlib
import json
import math
import random
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from stand import BINARY, SUBSCRIPTION, die_with_parent, free_port

TENANT, CALLER = str(uuid.uuid5(uuid.NAMESPACE_DNS, "tenant")), str(uuid.uuid5(uuid.NAMESPACE_DNS, "caller"))
# Seconds: of an event; an instance's time to answer; all of it at most.
EVENT, FIRST_BYTE, ALL = 3.0, 1.0, 400.0
LONG_MB = 60
EXCUSES = ("taken", "cut", "nobody")
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Key:
    """An RSA key that signs tokens (RS256, RFC 8017 section 8.2); good enough for nothing but this."""

    def __init__(self):
        while True:
            p, q = self.prime(), self.prime()
            phi = (p - 1) * (q - 1)
            if p != q and math.gcd(65537, phi) == 1:
                break
        self.n, self.d, self.p, self.q = p * q, pow(65537, -1, phi), p, q

    @staticmethod
    def prime():
        while True:
            n = random.getrandbits(1024) | 3 << 1022 | 1
            if all(n % small for small in range(3, 2000, 2)) and all(
                pow(random.randrange(2, n), n - 1, n) == 1 for _ in range(8)
            ):
                return n

    def power(self, m):
        a, b = pow(m, self.d % (self.p - 1), self.p), pow(m, self.d % (self.q - 1), self.q)
        return b + self.q * ((a - b) * pow(self.q, -1, self.p) % self.p)

    def sign(self, message):
        digest = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(message).digest()
        padded = b"\0\1" + b"\xff" * (253 - len(digest)) + b"\0" + digest
        return self.power(int.from_bytes(padded)).to_bytes(256)

    def jwk(self):
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k", "n": coded(self.n.to_bytes(256)), "e": "AQAB"}


def coded(data):
    if isinstance(data, dict):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


async def read_request(reader):
    """Head and body of one request; None at the end of the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        await reader.readexactly(int(fields.get("content-length", 0)))
        return head, fields
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


class Server:
    """Something that listens, that can be killed, and started again at the same address."""

    def __init__(self):
        self.port, self.server, self.open = free_port(), None, set()

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)

    async def serve(self, reader, writer):
        task = asyncio.current_task()
        self.open.add(task)
        # Its connections end by a reset.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            await self.talk(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open.discard(task)
            writer.transport.abort()

    async def kill(self):
        self.server.close()
        for task in list(self.open):
            task.cancel()
        await asyncio.sleep(0)


class Instance(Server):
    """A model server in a mood."""

    def __init__(self):
        super().__init__()
        self.mood, self.taken, self.asked = "well", set(), 0
        # Seconds that it works for, and when it noticed that its caller was gone.
        self.work, self.left = 0.0, []

    async def talk(self, reader, writer):
        while (request := await read_request(reader)) is not None:
            head, fields = request
            number = fields.get("x-ms-client-request-id")
            safe = head.startswith("GET")
            self.asked += 1
            if self.mood == "resetting":
                # What promises to change nothing can be sent again elsewhere.
                if not safe:
                    self.taken.add(number)
                return
            if self.mood == "hung":
                self.taken.add(number)
                await asyncio.sleep(3600)
            if self.mood == "cutting":
                writer.write(OK.replace(b"length: 2", b"length: 9"))
                await writer.drain()
                await asyncio.sleep(0.005)
                return
            if not safe:
                self.taken.add(number)
            if self.mood == "slow":
                await asyncio.sleep(0.4)
            if self.work:
                gone = asyncio.ensure_future(reader.read(1))
                await asyncio.wait([gone], timeout=self.work)
                if gone.done():
                    self.left.append(time.monotonic())
                    return
                gone.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await gone
            writer.write(OK)
            await writer.drain()
            self.taken.discard(number)


class Issuer(Server):
    """An OpenID provider like Entra, with manners."""

    def __init__(self):
        super().__init__()
        self.key, self.manner, self.asked = Key(), "good", 0
        self.url = f"http://127.0.0.1:{self.port}"
        self.issuer = f"{self.url}/{TENANT}/v2.0"

    async def talk(self, reader, writer):
        while (request := await read_request(reader)) is not None:
            path = request[0].split(" ")[1]
            self.asked += 1
            if self.manner == "slow":
                await asyncio.sleep(3600)
            body = json.dumps({"keys": [self.key.jwk()]} if path.endswith("/keys") else {
                "issuer": self.issuer, "jwks_uri": f"{self.url}/{TENANT}/keys",
                "token_endpoint": f"{self.url}/{TENANT}/token",
            }).encode()
            status, more = "200 OK", ""
            if self.manner == "redirecting":
                status, more = "302 Found", f"location: {self.url}/elsewhere\r\n"
            if self.manner == "answering garbage":
                body = random.randbytes(4096)
            length = LONG_MB << 20 if self.manner == "answering 60 MB" else len(body)
            writer.write(f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n".encode())
            if length > len(body):
                for _ in range(LONG_MB):
                    writer.write(b" " * (1 << 20))
                    await writer.drain()
            else:
                writer.write(body)
            await writer.drain()

    def token(self):
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": "https://ml.azure.com", "tid": TENANT, "oid": CALLER, "sub": CALLER, "ver": "2.0",
            "idtyp": "app", "azp": CALLER, "iat": now, "nbf": now, "exp": now + 900, "uti": uuid.uuid4().hex,
        }
        message = f"{coded({'typ': 'JWT', 'alg': 'RS256', 'kid': 'k'})}.{coded(claims)}".encode()
        return f"{message.decode()}.{coded(self.key.sign(message))}"


class Gateway:
    """The binary with a directory."""

    def __init__(self, binary, home, issuer, instances):
        self.binary, self.home, self.issuer = binary, home, issuer
        self.data, self.admin, self.control = free_port(), free_port(), free_port()
        self.process, self.in_force, self.certificate = None, 0, None
        # When nobody listened, from and until.
        self.gaps = []
        (home / "resources").mkdir()
        urls = ", ".join(f'"http://127.0.0.1:{instance.port}"' for instance in instances)
        resources = {
            "ep": "name: my-ep\nauth_mode: aad_token\ntraffic: { blue: 100 }\n",
            "blue": f"name: blue\nendpoint_name: my-ep\nbackend: {{ urls: [ {urls} ] }}\nrequest_settings: "
                    f"{{ max_concurrent_requests_per_instance: 512, request_timeout_ms: {int(FIRST_BYTE * 1000)} }}\n",
            "patient": f"name: patient\nendpoint_name: my-ep\nbackend: {{ urls: [ {urls} ] }}\nrequest_settings: "
                       "{ max_concurrent_requests_per_instance: 512, request_timeout_ms: 60000 }\n",
            "grant": f"role: AzureML Data Scientist\nprincipal_id: {CALLER}\nscope: /\n",
        }
        for name, text in resources.items():
            (home / "resources" / f"{name}.yaml").write_text(text)
        self.rotate()
        self.configure(0)

    def rotate(self):
        """Another certificate; gives it as it is on the wire."""
        argv = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=gateway".split()
        subprocess.run(
            [*argv, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", self.home / "key.new", "-out", self.home / "cert.new"],
            check=True, capture_output=True,
        )
        (self.home / "key.new").chmod(0o600)
        self.certificate = ssl.PEM_cert_to_DER_cert((self.home / "cert.new").read_text())
        (self.home / "cert.new").rename(self.home / "cert.pem")
        (self.home / "key.new").rename(self.home / "key.pem")

    def configure(self, number):
        """One of the configurations that differ in this number."""
        (self.home / "scoregate.new").write_text(f"""\
data_plane:
  listen: "127.0.0.1:{self.data}"
  workers: 2
  tls: {{ certificate: cert.pem, private_key: key.pem }}
  unauthorized_status: {[403, 401][number % 2]}
  model_errors: {["passthrough", "failed_dependency"][number // 2 % 2]}
  trusted_proxies: [ 10.0.{number}.0/24 ]
control_plane: {{ listen: "127.0.0.1:{self.control}" }}
admin: {{ listen: "127.0.0.1:{self.admin}" }}
store: sqlite://scoregate.db
resources: resources
workspaces: [ {{ subscription: {SUBSCRIPTION} }} ]
identity: {{ entra: [ {{ authority: "{self.issuer.url}", tenants: [ {TENANT} ], v1_issuer: none, allow_http: true }} ] }}
logs: {{ level: info, access: false }}
limits:
  {{ drain_notice: 0s, jwks_refresh: 1s, eject_failures: 3, eject_time: 300ms, eject_time_max: 600ms, warm_up: 50ms, connections: {5000 + number},
    request_body: {1_000_000 + number}, header_time: {10 + number % 50}s, http2_streams: {50 + number} }}
""")
        (self.home / "scoregate.new").rename(self.home / "scoregate.yaml")

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            self.binary, "serve", "--config", self.home / "scoregate.yaml", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, preexec_fn=die_with_parent,
        )
        ready = asyncio.get_running_loop().create_future()
        self.following = asyncio.create_task(self.follow(self.process, ready))
        await asyncio.wait_for(ready, 60)
        if self.gaps and self.gaps[-1][1] is None:
            self.gaps[-1] = (self.gaps[-1][0], time.monotonic())

    async def follow(self, process, ready):
        async for line in process.stdout:
            with contextlib.suppress(ValueError):
                message = json.loads(line).get("message")
                self.in_force += message == "the configuration is in force"
                if message == "scoregate is ready":
                    ready.set_result(None)

    async def reload(self, number):
        want = self.in_force + 1
        self.configure(number)
        self.process.send_signal(signal.SIGHUP)
        await until("the configuration is in force", lambda: self.in_force >= want)

    def end(self, what):
        self.gaps.append((time.monotonic(), None))
        self.process.send_signal(what)

    def listened(self, since, to):
        return not any(begun <= to and (ended is None or since <= ended) for begun, ended in self.gaps)


async def until(what, check):
    deadline = time.monotonic() + 30
    while not check():
        if time.monotonic() > deadline:
            sys.exit(f"never: {what}")
        await asyncio.sleep(0.005)


# Which certificate is served is compared, not verified.
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE


class Broken(Exception):
    """There was no whole answer; says whether one had begun."""


class Link:
    """A connection to the gateway."""

    def __init__(self, port):
        self.port, self.writer = port, None

    async def ask(self, message):
        """The status of the answer, and the gateway's reason for it."""
        begun = False
        try:
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=CONTEXT)
            self.writer.write(message)
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            begun = True
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            await self.reader.readexactly(length)
            if "connection: close" in head:
                self.close()
            reason = head.partition("ms-azureml-model-error-reason: ")[2].partition("\r\n")[0]
            return int(head.split(" ")[1]), reason
        except (OSError, asyncio.IncompleteReadError, IndexError) as error:
            self.close()
            raise Broken(begun) from error

    def close(self):
        if self.writer is not None:
            self.writer.transport.abort()
            self.writer = None


def message(token, number, method="POST", deployment="blue"):
    length, body = ("content-length: 2\r\n", "{}") if method == "POST" else ("", "")
    return (
        f"{method} /endpoints/my-ep/score HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n"
        f"x-ms-client-request-id: {number}\r\nazureml-model-deployment: {deployment}\r\n{length}\r\n{body}"
    ).encode()


class Clients:
    """Good clients: one request after the other on each connection, at a fixed rate in all; half of them POST."""

    def __init__(self, world, rate, connections):
        self.world, self.pause, self.count = world, connections / rate, 0
        self.tally, self.what, self.longest = collections.Counter(), collections.Counter(), 0.0
        self.token, self.resting, self.work = None, False, [asyncio.create_task(self.one(at)) for at in range(connections)]

    async def one(self, at):
        link, due, gateway = Link(self.world.gateway.data), time.monotonic() + at * self.pause / len(self.world.links), self.world.gateway
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self.pause, time.monotonic() - 1)
            if self.resting:
                continue
            self.count += 1
            number = self.count
            # A token serves for a while, so that each is judged by the issuer's keys.
            if self.token is None or number % 25 == 0:
                self.token = self.world.issuer.token()
            began, method = time.monotonic(), random.choice(["GET", "POST"])
            try:
                status, reason = await link.ask(message(self.token, number, method))
                outcome = "good" if status == 200 else self.blame(number, method, reason)
                what = f"{status} {reason}"
            except Broken as broken:
                outcome = "cut" if broken.args[0] else self.blame(number, method, "")
                what = "cut" if broken.args[0] else "no answer"
            ended = time.monotonic()
            if outcome != "good":
                if not gateway.listened(began, ended):
                    outcome = "nobody"
                self.what[what] += 1
            else:
                self.longest = max(self.longest, ended - began)
            self.tally["requests"] += 1
            self.tally[outcome] += 1

    def blame(self, number, method, reason):
        # What was in a socket of an instance that died, nobody can know of.
        unknown = method == "POST" and reason == "connection_broken"
        taken = unknown or any(str(number) in instance.taken for instance in self.world.instances)
        return "taken" if taken else "failed"

    def take(self):
        taken = (self.tally, self.what, self.longest)
        self.tally, self.what, self.longest = collections.Counter(), collections.Counter(), 0.0
        return taken


class World:
    """All of it, and what is done to it."""

    def __init__(self, binary, home, options):
        self.issuer, self.instances = Issuer(), [Instance(), Instance()]
        self.gateway = Gateway(binary, home, self.issuer, self.instances)
        self.options, self.links, self.failed, self.missed = options, range(options.connections), 0, []

    async def run(self):
        for server in [self.issuer, *self.instances]:
            await server.start()
        await self.gateway.start()
        self.clients = Clients(self, self.options.rate, self.options.connections)
        print(f"{'event':<34} {'requests':>8} {'failed':>7} {'taken':>6} {'cut':>4} {'nobody':>7}  note")
        await self.event("all well", asyncio.sleep(EVENT))
        await self.event("an instance killed, started again", self.killed(), "taken")
        # The reset behind an answer that is cut may overtake it.
        for mood, *excuses in [["hung", "taken"], ["slow"], ["resetting", "taken"], ["cutting", "cut", "taken"]]:
            await self.event(f"an instance {mood}, well again", self.moody(mood), *excuses)
        await self.event("both instances restarted in turn", self.in_turn(), "taken")
        await self.event("the issuer down", self.issuer_down())
        for manner in ["slow", "redirecting", "answering garbage", "answering 60 MB"]:
            await self.event(f"the issuer {manner}", self.ill_mannered(manner))
        await self.event("100 changes of the configuration", self.changes())
        await self.event("5 rotations of the certificate", self.rotations())
        await self.event("SIGTERM with 20 in flight", self.terminated(), "nobody")
        await self.event("SIGKILL and started again", self.killed_gateway(), "nobody")
        await self.event("100 clients that leave", self.leaving())
        for task in self.clients.work:
            task.cancel()
        self.gateway.end(signal.SIGTERM)
        await asyncio.wait_for(self.gateway.process.wait(), 60)

    async def event(self, name, doing, *excuses):
        """Something happens, and requests that do not go well meanwhile have no excuses but these."""
        note = await doing
        # Who is still being served belongs to this event.
        await asyncio.sleep(FIRST_BYTE + 0.5)
        tally, what, longest = self.clients.take()
        inexcusable = sum(tally[outcome] for outcome in EXCUSES if outcome not in excuses)
        self.failed += tally["failed"] + inexcusable
        if inexcusable:
            self.missed.append(f"{name}: {inexcusable} requests without an excuse")
        if not tally["good"]:
            self.missed.append(f"{name}: no request went well")
        said = [note or "", ", ".join(f"{count} × {one}" for one, count in sorted(what.items())), f"slowest {longest * 1000:.0f} ms"]
        print(
            f"{name:<34} {tally['requests']:>8} {tally['failed']:>7} {tally['taken']:>6} {tally['cut']:>4} "
            f"{tally['nobody']:>7}  {'; '.join(filter(None, said))}",
            flush=True,
        )

    async def is_asked(self, instance):
        """It is in use."""
        before = instance.asked
        await until("an instance is asked", lambda: instance.asked > before)

    async def busiest(self):
        """The instance that gets most requests, so that it hurts."""
        before = [instance.asked for instance in self.instances]
        await asyncio.sleep(0.3)
        return max(self.instances, key=lambda instance: instance.asked - before[self.instances.index(instance)])

    async def killed(self):
        instance = await self.busiest()
        await instance.kill()
        await asyncio.sleep(EVENT)
        await instance.start()
        await self.is_asked(instance)

    async def moody(self, mood):
        instance = await self.busiest()
        instance.mood = mood
        before = instance.asked
        await asyncio.sleep(EVENT)
        asked = instance.asked - before
        instance.mood = "well"
        await self.is_asked(instance)
        return f"asked {asked} times meanwhile"

    async def in_turn(self):
        for _ in range(3):
            for instance in self.instances:
                await instance.kill()
                await asyncio.sleep(EVENT / 6)
                await instance.start()
                # Until it is back the other one is alone.
                await self.is_asked(instance)

    async def issuer_down(self):
        await self.issuer.kill()
        await asyncio.sleep(EVENT)
        await self.issuer.start()

    async def ill_mannered(self, manner):
        before, self.issuer.manner = self.issuer.asked, manner
        # Its next question, and the five seconds after which it is given up.
        await until("the issuer is asked", lambda: self.issuer.asked > before)
        await asyncio.sleep(6 if manner == "slow" else EVENT)
        self.issuer.manner = "good"
        return f"asked {self.issuer.asked - before} times"

    async def changes(self):
        for number in range(1, 101):
            await self.gateway.reload(number)

    async def served(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.data, ssl=CONTEXT)
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return found

    async def rotations(self):
        for _ in range(5):
            self.gateway.rotate()
            self.gateway.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 20
            while await self.served() != self.gateway.certificate:
                if time.monotonic() > deadline:
                    return self.missed.append("a certificate was never served")
                await asyncio.sleep(0.02)
        return "each served to new connections"

    async def terminated(self):
        for instance in self.instances:
            instance.work = 0.5
        token = self.issuer.token()
        asking = [
            asyncio.create_task(Link(self.gateway.data).ask(message(token, f"t{at}", deployment="patient")))
            for at in range(20)
        ]
        flying = lambda: sum(name.startswith("t") for i in self.instances for name in i.taken)  # noqa: E731
        await until("twenty are in flight", lambda: flying() == 20)
        self.gateway.end(signal.SIGTERM)
        answers = await asyncio.gather(*asking, return_exceptions=True)
        code = await asyncio.wait_for(self.gateway.process.wait(), 60)
        for instance in self.instances:
            instance.work = 0.0
        good = sum(answer == (200, "") for answer in answers)
        await self.gateway.start()
        if (good, code) != (20, 0):
            self.missed.append(f"SIGTERM: {good} of 20 finished, exit {code}")
        await asyncio.sleep(EVENT)
        return f"{good} of 20 finished, exit {code}"

    async def killed_gateway(self):
        began = time.monotonic()
        self.gateway.end(signal.SIGKILL)
        await self.gateway.process.wait()
        await self.gateway.start()
        took = time.monotonic() - began
        if took > 5:
            self.missed.append(f"{took:.1f} s from SIGKILL until it was ready")
        await asyncio.sleep(EVENT)
        return f"ready {took:.2f} s after"

    async def leaving(self):
        instances, count, model, stay = self.instances, 100, 5.0, 0.1
        token, left = self.issuer.token(), []
        for instance in instances:
            instance.left.clear()
        # No model of five seconds is meant for the good clients.
        self.clients.resting = True
        await asyncio.sleep(FIRST_BYTE)
        for instance in instances:
            instance.work = model

        async def leave(at):
            link = Link(self.gateway.data)
            asking = asyncio.create_task(link.ask(message(token, f"l{at}", deployment="patient")))
            await until("a model has it", lambda: any(f"l{at}" in instance.taken for instance in instances))
            await asyncio.sleep(stay)
            left.append(time.monotonic())
            link.close()
            with contextlib.suppress(Broken):
                await asking

        await asyncio.gather(*(leave(at) for at in range(count)))
        ends = lambda: [end for instance in instances for end in instance.left]  # noqa: E731
        deadline = time.monotonic() + model
        while len(ends()) < count and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for instance in instances:
            instance.work = 0.0
        self.clients.resting = False
        # Both in order: the sum of the differences does not depend on who is who.
        wasted = sum(max(0.0, end - at) for end, at in zip(sorted(ends())[-count:], sorted(left)))
        wasted += model * max(0, count - len(ends()))
        share = wasted / (count * (model - stay))
        if share > 0.05:
            self.missed.append(f"{wasted:.1f} instance-seconds of work for clients that had left")
        return f"{wasted:.2f} instance-seconds beyond their leave, of {count * (model - stay):.0f} ({share:.2%})"


async def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", type=Path, default=BINARY)
    options.add_argument("--rate", type=float, default=100, help="requests in a second, in all")
    options.add_argument("--connections", type=int, default=8)
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as home:
        world = World(options.bin.resolve(), Path(home), options)
        try:
            await asyncio.wait_for(world.run(), ALL)
        finally:
            if world.gateway.process is not None and world.gateway.process.returncode is None:
                world.gateway.process.kill()
    for missed in world.missed:
        print(f"missed: {missed}")
    print(f"{world.failed} requests failed that could have been served")
    sys.exit(1 if world.failed or world.missed else 0)


if __name__ == "__main__":
    asyncio.run(main())
