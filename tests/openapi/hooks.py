"""What the document cannot say: what exists, which scopes there are, and bodies with which an operation succeeds.

A resource id in `{scope}` holds slashes, and schemathesis sends a slash in a parameter as %2F, which the server refuses
on purpose. So each of these paths is put before it once for each kind of scope, with the parameters of that scope.
"""

import json
import os

import schemathesis
from schemathesis.core.parameters import ParameterLocation

FACTS = json.loads(os.environ["SCOREGATE_OPENAPI_FACTS"])

WORKSPACE = (
    "/subscriptions/{subscription}/resourceGroups/{resourceGroup}"
    "/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"
)
SCOPES = {
    "@Root": "",
    "@ManagementGroup": "/providers/Microsoft.Management/managementGroups/{managementGroup}",
    "@Subscription": "/subscriptions/{subscription}",
    "@Endpoint": WORKSPACE + "/onlineEndpoints/{endpoint}",
}

READER = "/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7"
ASSET = {"properties": {"description": "an asset"}}
BACKEND = json.dumps({"urls": ["http://127.0.0.1:9"]})

# A body for each operation that takes one. What schemathesis makes up goes on top of it, half of the time.
BODIES = {
    "Workspaces_CreateOrUpdate": {"location": "local"},
    "OnlineEndpoints_CreateOrUpdate": {"location": "local", "properties": {"authMode": "AMLToken"}},
    "OnlineEndpoints_Update": {"tags": {"a": "b"}},
    "OnlineEndpoints_RegenerateKeys": {"keyType": "Secondary"},
    "OnlineDeployments_CreateOrUpdate": {
        "location": "local",
        "properties": {"endpointComputeType": "Managed", "properties": {"scoregate.backend": BACKEND}},
    },
    "OnlineDeployments_Update": {"tags": {"a": "b"}, "sku": {"name": "Default", "capacity": 1}},
    "OnlineDeployments_GetLogs": {"tail": 10},
    "BatchEndpoints_CreateOrUpdate": {"location": "local", "properties": {"authMode": "AADToken"}},
    "BatchEndpoints_Update": {"tags": {"a": "b"}},
    "BatchDeployments_CreateOrUpdate": {
        "location": "local",
        "properties": {"properties": {"scoregate.backend": BACKEND}},
    },
    "BatchDeployments_Update": {"tags": {"a": "b"}},
    "Datastores_CreateOrUpdate": {
        "properties": {"datastoreType": "AzureBlob", "accountName": "heart", "containerName": "data"}
    },
    "Datastores_ListSecrets": {"expirableSecret": False},
    "ModelVersions_CreateOrUpdate": ASSET,
    "EnvironmentVersions_CreateOrUpdate": ASSET,
    "RoleAssignments_Create": {"properties": {"roleDefinitionId": READER, "principalId": FACTS["principal"]}},
    "RoleDefinitions_CreateOrUpdate": {
        "properties": {
            "roleName": "a role",
            "permissions": [{"actions": ["*/read"]}],
            "assignableScopes": ["/subscriptions/" + FACTS["path"]["subscription"][0]],
        }
    },
    "Access_Check": {"action": "Microsoft.Authorization/roleAssignments/read"},
    "Access_WhoCan": {"action": "Microsoft.Authorization/roleAssignments/read"},
    "Access_Explain": {"endpoint": "my-endp1", "token": "none"},
}

FILTERS = ["atScope()", f"principalId eq '{FACTS['principal']}'", f"assignedTo('{FACTS['principal']}')", "x"]
QUERY = {"isDefault": ["true", "false"], "$filter": FILTERS, "count": ["1", "1000"], "$top": ["1", "1000"], "computeType": ["Managed"]}
WRITES = {"put", "patch", "delete"}
SUCCEEDED = set()


def guid(path):
    """The name of a grant or a role; there is one of a name, at one scope."""
    kind = path.split("/")[-2]
    scope = path.removesuffix(f"/providers/Microsoft.Authorization/{kind}/{{name}}")
    return f"0000000{list(SCOPES.values()).index(scope)}-0000-4000-8000-{len(kind):012}"


