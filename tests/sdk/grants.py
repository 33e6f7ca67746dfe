"""Role assignments at every level: they let in, and their removal locks out."""

import uuid

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
SCIENTIST = "f6c7c914-8db3-469d-8ca1-694a8f32e121"
USER_ACCESS_ADMINISTRATOR = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
NAME, OTHER = "granted", "granted-too"


def grant(w, scope, role, who="outsider", by="admin", name=None, **more):
    """Assigns a role through azure-mgmt-authorization."""
    properties = {"roleDefinitionId": w.role(role), "principalId": w.object_id(who), **more}
    body = {"properties": {"principalType": "ServicePrincipal"} | properties}
    return w.authorization(by).role_assignments.create(scope, name or str(uuid.uuid4()), body)


def run(w, check):
    w.serve(NAME, "aad_token")
    w.serve(OTHER, "aad_token")
    levels(w, check)
    lists(w, check)
    refusals(w, check)
    scientist(w, check)
    outsider(w, check)
    above_ones_own(w, check)


def levels(w, check):
    """A scientist's role at each level lets an outsider score what is below it, and only for as long as it is there."""
    token, assignments = w.token("outsider"), w.authorization().role_assignments
    check.equal("before any: refused", w.scored(NAME, token), 403)
    scopes = {
        "subscription": w.subscription,
        "resource group": w.group,
        "workspace": w.workspace,
        "endpoint": w.endpoint(NAME),
    }
    for level, scope in scopes.items():
        made = grant(w, scope, SCIENTIST, description=level)
        seen = (
            made.scope.lower(),
            made.principal_id,
            made.principal_type,
            made.description,
            made.role_definition_id.rsplit("/", 1)[1],
        )
        check.equal(
            f"{level}: assigned", seen, (scope.lower(), w.object_id("outsider"), "ServicePrincipal", level, SCIENTIST)
        )
        check.soon(f"{level}: scoring is allowed", lambda: w.scored(NAME, token), 200)
        check.equal(f"{level}: and beside it", w.scored(OTHER, token), 403 if level == "endpoint" else 200)
        gone = assignments.delete(scope, made.name)
        check.equal(f"{level}: deleted", gone.id, made.id)
        check.soon(f"{level}: scoring is denied", lambda: w.scored(NAME, token), 403)
    # Rights at an endpoint are rights at that one, and not at the next of the same name.
    grant(w, w.endpoint(OTHER), SCIENTIST)
    check.soon("at another endpoint", lambda: w.scored(OTHER, token), 200)
    w.ml().online_endpoints.begin_delete(OTHER).result()
    w.serve(OTHER, "aad_token")
    check.equal("gone with the endpoint, and not back with its name", w.scored(OTHER, token), 403)
    made = grant(w, w.subscription, READER)
    check.equal("to read is not to score", w.scored(NAME, token), 403)
    got = w.ml("outsider").online_endpoints.get(NAME)
    check.equal("but to read", got.name, NAME)
    assignments.delete_by_id(made.id)


def lists(w, check):
    assignments, outsider = w.authorization().role_assignments, w.object_id("outsider")
    at_group, at_endpoint = grant(w, w.group, READER), grant(w, w.endpoint(NAME), SCIENTIST)
    got = assignments.get(w.group, at_group.name)
    check.equal("get", (got.id, got.principal_id, got.created_by), (at_group.id, outsider, w.object_id("admin")))
    check.equal("get_by_id", assignments.get_by_id(at_endpoint.id).name, at_endpoint.name)

    def names(found):
        return {assignment.name for assignment in found}

    both = {at_group.name, at_endpoint.name}
    check.equal(
        "principalId eq", names(assignments.list_for_scope(w.subscription, filter=f"principalId eq '{outsider}'")), both
    )
    check.equal(
        "principalId eq of nobody",
        names(assignments.list_for_scope(w.subscription, filter=f"principalId eq '{uuid.uuid4()}'")),
        set(),
    )
    check.equal(
        "assignedTo", names(assignments.list_for_scope(w.subscription, filter=f"assignedTo('{outsider}')")), both
    )
    here = names(assignments.list_for_scope(w.group, filter="atScope()"))
    check.that(
        "atScope() has what is here and not what is below", at_group.name in here and at_endpoint.name not in here, here
    )
    there = names(assignments.list_for_scope(w.endpoint(NAME), filter=f"atScope() and assignedTo('{outsider}')"))
    check.that("atScope() and assignedTo", at_endpoint.name in there, there)
    red = assignments.list_for_scope(w.group, filter="color eq 'red'")
    check.refused("a filter that nobody understands", lambda: list(red), 400)
    check.that("list_for_subscription", both <= names(assignments.list_for_subscription()))
    check.that("list_for_resource_group", both <= names(assignments.list_for_resource_group(w.group_name)))
    of_endpoint = assignments.list_for_resource(
        w.group_name, "Microsoft.MachineLearningServices", f"workspaces/{w.workspace_name}/onlineEndpoints", NAME
    )
    check.that("list_for_resource of an endpoint", at_endpoint.name in names(of_endpoint))
    for made in (at_group, at_endpoint):
        assignments.delete_by_id(made.id)
    check.equal(
        "none is left", names(assignments.list_for_scope(w.subscription, filter=f"principalId eq '{outsider}'")), set()
    )


