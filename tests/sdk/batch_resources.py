"""Batch endpoints, batch deployments and data stores."""

import json

from azure.ai.ml.entities import (
    AccountKeyConfiguration,
    AzureBlobDatastore,
    BatchDeployment,
    BatchEndpoint,
    BatchRetrySettings,
    ModelBatchDeployment,
    ModelBatchDeploymentSettings,
    SasTokenConfiguration,
)
from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.machinelearningservices import models

from clients import backend

NAME = "batched"
KEY = "c2VjcmV0IG9mIHRoZSBhY2NvdW50"


def run(w, check):
    endpoint(w, check)
    deployments(w, check)
    defaults(w, check)
    generated(w, check)
    stores(w, check)
    endings(w, check)


def endpoint(w, check):
    ml = w.ml()
    made = ml.batch_endpoints.begin_create_or_update(
        BatchEndpoint(name=NAME, description="heart", tags={"team": "heart"}, properties={"mine": "1"})
    ).result()
    check.equal("create", (made.name, made.auth_mode, made.provisioning_state), (NAME, "aad_token", "Succeeded"))
    check.equal("where jobs go", made.scoring_uri, f"{w.facts['data_url']}/endpoints/{NAME}/jobs")
    got = ml.batch_endpoints.get(NAME)
    check.equal(
        "get: description, tags, properties",
        (got.description, got.tags, got.properties.get("mine")),
        ("heart", {"team": "heart"}, "1"),
    )
    check.that("list", NAME in [found.name for found in ml.batch_endpoints.list()])
    check.refused("an unknown one", lambda: ml.batch_endpoints.get("nowhere"), 404, kind=ResourceNotFoundError)
    w.make_endpoint("onlined", "key")
    taken = BatchEndpoint(name="onlined")
    check.refused(
        "the name of an online one", lambda: ml.batch_endpoints.begin_create_or_update(taken).result(), 409
    )


def deployments(w, check):
    ml = w.ml()
    properties = backend(w.facts["models"]["blue"]) | {"scoregate.request_format": "dataframe_split"}
    made = ml.batch_deployments.begin_create_or_update(
        ModelBatchDeployment(
            name="blue",
            endpoint_name=NAME,
            description="all of it",
            tags={"stage": "test"},
            properties=properties,
            model="azureml:heart:3",
            environment="azureml:sklearn:7",
            compute="cpu",
            settings=ModelBatchDeploymentSettings(
                mini_batch_size=20,
                instance_count=2,
                max_concurrency_per_instance=3,
                output_action="append_row",
                output_file_name="out.parquet",
                retry_settings=BatchRetrySettings(max_retries=2, timeout=300),
                environment_variables={"MODEL": "blue"},
                error_threshold=5,
                logging_level="debug",
            ),
        )
    ).result()
    check.equal("create", (made.name, made.provisioning_state), ("blue", "Succeeded"))
    got = ml.batch_deployments.get("blue", NAME)
    compare(check, "get", got)
    got.description = "changed"
    again = ml.batch_deployments.begin_create_or_update(got).result()
    check.equal("get, modify, put: modified", again.description, "changed")
    again.description = "all of it"
    compare(check, "get, modify, put", again)

    bare = BatchDeployment(
        name="green", endpoint_name=NAME, environment_variables={"A": "b"}, properties=backend(w.facts["models"]["green"])
    )
    made = ml.batch_deployments.begin_create_or_update(bare).result()
    seen = (made.mini_batch_size, made.max_concurrency_per_instance, made.error_threshold, made.output_file_name)
    check.equal("the smallest one that the client sends", seen, (10, 1, -1, "predictions.csv"))
    check.equal("its retries", (made.retry_settings.max_retries, made.retry_settings.timeout), (3, 30))
    names = sorted(found.name for found in ml.batch_deployments.list(NAME))
    check.equal("list", names, ["blue", "green"])
    wrong = BatchDeployment(name="red", endpoint_name=NAME, environment_variables={"A": "b"})
    check.refused(
        "one that is nowhere", lambda: ml.batch_deployments.begin_create_or_update(wrong).result(), 400, "BadArgument"
    )
    check.refused("an unknown one", lambda: ml.batch_deployments.get("red", NAME), 404, kind=ResourceNotFoundError)


def compare(check, what, got):
    retries = got.retry_settings
    seen = (got.mini_batch_size, got.max_concurrency_per_instance, got.error_threshold, got.output_file_name)
    check.equal(f"{what}: sizes and output", seen, (20, 3, 5, "out.parquet"))
    check.equal(f"{what}: retries", (retries.max_retries, retries.timeout), (2, 300))
    check.equal(f"{what}: instances", got.resources.instance_count, 2)
    check.equal(f"{what}: level and variables", (got.logging_level.lower(), got.environment_variables), ("debug", {"MODEL": "blue"}))
    check.that(f"{what}: model", got.model.endswith("/models/heart/versions/3"), got.model)
    check.that(f"{what}: compute", got.compute.endswith("/computes/cpu"), got.compute)
    check.equal(
        f"{what}: the gateway's own",
        (got.properties.get("scoregate.request_format"), "scoregate.backend" in got.properties),
        ("dataframe_split", True),
    )


