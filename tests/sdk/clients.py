"""The Azure clients, as their documentation makes them, aimed at the gateway that a ready-file describes."""

import json
import os

from azure.ai.ml import MLClient
from azure.identity import ClientSecretCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.machinelearningservices import MachineLearningServicesMgmtClient

ARM = "https://management.azure.com/.default"
ML = "https://ml.azure.com/.default"
PROVIDER = "Microsoft.MachineLearningServices"

# One row for the demo models.
COLUMNS = [
    "age",
    "sex",
    "cp",
    "trestbps",
    "chol",
    "fbs",
    "restecg",
    "thalach",
    "exang",
    "oldpeak",
    "slope",
    "ca",
    "thal",
]
ROW = [46, "male", "non-anginal", 150, 231, 0, "normal", 147, 0, 3.6, "flat", 0, "normal"]
SAMPLE = {"input_data": {"columns": COLUMNS, "index": [0], "data": [ROW]}}


def trust(facts):
    """Gives this process's environment what the clients need in it, and takes from it what would lead them elsewhere.

    MLClient itself notes there to which cloud it was first aimed, and obeys that from then on.
    """
    for name in list(os.environ):
        if name.startswith(("AZURE_", "AZUREML_", "ARM_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"] = facts["ca_file"]


def aim(facts):
    """The same, and aims MLClient at the gateway in the simplest way that it has."""
    trust(facts)
    os.environ["AZUREML_DEV_URL_MFE"] = facts["control_url"]


def credential(facts, who):
    principal = facts["principals"][who]
    return ClientSecretCredential(
        facts["tenant_id"],
        principal["client_id"],
        principal["client_secret"],
        authority=facts["authority_url"],
        disable_instance_discovery=True,
    )


def ml_client(facts, cred, **more):
    place = (facts["subscription_id"], facts["resource_group"], facts["workspace"])
    return MLClient(cred, *place, enable_telemetry=False, show_progress=False, **more)


def authorization(facts, cred):
    return AuthorizationManagementClient(
        cred, facts["subscription_id"], base_url=facts["control_url"], credential_scopes=[ARM]
    )


def management(facts, cred):
    return MachineLearningServicesMgmtClient(
        cred, facts["subscription_id"], base_url=facts["control_url"], credential_scopes=[ARM], polling_interval=1
    )


def backend(url):
    """Where a deployment's instances are, as a property that every client passes through."""
    return {"scoregate.backend": json.dumps({"urls": [url]})}
