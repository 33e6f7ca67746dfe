"""What the jobs need: rights, data stores, the same hundred files in each, an endpoint and its deployment."""

import json
from pathlib import Path

from azure.ai.ml.entities import (
    AccountKeyConfiguration,
    AzureBlobDatastore,
    BatchEndpoint,
    ModelBatchDeployment,
    ModelBatchDeploymentSettings,
)

import cli
import files
from clients import backend
from grants import SCIENTIST, grant

ENDPOINT = "heart"
FOLDER = "heart/in"
# Data stores by name, with the way past the gateway into each.
STORES = {"workspaceblobstore": files.Directory, "azurite": files.Blobs, "seaweed": files.Bucket}


def run(w, check):
    # By the object's id, at the resource group.
    grant(w, w.group, SCIENTIST, who="scientist")
    stores(w, check)
    put_files(w, check)
    endpoint(w, check)


def stores(w, check):
    of = w.facts["stores"]["blob"]
    made = w.ml().datastores.create_or_update(
        AzureBlobDatastore(
            name="azurite",
            account_name=of["account"],
            container_name=of["container"],
            endpoint=of["service"],
            protocol="http",
            credentials=AccountKeyConfiguration(account_key=of["key"]),
        )
    )
    check.equal("a container of Azurite, by the SDK", (made.name, made.endpoint), ("azurite", of["service"]))
    of = w.facts["stores"]["s3"]
    store = {
        "name": "seaweed", "type": "s3", "region": files.Bucket.REGION, "bucket": of["bucket"], "endpoint": of["endpoint"],
        "credentials": {"access_key_id": of["accessKey"], "secret_access_key": of["secretKey"]},
    }
    file = Path(w.facts["home"], "seaweed.yml")
    file.write_text(json.dumps(store))
    done = cli.run(w, "admin", "datastore", "create", "-f", file, "-o", "json")
    check.equal("a bucket of SeaweedFS, by the command line", (done.code, done.json().get("bucket")), (0, of["bucket"]))
    check.that("which shows no secret", of["secretKey"] not in done.out + done.err, done.out)
    names = sorted(found.name for found in w.ml("scientist").datastores.list())
    check.equal("the scientist sees them", names, sorted(STORES))


def put_files(w, check):
    here = sorted(Path(w.facts["heart"], "in").iterdir())
    rows = sum(len(probabilities) for _, probabilities in expected(w))
    check.equal("files and rows", (len(here), rows), (100, 297))
    for opened in STORES.values():
        store = opened(w)
        for file in here:
            store.put(f"{FOLDER}/{file.name}", file.read_bytes())


def expected(w):
    """What scikit-learn gives: the files in order, each with the probability for each of its rows."""
    return json.loads(Path(w.facts["heart"], "expected.json").read_text())


def expected_csv(w):
    """The same as the only right output of a job."""
    return "".join(f"{name},{value!r}\r\n" for name, values in expected(w) for value in values).encode()


def endpoint(w, check):
    ml = w.ml()
    ml.batch_endpoints.begin_create_or_update(BatchEndpoint(name=ENDPOINT)).result()
    deployment = ModelBatchDeployment(
        name="forest",
        endpoint_name=ENDPOINT,
        model="azureml:heart:1",
        compute="local",
        properties=backend(w.facts["models"]["heart"]) | {"scoregate.request_format": "input_data"},
        settings=ModelBatchDeploymentSettings(mini_batch_size=10, max_concurrency_per_instance=2),
    )
    made = ml.batch_deployments.begin_create_or_update(deployment).result()
    check.equal("deployment", (made.mini_batch_size, made.max_concurrency_per_instance), (10, 2))
    found = ml.batch_endpoints.get(ENDPOINT)
    found.defaults.deployment_name = "forest"
    made = ml.batch_endpoints.begin_create_or_update(found).result()
    check.equal("the endpoint's default", made.defaults.deployment_name, "forest")
