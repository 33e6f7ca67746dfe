"""What the measurements share: an issuer, gateways, and a client of their control planes. Standard library and Linux only."""

import contextlib
import ctypes
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "target" / "release" / "scoregate"
SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"
WORKSPACE = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/default"
    "/providers/Microsoft.MachineLearningServices/workspaces/default"
)
SCIENTIST = "f6c7c914-8db3-469d-8ca1-694a8f32e121"
VERSION = "api-version=2024-10-01"
AUTHORIZATION = "/providers/Microsoft.Authorization"
# Audiences of tokens.
MANAGING, SCORING = "https://management.azure.com", "https://ml.azure.com"


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 = PR_SET_PDEATHSIG


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def spawn(argv, log):
    with open(log, "ab") as out:
        return subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )


def stop(process):
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until(what, look, within=60, pause=0.05):
    """What `look` gives, once that is something."""
    deadline = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > deadline:
            sys.exit(f"never: {what}")
        time.sleep(pause)
    return found


def come_up(process, log, look, within):
    """The same of something that is being started."""
    what = " ".join(process.args)

    def ask():
        if process.poll() is not None:
            sys.exit(f"it ended: {what}\n{log.read_text(errors='replace')[-4000:]}")
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            return look()

    return until(f"ready: {what}; see {log}", ask, within, 0.005)


def memory(process):
    """Resident MiB now and at most, as Linux counts them."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return tuple(round(int(fields[name].split()[0]) / 1024, 1) for name in ("VmRSS", "VmHWM"))


class Issuer:
    """`scoregate dev`: whoever it says is the admin owns the gateways."""

    def __init__(self, facts):
        self.facts = facts

    def object_id(self, who):
        return self.facts["principals"][who]["object_id"]

    def token(self, audience=MANAGING, who="admin"):
        facts, principal = self.facts, self.facts["principals"][who]
        form = urllib.parse.urlencode({
            "client_id": principal["client_id"], "client_secret": principal["client_secret"],
            "grant_type": "client_credentials", "scope": f"{audience}/.default",
        }).encode()
        https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=facts["ca_file"]))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
        with opener.open(f"{facts['authority_url']}/{facts['tenant_id']}/oauth2/v2.0/token", form, timeout=10) as answer:
            return json.load(answer)["access_token"]


@contextlib.contextmanager
def issuer(binary, directory):
    directory.mkdir()
    ready, log = directory / "ready.json", directory / "log"
    process = spawn([binary, "dev", "--port-base", "0", "--ready-file", ready, "--data-dir", directory / "data"], log)
    try:
        # The file may still be being written.
        yield Issuer(come_up(process, log, lambda: json.loads(ready.read_text()), 60))
    finally:
        stop(process)


class Gateway:
    """A directory with a configuration, and a gateway on it whenever one is started. Its ports stay the same."""

    def __init__(self, binary, directory, issuer, **sections):
        self.binary, self.directory, self.issuer, self.process = binary, directory, issuer, None
        self.data, self.control, self.admin = free_port(), free_port(), free_port()
        directory.mkdir()
        self.configure(**sections)

    def configure(self, **sections):
        """Writes a configuration with these sections besides the usual ones, or in their place."""
        facts = self.issuer.facts
        usual = {
            "data_plane": {"listen": f"127.0.0.1:{self.data}"},
            "control_plane": {"listen": f"127.0.0.1:{self.control}"},
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "store": "sqlite://scoregate.db",
            "identity": {"entra": [
                {"authority": facts["authority_url"], "tenants": [facts["tenant_id"]], "ca_file": facts["ca_file"]},
            ]},
            "workspaces": [
                {"subscription": SUBSCRIPTION, "resource_group": "default", "name": "default", "location": "local"},
            ],
            "owners": [self.issuer.object_id("admin")],
            "logs": {"level": "warn", "access": False},
        }
        # JSON is YAML.
        (self.directory / "scoregate.yaml").write_text(json.dumps(usual | sections, indent=1))

    def start(self, within=60):
        """Gives the seconds until it was ready."""
        began, log = time.monotonic(), self.directory / "log"
        self.process = spawn([self.binary, "serve", "--config", self.directory / "scoregate.yaml"], log)
        come_up(self.process, log, lambda: self.look("/readyz")[0] == 200, within)
        return time.monotonic() - began

    @contextlib.contextmanager
    def started(self, within=300):
        """The same, stopped at the end."""
        try:
            yield self.start(within)
        finally:
            self.stop()

    def stop(self):
        if self.process is not None:
            stop(self.process)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def look(self, path):
        """Status and text of what operators see there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, start):
        """The value of the first metric that begins so; 0 if there is none, or no gateway."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            for line in self.look("/metrics")[1].splitlines():
                if line.startswith(start):
                    return float(line.rsplit(" ", 1)[1])
        return 0.0

    def client(self):
        context = ssl.create_default_context(cafile=self.directory / "control-ca.pem")
        return Client(self.control, context, self.issuer.token())


class Refused(Exception):
    """An answer of 300 or more; its last argument is the status."""


class Client:
    """One kept connection to a control plane."""

    def __init__(self, port, context, token):
        self.connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
        self.headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}

    def call(self, method, path, body=None):
        """The JSON of the answer, and the seconds it took."""
        text = body and json.dumps(body)
        began = time.perf_counter()
        self.connection.request(method, path, text, self.headers)
        answer = self.connection.getresponse()
        got = answer.read()
        took = time.perf_counter() - began
        if answer.status >= 300:
            raise Refused(f"{method} {path}: {answer.status} {got[:500]!r}", answer.status)
        return (json.loads(got) if got else None), took
