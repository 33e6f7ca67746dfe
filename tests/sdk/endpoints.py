"""Online endpoints: create, read, list, change, in all three modes of authentication."""

import io

from azure.ai.ml import load_online_endpoint
from azure.ai.ml.entities import ManagedOnlineEndpoint
from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.machinelearningservices import models

MODES = {"by-key": "key", "by-aml": "aml_token", "by-aad": "aad_token"}


def run(w, check):
    ml = w.ml()
    for name, mode in MODES.items():
        made = w.make_endpoint(name, mode, description=f"scored by {mode}", tags={"team": "heart", "mode": mode})
        seen = (made.name, made.auth_mode, made.description, made.tags, made.provisioning_state)
        expected = (name, mode, f"scored by {mode}", {"team": "heart", "mode": mode}, "Succeeded")
        check.equal(f"create an endpoint with {mode}", seen, expected)
        check.equal(f"{name}: where it is scored", made.scoring_uri, f"{w.facts['data_url']}/endpoints/{name}/score")
    got = ml.online_endpoints.get("by-key")
    check.equal("get: id", got.id.lower(), w.endpoint("by-key").lower())
    check.equal(
        "get: location and traffic", (got.location, got.traffic, got.mirror_traffic), (w.facts["location"], {}, {})
    )
    check.that("get: openapi_uri", got.openapi_uri.endswith("/endpoints/by-key/swagger.json"), got.openapi_uri)
    admin = w.facts["principals"]["admin"]
    creator = got.properties.get("createdBy")
    check.that("get: created by", creator in (admin["object_id"], admin["client_id"]), creator)
    names = [endpoint.name for endpoint in ml.online_endpoints.list()]
    check.that("list has them", set(MODES) <= set(names), names)
    check.equal(
        "a name in another case is the same endpoint", ml.online_endpoints.get("BY-KEY").id.lower(), got.id.lower()
    )

    from_yaml(w, check)
    round_trips(w, check)
    without_what_clients_leave_out(w, check)

    early = ManagedOnlineEndpoint(name="too-early", auth_mode="key", traffic={"blue": 100})
    check.refused(
        "traffic to a deployment that is not there yet",
        lambda: ml.online_endpoints.begin_create_or_update(early).result(),
        400,
    )
    check.refused("an unknown endpoint", lambda: ml.online_endpoints.get("nowhere"), 404, kind=ResourceNotFoundError)


def from_yaml(w, check):
    text = (
        "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json\n"
        "name: by-yaml\nauth_mode: aml_token\ndescription: as the documentation has it\ntags: { stage: test }\n"
    )
    w.ml().online_endpoints.begin_create_or_update(load_online_endpoint(io.StringIO(text))).result()
    got = w.ml().online_endpoints.get("by-yaml")
    seen = (got.auth_mode, got.description, got.tags)
    check.equal("create from YAML", seen, ("aml_token", "as the documentation has it", {"stage": "test"}))


def round_trips(w, check):
    """get, modify, put: the only way in which this client changes anything."""
    name, ml = "kept", w.ml()
    w.make_endpoint(
        name, "key", description="before", tags={"a": "1"}, properties={"owner.team": "heart", "MixedCase": "x"}
    )
    w.make_deployment(name, "blue")
    w.make_deployment(name, "green")
    w.route(name, {"blue": 100}, {"green": 20})
    before = w.arm("GET", w.endpoint(name)).json()
    got = ml.online_endpoints.get(name)
    got.tags["b"] = "2"
    got.description = "after"
    after = ml.online_endpoints.begin_create_or_update(got).result()
    check.equal("modified: tags and description", (after.tags, after.description), ({"a": "1", "b": "2"}, "after"))
    seen = (after.auth_mode, after.traffic, after.mirror_traffic, after.scoring_uri)
    check.equal("not modified: the rest", seen, ("key", {"blue": 100}, {"green": 20}, got.scoring_uri))
    ml.online_endpoints.begin_create_or_update(ml.online_endpoints.get(name)).result()

    raw = w.arm("GET", w.endpoint(name)).json()
    check.equal(
        "properties have their case and their dots",
        {k: raw["properties"]["properties"].get(k) for k in ("owner.team", "MixedCase")},
        {"owner.team": "heart", "MixedCase": "x"},
    )
    # The client sends what it was told about the system as properties of the user.
    check.equal(
        "properties do not grow by being sent back", raw["properties"]["properties"], before["properties"]["properties"]
    )
    seen = [raw["systemData"][member] for member in ("createdAt", "createdBy")]
    check.equal(
        "who made it and when is not for clients to say",
        seen,
        [before["systemData"][member] for member in ("createdAt", "createdBy")],
    )
    listed = ml.online_deployments.list(name)
    check.equal("its deployments are still there", sorted(deployment.name for deployment in listed), ["blue", "green"])


def without_what_clients_leave_out(w, check):
    """A body as small as the other client sends it must come back as the first can read it."""
    body = models.OnlineEndpoint(
        location=w.facts["location"],
        identity=models.ManagedServiceIdentity(type="SystemAssigned"),
        properties=models.OnlineEndpointProperties(auth_mode="AADToken"),
    )
    made = w.management().online_endpoints.begin_create_or_update(*w.at, "small", body).result()
    check.equal(
        "created by the generated client",
        (made.name, made.properties.auth_mode, made.properties.provisioning_state),
        ("small", "AADToken", "Succeeded"),
    )
    got = w.ml().online_endpoints.get("small")
    check.equal("and read by MLClient", (got.auth_mode, got.traffic, got.tags or {}), ("aad_token", {}, {}))
    check.that("and listed", "small" in [endpoint.name for endpoint in w.ml().online_endpoints.list()])
    raw = w.arm("GET", w.endpoint("small")).json()
    check.that("a managed endpoint has no compute", not raw["properties"].get("compute"), raw)
    check.that("keys are not part of an endpoint", not raw["properties"].get("keys"), raw)
    odd = w.arm(
        "PUT",
        w.endpoint("small").replace("onlineEndpoints", "ONLINEENDPOINTS"),
        json={"location": "local", "identity": {"type": "systemAssigned"}, "properties": {"authMode": "aadtoken"}},
    )
    check.equal(
        "enum values and types in any case",
        (odd.status_code, odd.json().get("properties", {}).get("authMode")),
        (200, "AADToken"),
    )