def defaults(w, check):
    ml = w.ml()
    found = ml.batch_endpoints.get(NAME)
    found.defaults.deployment_name = "blue"
    made = ml.batch_endpoints.begin_create_or_update(found).result()
    check.equal("defaults by attribute", made.defaults.deployment_name, "blue")
    made.defaults = {"deployment_name": "green"}
    made = ml.batch_endpoints.begin_create_or_update(made).result()
    check.equal("defaults by dictionary", ml.batch_endpoints.get(NAME).defaults.deployment_name, "green")
    made.defaults = {"deployment_name": "nobody"}
    check.refused("a default that is not there", lambda: ml.batch_endpoints.begin_create_or_update(made).result(), 400)
    check.refused(
        "to delete the default", lambda: ml.batch_deployments.begin_delete("green", NAME).result(), 400, "DeploymentIsDefault"
    )


def generated(w, check):
    """The generated client: PATCH, pages, keys."""
    client = w.management()
    body = models.PartialMinimalTrackedResourceWithIdentity(tags={"stage": "live"})
    updated = client.batch_endpoints.begin_update(*w.at, NAME, body).result()
    check.equal("begin_update: tags", updated.tags, {"stage": "live"})
    check.equal("and nothing else", w.ml().batch_endpoints.get(NAME).defaults.deployment_name, "green")
    part = models.PartialBatchDeployment(description="patched")
    body = models.PartialBatchDeploymentPartialMinimalTrackedResourceWithProperties(properties=part, tags={"a": "b"})
    updated = client.batch_deployments.begin_update(*w.at, NAME, "green", body).result()
    check.equal("deployments.begin_update", (updated.properties.description, updated.tags), ("patched", {"a": "b"}))
    pages = [[found.name for found in page] for page in client.batch_deployments.list(*w.at, NAME, top=1).by_page()]
    check.equal("deployments.list in pages of one", sorted(page for page in pages if page), [["blue"], ["green"]])
    check.refused("list_keys", lambda: client.batch_endpoints.list_keys(*w.at, NAME), 400, "EndpointAuthModeMismatch")
    compute = lambda: w.ml().compute.get("cpu")  # noqa: E731
    check.refused("an unknown compute", compute, 404, kind=ResourceNotFoundError)


def stores(w, check):
    ml = w.ml()
    default = ml.datastores.get_default()
    check.equal("get_default", default.name, "workspaceblobstore")
    made = ml.datastores.create_or_update(
        AzureBlobDatastore(
            name="inputs",
            account_name="heart",
            container_name="data",
            description="inputs of jobs",
            tags={"a": "b"},
            credentials=AccountKeyConfiguration(account_key=KEY),
        )
    )
    check.equal("create", (made.name, made.account_name, made.container_name), ("inputs", "heart", "data"))
    got = ml.datastores.get("inputs")
    seen = (got.description, got.tags, got.endpoint, got.protocol, type(got.credentials).__name__)
    expected = ("inputs of jobs", {"a": "b"}, "core.windows.net", "https", "AccountKeyConfiguration")
    check.equal("get", seen, expected)
    check.equal("get shows no secret", got.credentials.account_key, None)
    shown = ml.datastores.get("inputs", include_secrets=True)
    check.equal("get with secrets", shown.credentials.account_key, KEY)
    got.description = "changed"
    ml.datastores.create_or_update(got)
    kept = ml.datastores.get("inputs", include_secrets=True)
    check.equal(
        "get, modify, put: the secret stays", (kept.description, kept.credentials.account_key), ("changed", KEY)
    )
    sas = AzureBlobDatastore(
        name="outputs", account_name="heart", container_name="out", credentials=SasTokenConfiguration(sas_token="sv=1&sig=x")
    )
    ml.datastores.create_or_update(sas)
    shown = ml.datastores.get("outputs", include_secrets=True)
    check.equal("a signature", shown.credentials.sas_token, "sv=1&sig=x")

    # A kind that the client does not know must not break what it does know.
    place = {"kind": "s3", "region": "eu-central-1", "bucket": "heart"}
    keys = {"credentialsType": "AccessKey", "secrets": {"accessKeyId": "id", "secretAccessKey": "x"}}
    body = {"properties": {"datastoreType": "AzureBlob", "credentials": keys, "properties": {"scoregate.place": json.dumps(place)}}}
    done = w.arm("PUT", f"{w.workspace}/datastores/bucket", json=body)
    check.equal("one of S3, by REST", done.status_code, 201)
    names = sorted(found.name for found in ml.datastores.list())
    check.equal("list", names, ["bucket", "inputs", "outputs", "workspaceblobstore"])
    bucket = ml.datastores.get("bucket")
    check.equal("get one of S3", (bucket.account_name, bucket.container_name), ("scoregate.s3", "heart"))
    bucket.description = "by MLClient"
    ml.datastores.create_or_update(bucket)
    after = w.arm("GET", f"{w.workspace}/datastores/bucket").json()["properties"]
    seen = (after["description"], json.loads(after["properties"]["scoregate.place"]), after["credentials"]["credentialsType"])
    check.equal("changed by a client that does not know what it is", seen, ("by MLClient", place, "AccessKey"))
    ml.datastores.delete("bucket")
    check.refused("deleted", lambda: ml.datastores.get("bucket"), 404, kind=ResourceNotFoundError)


def endings(w, check):
    ml = w.ml()
    ml.batch_deployments.begin_delete("blue", NAME).result()
    check.equal("a deployment deleted", [found.name for found in ml.batch_deployments.list(NAME)], ["green"])
    ml.batch_endpoints.begin_delete(NAME).result()
    check.refused("an endpoint deleted", lambda: ml.batch_endpoints.get(NAME), 404, kind=ResourceNotFoundError)
    for name in ("inputs", "outputs"):
        ml.datastores.delete(name)
    check.equal("what is left", [found.name for found in ml.datastores.list()], ["workspaceblobstore"])
