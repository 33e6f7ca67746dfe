"""Aiming the clients at the gateway, in each way that they have."""

import json
import re
import tempfile
from pathlib import Path

from azure.ai.ml import MLClient
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient

import fresh
from fresh import look

SHIPPED = ["my-endp1", "my-endp2", "my-endp3"]


def run(w, check):
    facts = w.facts
    expected = [facts["workspace"], facts["location"], SHIPPED]
    check.equal("MLClient by AZUREML_DEV_URL_MFE", look(w.ml(), facts), expected)
    check.equal("MLClient by cloud_metadata", fresh.run(fresh.aimed_by_cloud_metadata, facts), expected)
    check.equal("MLClient by ARM_CLOUD_METADATA_URL", fresh.run(fresh.aimed_by_metadata_url, facts), expected)
    check.equal("MLClient with an EnvironmentCredential", fresh.run(fresh.signed_in_by_environment, facts), expected)

    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "config.json"
        names = {
            "subscription_id": facts["subscription_id"],
            "resource_group": w.group_name,
            "workspace_name": w.workspace_name,
        }
        config.write_text(json.dumps(names))
        ml = MLClient.from_config(w.credential("admin"), path=str(config), enable_telemetry=False)
        check.equal("MLClient.from_config", look(ml, facts), expected)

    # Without credential_scopes this client asks for the public cloud's audience.
    management = MachineLearningServicesMgmtClient(
        w.credential("admin"), facts["subscription_id"], base_url=facts["control_url"]
    )
    names = sorted(endpoint.name for endpoint in management.online_endpoints.list(*w.at))
    check.equal("azure-mgmt-machinelearningservices by base_url alone", names, SHIPPED)

    workspaces(w, check)
    documents(w, check)


def workspaces(w, check):
    ml, facts = w.ml(), w.facts
    workspace = ml.workspaces.get(w.workspace_name)
    check.equal("workspaces.get: id", workspace.id.lower(), w.workspace.lower())
    check.equal("workspaces.get: location", workspace.location, facts["location"])
    check.equal("workspaces.get: resource group", workspace.resource_group, w.group_name)
    check.equal("workspaces.list of the resource group", [ws.name for ws in ml.workspaces.list()], [w.workspace_name])
    listed = ml.workspaces.list(scope="subscription")
    check.equal("workspaces.list of the subscription", [ws.name for ws in listed], [w.workspace_name])
    again = w.management().workspaces.get(*w.at)
    check.equal(
        "the same workspace by the other client", (again.name, again.location), (workspace.name, workspace.location)
    )
    discovered = w.http.get(workspace.discovery_url, timeout=30).json()
    check.that("its discovery document says where the rest is", discovered["api"].startswith("http"), discovered)
    refused = check.refused("an unknown workspace", lambda: ml.workspaces.get("nowhere"), 404)
    check.equal("it is told by its kind", type(refused).__name__, "ResourceNotFoundError")


def documents(w, check):
    """What az and the clients read on their way, in the shapes that they expect."""
    facts = w.facts
    cloud = w.arm("GET", "/metadata/endpoints", who=None, version="2022-09-01").json()
    seen = isinstance(cloud, dict) and (cloud["resourceManager"], cloud["authentication"]["loginEndpoint"])
    check.equal("metadata for az is one cloud", seen, (facts["control_url"], facts["authority_url"]))
    graph = cloud.get("microsoftGraphResourceId")
    check.that(
        "az looks for names of principals here and nowhere else", str(graph).startswith(facts["control_url"]), graph
    )
    clouds = w.arm("GET", "/metadata/endpoints", who=None, version="2019-05-01").json()
    seen = isinstance(clouds, list) and clouds[0]["portal"]
    check.equal("metadata for ARM_CLOUD_METADATA_URL is a list", seen, "https://portal.azure.com")

    listed = w.arm("GET", "/subscriptions", version="2022-12-01").json()["value"]
    seen = [(s["subscriptionId"], s["tenantId"], s["state"]) for s in listed]
    check.equal(
        "subscriptions, as az login lists them", seen, [(facts["subscription_id"], facts["tenant_id"], "Enabled")]
    )
    check.that("each has a name, which az cannot do without", all(s.get("displayName") for s in listed), listed)
    one = w.arm("GET", w.subscription, version="2022-12-01").json()
    check.equal("one subscription", one["id"].lower(), w.subscription)
    group = w.arm("GET", w.group.replace("resourceGroups", "resourcegroups"), version="2024-11-01").json()
    check.equal(
        "a resource group, with a small g", (group["name"], group["location"]), (w.group_name, facts["location"])
    )

    paths = w.http.get(facts["control_url"] + "/openapi.json", timeout=30).json()["paths"]
    described = [path for path in paths if re.search(r"/onlineEndpoints/\{\w+\}$", path)]
    check.that("/openapi.json describes online endpoints", described, sorted(paths))
