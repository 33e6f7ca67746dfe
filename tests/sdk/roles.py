"""Role definitions, built in and custom; what one may do; and what nobody may."""

import uuid

from azure.core.exceptions import ResourceNotFoundError

from clients import PROVIDER
from grants import OWNER, READER, SCIENTIST, USER_ACCESS_ADMINISTRATOR, grant

NAME = "ruled"
ENDPOINTS = f"{PROVIDER}/workspaces/onlineEndpoints"
SCORE = f"{ENDPOINTS}/score/action"


def run(w, check):
    w.serve(NAME, "aad_token")
    built_in(w, check)
    custom(w, check)
    permissions(w, check)
    denials(w, check)


def define(w, guid, by="admin", scopes=None, name="Scorer", actions=(), **lists):
    permission = {"actions": list(actions), "notActions": [], "dataActions": [], "notDataActions": []} | lists
    scopes = scopes or [w.group]
    body = {
        "properties": {
            "roleName": name,
            "description": "may score",
            "type": "CustomRole",
            "permissions": [permission],
            "assignableScopes": scopes,
        }
    }
    return w.authorization(by).role_definitions.create_or_update(scopes[0], guid, body)


def built_in(w, check):
    definitions = w.authorization().role_definitions
    found = list(definitions.list(w.subscription, filter="roleName eq 'AzureML Data Scientist'"))
    seen = [(role.name, role.role_name, role.role_type) for role in found]
    check.equal("roleName eq", seen, [(SCIENTIST, "AzureML Data Scientist", "BuiltInRole")])
    check.that(
        "its permissions",
        f"{PROVIDER}/workspaces/*/read" in found[0].permissions[0].actions,
        found[0].permissions[0].actions,
    )
    names = {role.name for role in definitions.list(w.workspace, filter="type eq 'BuiltInRole'")}
    check.that("type eq BuiltInRole", {OWNER, READER, SCIENTIST, USER_ACCESS_ADMINISTRATOR} <= names, names)
    check.equal("get", definitions.get(w.subscription, OWNER).role_name, "Owner")
    check.equal("get_by_id", definitions.get_by_id(w.role(READER)).role_name, "Reader")
    check.refused(
        "an unknown role", lambda: definitions.get(w.subscription, str(uuid.uuid4())), 404, kind=ResourceNotFoundError
    )
    check.refused(
        "a built-in role is not for changing", lambda: define(w, READER, name="Reader", actions=["*"]), (400, 403, 409)
    )
    check.refused("nor for deleting", lambda: definitions.delete(w.subscription, READER), (400, 403, 409))


def custom(w, check):
    definitions, assignments = w.authorization().role_definitions, w.authorization().role_assignments
    guid, token = str(uuid.uuid4()), w.token("outsider")
    made = define(w, guid, actions=[f"{ENDPOINTS}/read"])
    seen = (
        made.name,
        made.role_name,
        made.role_type,
        made.permissions[0].actions,
        [scope.lower() for scope in made.assignable_scopes],
    )
    check.equal("a custom role", seen, (guid, "Scorer", "CustomRole", [f"{ENDPOINTS}/read"], [w.group.lower()]))
    assigned = grant(w, w.endpoint(NAME), guid)
    check.equal("assigned, it does not let score yet", w.scored(NAME, token), 403)

    changed = define(w, guid, actions=[f"{ENDPOINTS}/read", SCORE])
    check.equal("changed", changed.permissions[0].actions, [f"{ENDPOINTS}/read", SCORE])
    check.soon("with score/action it lets score", lambda: w.scored(NAME, token), 200)
    define(w, guid, actions=[f"{ENDPOINTS}/*"], notActions=[SCORE])
    check.soon("with score/action in notActions it does not", lambda: w.scored(NAME, token), 403)
    define(w, guid, actions=[f"{ENDPOINTS}/*/action"])
    check.soon("with a wildcard it does", lambda: w.scored(NAME, token), 200)
    # Scoring is an action of the control plane's kind: as a data action it grants nothing.
    define(w, guid, actions=[f"{ENDPOINTS}/read"], dataActions=[SCORE])
    check.soon("as a data action it does not", lambda: w.scored(NAME, token), 403)

    listed = list(definitions.list(w.group, filter="type eq 'CustomRole'"))
    check.equal("type eq CustomRole", [(role.name, role.role_type) for role in listed], [(guid, "CustomRole")])
    check.equal(
        "found by its name", [role.name for role in definitions.list(w.group, filter="roleName eq 'Scorer'")], [guid]
    )
    names = [role.name for role in definitions.list(w.group, filter="atScopeAndBelow()")]
    check.that("atScopeAndBelow()", guid in names, names)
    assignments.delete_by_id(assigned.id)
    check.equal("deleted", definitions.delete(w.group, guid).name, guid)
    check.refused("and gone", lambda: definitions.get(w.group, guid), 404, kind=ResourceNotFoundError)
    check.that("delete what is not there", definitions.delete(w.group, guid) is None)

    check.refused("an outsider defines nothing", lambda: define(w, guid, by="outsider", actions=["*"]), (403, 404))
    made = grant(w, w.group, USER_ACCESS_ADMINISTRATOR)
    wider = [w.group, w.subscription]
    check.refused(
        "who may at a resource group, may not for the subscription",
        lambda: define(w, guid, by="outsider", scopes=wider, actions=["*"]),
        403,
    )
    check.equal("but for the resource group", define(w, guid, by="outsider", actions=[SCORE]).name, guid)
    definitions.delete(w.group, guid)
    assignments.delete_by_id(made.id)


def permissions(w, check):
    mine = w.authorization("scientist").permissions
    actions = [action for role in mine.list_for_resource_group(w.group_name) for action in role.actions]
    check.that("permissions of a scientist at the resource group", f"{PROVIDER}/workspaces/*/write" in actions, actions)
    # An empty parent leaves two slashes in the path.
    at_workspace = mine.list_for_resource(w.group_name, PROVIDER, "", "workspaces", w.workspace_name)
    found = [role for role in at_workspace if f"{PROVIDER}/workspaces/write" in role.not_actions]
    check.that("and at the workspace, by a path with two slashes", found)
    parent = f"workspaces/{w.workspace_name}"
    at_endpoint = mine.list_for_resource(w.group_name, PROVIDER, parent, "onlineEndpoints", NAME)
    check.that(
        "and at an endpoint", [role for role in at_endpoint if f"{PROVIDER}/workspaces/*/action" in role.actions]
    )
    owners = w.authorization().permissions.list_for_resource_group(w.group_name)
    check.that("an owner's are all", ["*"] in [role.actions for role in owners])


def denials(w, check):
    denied = w.authorization().deny_assignments
    check.equal("deny assignments of the subscription", list(denied.list()), [])
    check.equal("of the resource group", list(denied.list_for_resource_group(w.group_name)), [])
    check.equal("of a scope", list(denied.list_for_scope(w.workspace)), [])
