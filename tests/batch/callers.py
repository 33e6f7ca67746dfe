"""Who a job belongs to: a service principal, a user, a managed identity; and nobody who lacks a right."""

import os

from azure.ai.ml import Input
from azure.core.exceptions import HttpResponseError
from azure.identity import DeviceCodeCredential, ManagedIdentityCredential

import clients
from furnish import ENDPOINT, FOLDER
from grants import READER, SCIENTIST, grant
from jobs import completed, invoke, right, shown, stream, uri

STORE = "workspaceblobstore"
# What a job needs ("Authorization on batch endpoints").
NEEDED = [
    "read", "batchEndpoints/read", "batchEndpoints/deployments/read",
    "batchEndpoints/jobs/write", "batchEndpoints/deployments/jobs/write",
    "experiments/read", "experiments/runs/submit/action", "experiments/runs/read", "experiments/runs/write",
    "metrics/resource/write", "datastores/read", "datastores/write", "datastores/listSecrets/action",
]
ACTIONS = {f"{clients.PROVIDER}/workspaces/{action}" for action in NEEDED}


def run(w, check):
    refused(w, check)
    as_user(w, check)
    as_managed_identity(w, check)
    as_service_principal(w, check)


def refused(w, check):
    """The outsider, who is nothing yet, and then may only read."""
    url = f"{w.facts['data_url']}/endpoints/{ENDPOINT}/jobs"
    data = {"heart": {"jobInputType": "UriFolder", "uri": uri(STORE, FOLDER)}}
    headers = {"Authorization": f"Bearer {w.token('outsider')}"}
    answer = w.http.post(url, json={"properties": {"inputData": data}}, headers=headers, timeout=30)
    error = answer.json()["error"]
    check.equal("no right at all", (answer.status_code, error["code"]), (403, "AuthorizationFailed"))
    check.equal("every action is named", {detail["code"] for detail in error["details"]}, ACTIONS)

    made = grant(w, w.group, READER)
    told = check.refused("a reader, by the SDK", lambda: outsider_invokes(w), 403, "AuthorizationFailed")
    missing = {action for action in ACTIONS if not action.endswith("/read")}
    named = {action for action in ACTIONS if told and f"'{action}'" in told.message}
    check.equal("what he lacks is named, and no more", named, missing)
    check.that("and who he is", told and w.object_id("outsider") in told.message, told)
    w.authorization().role_assignments.delete(w.group, made.name)


def outsider_invokes(w):
    inputs = {"heart": Input(type="uri_folder", path=uri(STORE, FOLDER))}
    return w.ml("outsider").batch_endpoints.invoke(ENDPOINT, inputs=inputs, job_name="refused")


def device_code(w, principal):
    """A credential of a person, who signs in at the issuer's page as soon as he is told to."""
    facts = w.facts
    page = f"{facts['authority_url']}/{facts['tenant_id']}/device"

    def approve(_uri, user_code, _expires):
        form = {"user_code": user_code, "principal": principal, "action": "approve"}
        w.http.post(page, data=form, timeout=30).raise_for_status()

    return DeviceCodeCredential(
        tenant_id=facts["tenant_id"],
        authority=facts["authority_url"],
        disable_instance_discovery=True,
        prompt_callback=approve,
    )


def as_user(w, check):
    """The outsider as a person, who may now."""
    grant(w, w.group, SCIENTIST, principalType="User")
    credential = device_code(w, "outsider")
    runs(w, check, "user", credential, w.object_id("outsider"), "User")


def as_managed_identity(w, check):
    identity = w.facts["managed_identity"]
    grant(w, w.group, SCIENTIST, principalId=identity["object_id"])
    os.environ |= {"IDENTITY_ENDPOINT": identity["endpoint"], "IDENTITY_HEADER": identity["header"]}
    try:
        credential = ManagedIdentityCredential()
        runs(w, check, "managed-identity", credential, identity["object_id"], "ServicePrincipal")
    finally:
        del os.environ["IDENTITY_ENDPOINT"], os.environ["IDENTITY_HEADER"]


def as_service_principal(w, check):
    credential = clients.credential(w.facts, "scientist")
    runs(w, check, "service-principal", credential, w.object_id("scientist"), "ServicePrincipal", by=invoke_as_before)


def invoke_as_before(ml, store, name):
    """The older argument of the client, with its other options."""
    folder = Input(type="uri_folder", path=uri(store, FOLDER))
    more = {"deployment_name": "forest", "experiment_name": "nightly"}
    return ml.batch_endpoints.invoke(ENDPOINT, input=folder, job_name=name, **more)


def runs(w, check, what, credential, owner, kind, by=invoke):
    """A job to its end, by the client with this credential, into the place that jobs have which name none."""
    ml = clients.ml_client(w.facts, credential)
    try:
        made = by(ml, STORE, f"as-{what}")
    except HttpResponseError as error:
        check.that(f"{what}: invoke", False, error)
        return
    stream(ml, made.name)
    job = shown(w, credential.get_token(clients.ML).token, made.name)
    completed(w, check, what, job, owner)
    if by is invoke_as_before:
        check.equal(f"{what}: experiment", ml.jobs.get(made.name).experiment_name, "nightly")
    check.equal(f"{what}: is a", job["scoregate"]["owner"].get("kind"), kind)
    right(w, check, what, STORE, f"azureml/{made.name}/score/predictions.csv")
