"""A running `scoregate dev`, and what the checks do with it through the clients."""

import contextlib
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import requests
from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint
from azure.core.credentials import AccessToken

sys.path.append(str(Path(__file__).resolve().parent.parent))
from children import dev, tail  # noqa: E402

import clients
from clients import ML, PROVIDER, SAMPLE


class Bearer:
    """A credential that presents one text, whatever a client asks for."""

    def __init__(self, text):
        self.text = text

    def get_token(self, *_scopes, **_options):
        return AccessToken(self.text, int(time.time()) + 3600)


@contextlib.contextmanager
def running(binary):
    """A `scoregate dev` in a directory that is thrown away, and what it takes to use it."""
    with tempfile.TemporaryDirectory(prefix="scoregate-sdk-") as directory, dev(binary, Path(directory)) as facts:
        if not facts["control_url"]:
            raise SystemExit("this scoregate has no control plane")
        try:
            yield World(facts)
        except BaseException:
            print(tail(Path(directory) / "dev.log"), file=sys.stderr)
            raise


class World:
    """The clients for each principal, names of scopes, and short forms of what many checks do first."""

    def __init__(self, facts):
        self.facts = facts
        clients.aim(facts)
        self.group_name, self.workspace_name = facts["resource_group"], facts["workspace"]
        self.subscription = f"/subscriptions/{facts['subscription_id']}"
        self.group = f"{self.subscription}/resourceGroups/{self.group_name}"
        self.workspace = f"{self.group}/providers/{PROVIDER}/workspaces/{self.workspace_name}"
        # Where endpoints are, for the generated clients.
        self.at = (self.group_name, self.workspace_name)
        self.http = requests.Session()

    def endpoint(self, name):
        return f"{self.workspace}/onlineEndpoints/{name}"

    def role(self, guid):
        return f"{self.subscription}/providers/Microsoft.Authorization/roleDefinitions/{guid}"

    def object_id(self, who):
        return self.facts["principals"][who]["object_id"]

    # ---- clients

    @cache
    def credential(self, who):
        return clients.credential(self.facts, who)

    def token(self, who, scope=ML):
        return self.credential(who).get_token(scope).token

    @cache
    def ml(self, who="admin"):
        return clients.ml_client(self.facts, self.credential(who))

    @cache
    def authorization(self, who="admin"):
        return clients.authorization(self.facts, self.credential(who))

    @cache
    def management(self, who="admin"):
        return clients.management(self.facts, self.credential(who))

    def arm(self, method, path, who="admin", version="2024-10-01", token=None, **more):
        """A request that no client sends. `who` or `token` may be None: then it has no token."""
        headers = more.pop("headers", {})
        token = token or (who and self.token(who, clients.ARM))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        params = {"api-version": version} if version else {}
        return self.http.request(
            method, self.facts["control_url"] + path, params=params, headers=headers, timeout=30, **more
        )

    def score(self, endpoint, bearer, deployment=None):
        """A scoring request with this credential, which `invoke` would choose by itself."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        if deployment:
            headers["azureml-model-deployment"] = deployment
        url = f"{self.facts['data_url']}/endpoints/{endpoint}/score"
        return self.http.post(url, json=SAMPLE, headers=headers, timeout=30)

    def scored(self, endpoint, bearer, deployment=None):
        return self.score(endpoint, bearer, deployment).status_code

    # ---- resources

    def make_endpoint(self, name, mode, who="admin", **more):
        endpoint = ManagedOnlineEndpoint(name=name, auth_mode=mode, **more)
        return self.ml(who).online_endpoints.begin_create_or_update(endpoint).result()

    def make_deployment(self, endpoint, name, who="admin", model=None, **more):
        """A deployment that is served by the demo model of its own name, or by `model`."""
        more["properties"] = clients.backend(self.facts["models"][model or name]) | more.get("properties", {})
        more.setdefault("instance_count", 1)
        deployment = ManagedOnlineDeployment(name=name, endpoint_name=endpoint, **more)
        return self.ml(who).online_deployments.begin_create_or_update(deployment).result()

    def route(self, name, traffic, mirror=None):
        """Changes an endpoint's traffic as users of the client do: get, modify, put."""
        endpoint = self.ml().online_endpoints.get(name)
        endpoint.traffic, endpoint.mirror_traffic = traffic, mirror or {}
        return self.ml().online_endpoints.begin_create_or_update(endpoint).result()

    def serve(self, name, mode):
        """An endpoint of one deployment, blue, that answers."""
        self.make_endpoint(name, mode)
        self.make_deployment(name, "blue")
        return self.route(name, {"blue": 100})
