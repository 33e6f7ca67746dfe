#!/usr/bin/env python3
"""Tests the control plane against its own OpenAPI document with schemathesis.

Installs schemathesis into a venv below `target/`, starts `scoregate dev` on free ports (the binary that SCOREGATE_BIN
names), asks every operation without a token and then with whatever fits or does not fit the document. Exits 0 if
nothing was found. Standard library only.
"""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.append(str(HERE.parent))
from children import dev, die_with_parent  # noqa: E402

CACHE = ROOT / "target" / "openapi"
INSTALLED_WITHIN = 600
DONE_WITHIN = 600
API_VERSION = "2024-10-01"
# There are no computes and no keys of batch endpoints, and schemathesis asks for the document itself before it counts.
NEVER_SUCCEED = {"BatchEndpoints_ListKeys", "Computes_Get", "Metadata_OpenApi"}


class Failed(Exception):
    """What is to be told."""


def run(argv, within, **options):
    """Runs a command to its end, or ends it."""
    process = subprocess.Popen([str(arg) for arg in argv], stdin=subprocess.DEVNULL, preexec_fn=die_with_parent, **options)
    try:
        return process.wait(within)
    except subprocess.TimeoutExpired:
        raise Failed(f"{argv[0]}: not done in {within} s") from None
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def schemathesis():
    """The program, installed if it is not or if it is another."""
    requirements = HERE / "requirements.txt"
    key = json.dumps([str(CACHE), sys.base_prefix, sys.version, requirements.read_text()])
    wanted = hashlib.sha256(key.encode()).hexdigest()
    venv, stamp, log = CACHE / "venv", CACHE / ".stamp", CACHE / "install.log"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(venv, ignore_errors=True)
            pip = [venv / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
            with open(log, "wb") as out:
                for command in ([sys.executable, "-m", "venv", venv], [*pip, "-r", requirements]):
                    if run(command, INSTALLED_WITHIN, stdout=out, stderr=subprocess.STDOUT):
                        raise Failed(f"cannot install schemathesis; see {log}")
            stamp.write_text(wanted)
    return venv / "bin" / "schemathesis"


class Client:
    """Requests to one running gateway."""

    def __init__(self, facts):
        context = ssl.create_default_context(cafile=facts["ca_file"])
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        self.opener = urllib.request.build_opener(*handlers)
        self.facts = facts
        self.token = self.authenticate("admin", "https://management.azure.com")
        self.scoring = self.authenticate("admin", "https://ml.azure.com")

    def send(self, method, url, body=None, token=None, kind="application/json"):
        """Status, header fields and body of an answer, whatever it is."""
        request = urllib.request.Request(url, method=method, data=body and body.encode(), headers={"Content-Type": kind})
        if token:
            request.add_header("Authorization", "Bearer " + token)
        try:
            with self.opener.open(request, timeout=20) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.headers, refusal.read().decode()

    def done(self, method, url, body=None, token=None, kind="application/json"):
        status, headers, text = self.send(method, url, body, token, kind)
        if status >= 300:
            raise Failed(f"{method} {url}: {status} {text}")
        return headers, text

    def authenticate(self, who, audience):
        facts, principal = self.facts, self.facts["principals"][who]
        form = {
            "client_id": principal["client_id"], "client_secret": principal["client_secret"],
            "grant_type": "client_credentials", "scope": audience + "/.default",
        }
        url = f"{facts['authority_url']}/{facts['tenant_id']}/oauth2/v2.0/token"
        _, text = self.done("POST", url, urllib.parse.urlencode(form), kind="application/x-www-form-urlencoded")
        return json.loads(text)["access_token"]

    def put(self, path, body):
        url = f"{self.facts['control_url']}{path}?api-version={API_VERSION}"
        return json.loads(self.done("PUT", url, json.dumps(body), self.token)[1])


def operations(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def ask_without_a_token(client, document):
    """Every operation that is not public is refused to somebody without a token, and says where to get one."""
    wrong = []
    for method, path, operation in operations(document):
        if operation.get("security") == []:
            continue
        known = "/subscriptions/" + client.facts["subscription_id"]
        path = path.replace("/{scope}", known).replace("{", "").replace("}", "")
        status, headers, text = client.send(method, f"{client.facts['control_url']}{path}?api-version={API_VERSION}")
        if status != 401 or not headers.get("WWW-Authenticate", "").startswith("Bearer ") or "error" not in json.loads(text):
            wrong.append(f"{method} {path} without a token: {status} {text}")
    if wrong:
        raise Failed("\n".join(wrong))


def make_what_is_asked_for(client, directory):
    """An endpoint of each kind, an operation and a request; gives the values of path parameters that name them."""
    facts = client.facts
    workspace = (
        f"/subscriptions/{facts['subscription_id']}/resourceGroups/{facts['resource_group']}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{facts['workspace']}"
    )
    body = {"location": facts["location"], "properties": {"authMode": "AMLToken"}}
    made = client.put(f"{workspace}/onlineEndpoints/with-token", body)
    job = a_job(client, workspace, directory)
    secrets = {"secretsType": "Sas", "sasToken": "sv=1&sig=x"}
    store = {"datastoreType": "AzureBlob", "accountName": "heart", "containerName": "data"}
    store["credentials"] = {"credentialsType": "Sas", "secrets": secrets}
    client.put(f"{workspace}/datastores/inputs", {"properties": store})
    operation = made["properties"]["properties"]["AzureAsyncOperationUri"].partition("?")[0].rpartition("/")[2]
    scored = client.send("POST", facts["data_url"] + "/endpoints/my-endp1/score", "{}")[1]
    return {
        "succeeded_file": str(directory / "succeeded"),
        "principal": facts["principals"]["outsider"]["object_id"],
        # One comes from a file and cannot be written.
        "written": ["my-endp1", "fuzzed"],
        "batch": ["jobs-one", "fuzzed-jobs"],
        "batch_written": ["fuzzed-jobs"],
        "path": {
            "datastore": ["inputs", "workspaceblobstore", "fuzzed"],
            "subscription": [facts["subscription_id"]],
            "resourceGroup": [facts["resource_group"]],
            "workspace": [facts["workspace"]],
            "location": [facts["location"]],
            "endpoint": ["my-endp1", "my-endp2", "with-token", "fuzzed"],
            "deployment": ["blue", "fuzzed"],
            "operation": [operation],
            "request": [scored["x-ms-request-id"]],
            "job": [job],
        },
    }


def a_job(client, workspace, directory):
    """A batch endpoint whose deployment nobody answers for, and a job of it; gives the job's name."""
    facts, endpoint = client.facts, f"{workspace}/batchEndpoints/jobs-one"
    described = {"location": facts["location"], "properties": {"authMode": "AADToken"}}
    client.put(endpoint, described)
    backend = {"scoregate.backend": json.dumps({"urls": ["http://127.0.0.1:9"]})}
    client.put(f"{endpoint}/deployments/blue", {"location": facts["location"], "properties": {"properties": backend}})
    described["properties"]["defaults"] = {"deploymentName": "blue"}
    client.put(endpoint, described)
    store = directory / "dev/datastores/workspaceblobstore"
    folder = store / facts["subscription_id"] / facts["resource_group"] / facts["workspace"] / "in"
    folder.mkdir(parents=True)
    (folder / "one.csv").write_text("a\n1\n")
    uri = "azureml://datastores/workspaceblobstore/paths/in"
    body = json.dumps({"properties": {"inputData": {"data": {"jobInputType": "UriFolder", "uri": uri}}}})
    _, text = client.done("POST", f"{facts['data_url']}/endpoints/jobs-one/jobs", body, client.scoring)
    return json.loads(text)["name"]


def fuzz(program, client, directory):
    known = make_what_is_asked_for(client, directory)
    environment = dict(
        os.environ, PYTHONPATH=str(HERE), PYTHONDONTWRITEBYTECODE="1", PYTHONHASHSEED="0", SCHEMATHESIS_HOOKS="hooks",
        SCOREGATE_OPENAPI_FACTS=json.dumps(known), SCOREGATE_OPENAPI_TOKEN=client.token,
        SCOREGATE_OPENAPI_SCORING_TOKEN=client.scoring,
        SCOREGATE_OPENAPI_CA=client.facts["ca_file"],
    )
    argv = [program, "--config-file", HERE / "schemathesis.toml", "run", client.facts["control_url"] + "/openapi.json"]
    status = run([*argv, "--no-color", *sys.argv[1:]], DONE_WITHIN, env=environment, cwd=directory)
    if status:
        raise Failed(f"schemathesis found something (exit status {status})")
    return {line.partition("@")[0] for line in Path(known["succeeded_file"]).read_text().split()}


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    try:
        program = schemathesis()
        binary = os.environ.get("SCOREGATE_BIN") or ROOT / "target" / "debug" / "scoregate"
        with tempfile.TemporaryDirectory(prefix="scoregate-openapi-") as directory, dev(binary, Path(directory)) as facts:
            client = Client(facts)
            document = json.loads(client.done("GET", facts["control_url"] + "/openapi.json")[1])
            ask_without_a_token(client, document)
            succeeded = fuzz(program, client, Path(directory))
            every = {operation["operationId"] for _, _, operation in operations(document)}
            refused = {name for name in every - NEVER_SUCCEED if name not in succeeded}
            if refused:
                raise Failed(f"never succeeded, so hardly tested: {sorted(refused)}")
            client.done("GET", facts["admin_url"] + "/readyz")
            if "\nscoregate_panics_total 0\n" not in client.done("GET", facts["admin_url"] + "/metrics")[1]:
                raise Failed("the gateway counted a defect: scoregate_panics_total is not 0")
    except Failed as reason:
        return f"run.py: {reason}"
    return 0


if __name__ == "__main__":
    sys.exit(main())