def refusals(w, check):
    assignments = w.authorization().role_assignments
    made = grant(w, w.workspace, READER)
    check.refused(
        "the same again under another name",
        lambda: grant(w, w.workspace, READER),
        409,
        "RoleAssignmentExists",
        ResourceExistsError,
    )
    check.refused(
        "its name for another assignment", lambda: grant(w, w.workspace, SCIENTIST, name=made.name), (400, 403, 409)
    )
    again = grant(w, w.workspace, READER, name=made.name)
    check.equal("the same again under its name", again.id, made.id)
    assignments.delete_by_id(made.id)
    check.that("delete what is not there", assignments.delete(w.workspace, made.name) is None)
    check.refused(
        "get what is not there", lambda: assignments.get(w.workspace, made.name), 404, kind=ResourceNotFoundError
    )
    check.refused("an unknown role", lambda: grant(w, w.workspace, str(uuid.uuid4())), (400, 404))
    check.refused("a name that is no guid", lambda: grant(w, w.workspace, READER, name="mine"), 400)
    check.refused("a principal that is no guid", lambda: grant(w, w.workspace, READER, principalId="me"), 400)
    # What is not understood grants nothing: at the latest when it should.
    condition = "@Resource[Microsoft.Nobody/things:color] StringEquals 'red'"
    try:
        made = grant(w, w.endpoint(NAME), SCIENTIST, condition=condition, conditionVersion="2.0")
        check.equal("a condition that nobody understands", w.scored(NAME, w.token("outsider")), 403)
        assignments.delete_by_id(made.id)
    except HttpResponseError as error:
        check.equal("a condition that nobody understands", error.status_code, 400)


def scientist(w, check):
    made = w.make_endpoint("scientists", "key", who="scientist")
    check.equal("a scientist creates an endpoint", made.provisioning_state, "Succeeded")
    made = w.make_deployment("scientists", "blue", who="scientist")
    check.equal("and a deployment", made.provisioning_state, "Succeeded")
    check.refused(
        "but grants nothing",
        lambda: grant(w, w.endpoint("scientists"), READER, by="scientist"),
        403,
        "AuthorizationFailed",
    )
    w.ml("scientist").online_endpoints.begin_delete("scientists").result()
    check.refused("and deletes it", lambda: w.ml().online_endpoints.get("scientists"), 404)


def outsider(w, check):
    ml = w.ml("outsider")
    error = check.refused("an outsider reads no endpoint", lambda: ml.online_endpoints.get(NAME), (403, 404))
    if error and error.status_code == 403:
        seen = (
            error.error.code,
            w.object_id("outsider") in error.error.message,
            "onlineEndpoints/read" in error.error.message,
        )
        check.equal("and is told what is missing", seen, ("AuthorizationFailed", True, True))
    else:
        check.that("as if it was not there", error and error.status_code == 404)
    there = check.refused(
        "an endpoint that is there", lambda: w.management("outsider").online_endpoints.get(*w.at, NAME), (403, 404)
    )
    none = check.refused(
        "and one that is not", lambda: w.management("outsider").online_endpoints.get(*w.at, "nowhere"), (403, 404)
    )
    check.equal("look the same", there and there.status_code, none and none.status_code)
    check.refused("an outsider reads no workspace", lambda: ml.workspaces.get(w.workspace_name), (403, 404))
    check.refused(
        "an outsider creates nothing", lambda: w.make_endpoint("outsiders", "key", who="outsider"), (403, 404)
    )
    check.refused(
        "an outsider deletes nothing",
        lambda: w.management("outsider").online_endpoints.begin_delete(*w.at, NAME).result(),
        (403, 404),
    )
    check.refused("an outsider grants nothing", lambda: grant(w, w.subscription, OWNER, by="outsider"), (403, 404))
    check.equal("and what was to be deleted is there", w.ml().online_endpoints.get(NAME).name, NAME)


def above_ones_own(w, check):
    """Who may grant at a resource group may grant there and below, and no higher."""
    made = grant(w, w.group, USER_ACCESS_ADMINISTRATOR)
    check.refused(
        "not at the subscription", lambda: grant(w, w.subscription, READER, by="outsider"), 403, "AuthorizationFailed"
    )
    check.refused("not at the root", lambda: grant(w, "/", OWNER, by="outsider"), 403)
    below = grant(w, w.endpoint(NAME), SCIENTIST, by="outsider")
    check.soon("but at an endpoint below", lambda: w.scored(NAME, w.token("outsider")), 200)
    for assignment in (below, made):
        w.authorization().role_assignments.delete_by_id(assignment.id)
    check.soon("until both are gone", lambda: w.scored(NAME, w.token("outsider")), 403)