def values(method, path, name):
    """Values of a path parameter with which an operation gets as far as it can."""
    if name == "name" and "/Microsoft.Authorization/" in path:
        return [guid(path)]
    if name == "endpoint" and "/batchEndpoints/" in path:
        return FACTS["batch_written" if method in WRITES and path.endswith("{endpoint}") else "batch"]
    if name == "datastore" and method in WRITES:
        return ["fuzzed"]
    if name == "endpoint" and method in WRITES and path.endswith("{endpoint}"):
        return FACTS["written"]  # the others are to stay what they are
    return FACTS["path"].get(name, ["a", "b"])


def named(path):
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def body(operation, suffix):
    """A body that is right. Two roles have two names."""
    text = json.dumps(BODIES[operation])
    return json.loads(text.replace("a role", "a role" + suffix))


def filled(path, methods, suffix=""):
    """The operations of a path with values for its parameters and with a body that is right."""
    for method, operation in methods.items():
        base = operation["operationId"]
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "enum": values(method, path, name)}}
            for name in named(path)
        ]
        for parameter in operation.get("parameters", []):
            if parameter.get("in") != "path":
                parameters.append(parameter)
                if parameter.get("name") in QUERY:
                    parameter["examples"] = {text: {"value": text} for text in QUERY[parameter["name"]]}
        operation["parameters"] = parameters
        for content in operation.get("requestBody", {}).get("content", {}).values():
            content["example"] = body(base, suffix)
        operation["operationId"] = base + suffix
    return methods


@schemathesis.hook
def before_load_schema(context, raw_schema):
    paths = {}
    for path, methods in raw_schema["paths"].items():
        if not path.startswith("/{scope}/"):
            paths[path] = filled(path, methods)
            continue
        for suffix, scope in SCOPES.items():
            concrete = scope + path.removeprefix("/{scope}")
            paths[concrete] = filled(concrete, json.loads(json.dumps(methods)), suffix)
    raw_schema["paths"] = paths


def has_null(value):
    if isinstance(value, dict):
        value = list(value.values())
    return value is None or isinstance(value, list) and any(has_null(one) for one in value)


def merged(below, above):
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {key: merged(below[key], above[key]) if key in below and key in above else {**below, **above}[key]
            for key in {**below, **above}}


@schemathesis.hook
def map_case(context, case):
    """Puts what was made up on top of a body that is right, so that an operation gets further than to what is missing."""
    operation, at, scope = case.operation.definition.raw["operationId"].partition("@")
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if positive and operation in BODIES and isinstance(case.body, dict) and len(json.dumps(case.body)) % 2:
        case.body = merged(body(operation, at + scope), case.body)
    return case


@schemathesis.hook
def after_call(context, case, response):
    """Notes what has succeeded, so that run.py sees which operations were never more than refused."""
    operation = case.operation.definition.raw["operationId"]
    if response.status_code < 300 and operation not in SUCCEEDED:
        SUCCEEDED.add(operation)
        with open(FACTS["succeeded_file"], "a") as file:
            print(operation, file=file)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Forgives what only looks wrong from here."""
    if type(failure).__name__ != "AcceptedNegativeData" or case.meta is None:
        return True
    # A name that is not among the known ones is not wrong: only this file knows those.
    if case.meta.is_negative_at(ParameterLocation.PATH):
        return False
    # A member that is null is a member that is not there, as with ARM.
    return not has_null(case.body)


def is_there(value, path):
    """Whether a body has a member; an empty one is there, though an operation may want more."""
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


@schemathesis.check
def what_must_be_there_is_required(ctx, response, case):
    """A body that the document allows lacks nothing."""
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if positive and response.status_code == 400:
        error = response.json()["error"]
        for one in error.get("details") or [error]:
            if "is missing" in one["message"] and not is_there(case.body, one.get("target", "").split(".")):
                raise AssertionError(f"the document does not say that it is required: {one['message']}")


@schemathesis.check
def answers_are_marked(ctx, response, case):
    """Every answer has a request id and may not be stored."""
    assert response.headers.get("x-ms-request-id"), "no x-ms-request-id"
    assert response.headers.get("cache-control") == ["no-store"], response.headers.get("cache-control")
