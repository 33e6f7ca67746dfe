"""Online deployments: everything a client can say about one passes through."""

import io
import json

from azure.ai.ml import load_online_deployment
from azure.ai.ml.entities import Environment, OnlineRequestSettings, ProbeSettings
from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.machinelearningservices import models

from clients import backend

NAME = "deployed"


def run(w, check):
    ml = w.ml()
    w.make_endpoint(NAME, "key")
    smallest(w, check)
    largest(w, check)
    from_yaml(w, check)
    assets(w, check)
    names = sorted(deployment.name for deployment in ml.online_deployments.list(NAME))
    check.equal("list", names, ["blue", "full", "green"])
    check.equal(
        "a new deployment has no traffic", ml.online_endpoints.get(NAME).traffic, {"blue": 0, "full": 0, "green": 0}
    )
    logs = ml.online_deployments.get_logs("blue", NAME, 10)
    check.that("get_logs answers text", isinstance(logs, str), logs)
    logs = ml.online_deployments.get_logs("blue", NAME, 10, container_type="inference-server")
    check.that("get_logs of the inference server", isinstance(logs, str), logs)
    check.refused(
        "a deployment of an unknown endpoint",
        lambda: w.make_deployment("nowhere", "blue"),
        404,
        kind=ResourceNotFoundError,
    )
    check.refused(
        "an unknown deployment", lambda: ml.online_deployments.get("red", NAME), 404, kind=ResourceNotFoundError
    )
    for what, text in {
        "a backend that is not JSON": "http://127.0.0.1:1",
        "a backend that is nowhere": json.dumps({"urls": []}),
        "a backend that is no address": json.dumps({"urls": ["not a url"]}),
        "a backend with an unknown member": json.dumps({"url": "http://127.0.0.1:1"}),
    }.items():
        wrong = {"scoregate.backend": text}
        check.refused(what, lambda wrong=wrong: w.make_deployment(NAME, "red", model="blue", properties=wrong), 400)


def smallest(w, check):
    made = w.make_deployment(NAME, "blue", instance_count=None)
    seen = (made.name, made.provisioning_state, made.instance_count, made.scale_settings.type)
    check.equal("the smallest deployment that the client sends", seen, ("blue", "Succeeded", 1, "default"))
    check.equal("its backend", json.loads(made.properties["scoregate.backend"]), {"urls": [w.facts["models"]["blue"]]})


def largest(w, check):
    ml = w.ml()
    environment = Environment(
        image="registry.example/heart:1",
        inference_config={
            "liveness_route": {"path": "/live", "port": 5001},
            "readiness_route": {"path": "/ready", "port": 5001},
            "scoring_route": {"path": "/score", "port": 5001},
        },
    )
    w.make_deployment(
        NAME,
        "full",
        model="green",
        description="all of it",
        tags={"stage": "test"},
        properties={"My.Own": "2"},
        environment=environment,
        instance_type="Standard_DS3_v2",
        instance_count=2,
        environment_variables={"MODEL": "green", "WORKERS": 2, "DEBUG": False},
        request_settings=OnlineRequestSettings(
            request_timeout_ms=90_000, max_concurrent_requests_per_instance=3, max_queue_wait_ms=2_000
        ),
        liveness_probe=ProbeSettings(initial_delay=7, period=11, timeout=3, success_threshold=1, failure_threshold=29),
        readiness_probe=ProbeSettings(period=13),
        app_insights_enabled=False,
        model_mount_path="/models",
        egress_public_network_access="enabled",
    )
    got = ml.online_deployments.get("full", NAME)
    compare(check, "full", got)
    # MLClient sends this one but does not read it.
    other = w.management().online_deployments.get(*w.at, NAME, "full")
    check.equal("model mount path", other.properties.model_mount_path, "/models")
    check.that(
        "the id of the inline environment",
        "/environments/CliV2AnonymousEnvironment/versions/" in got.environment,
        got.environment,
    )
    version = got.environment.rsplit("/", 1)[1]
    kept = ml.environments.get("CliV2AnonymousEnvironment", version=version)
    seen = (kept.image, kept.inference_config.scoring_route.path)
    check.equal("the inline environment can be read", seen, ("registry.example/heart:1", "/score"))

    got.description = "changed"
    again = ml.online_deployments.begin_create_or_update(got).result()
    check.equal("get, modify, put: modified", again.description, "changed")
    again.description = "all of it"
    compare(check, "get, modify, put", again)


def compare(check, what, got):
    settings, live = got.request_settings, got.liveness_probe
    check.equal(
        f"{what}: description, tags, type, count",
        (got.description, got.tags, got.instance_type, got.instance_count),
        ("all of it", {"stage": "test"}, "Standard_DS3_v2", 2),
    )
    check.equal(
        f"{what}: environment variables are text",
        got.environment_variables,
        {"MODEL": "green", "WORKERS": "2", "DEBUG": "false"},
    )
    seen = (settings.request_timeout_ms, settings.max_concurrent_requests_per_instance, settings.max_queue_wait_ms)
    check.equal(f"{what}: request settings", seen, (90_000, 3, 2_000))
    seen = (live.initial_delay, live.period, live.timeout, live.success_threshold, live.failure_threshold)
    check.equal(f"{what}: liveness probe", seen, (7, 11, 3, 1, 29))
    check.equal(f"{what}: readiness probe", got.readiness_probe.period, 13)
    check.equal(
        f"{what}: properties", (got.properties.get("My.Own"), "scoregate.backend" in got.properties), ("2", True)
    )
    check.equal(f"{what}: public network access", got.egress_public_network_access, "Enabled")


def from_yaml(w, check):
    text = (
        "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json\n"
        f"name: green\nendpoint_name: {NAME}\nmodel: azureml:heart:3\nenvironment: azureml:sklearn:7\n"
        "instance_type: Standard_F4s_v2\ninstance_count: 1\nrequest_settings:\n  request_timeout_ms: 3000\n"
    )
    deployment = load_online_deployment(io.StringIO(text))
    deployment.properties = backend(w.facts["models"]["green"])
    made = w.ml().online_deployments.begin_create_or_update(deployment).result()
    check.equal(
        "create from YAML", (made.instance_type, made.request_settings.request_timeout_ms), ("Standard_F4s_v2", 3000)
    )
    check.that("model by reference", made.model.endswith("/models/heart/versions/3"), made.model)
    check.that(
        "environment by reference", made.environment.endswith("/environments/sklearn/versions/7"), made.environment
    )


def assets(w, check):
    """Models and environments that deployments refer to."""
    versions = w.management().model_versions
    body = models.ModelVersion(
        properties=models.ModelVersionProperties(model_uri="https://models.example/heart", model_type="custom_model")
    )
    versions.create_or_update(*w.at, "heart", "3", body)
    model = w.ml().models.get("heart", version="3")
    check.equal(
        "a model by both clients",
        (model.name, model.version, model.path),
        ("heart", "3", "https://models.example/heart"),
    )
    listed = [version.name for version in versions.list(*w.at, "heart")]
    check.equal("its versions", listed, ["3"])
    made = w.ml().environments.create_or_update(
        Environment(name="sklearn", version="7", image="registry.example/sklearn:7")
    )
    got = w.ml().environments.get("sklearn", version="7")
    check.equal(
        "an environment",
        (made.image, got.image, got.version),
        ("registry.example/sklearn:7", "registry.example/sklearn:7", "7"),
    )
    check.refused("an unknown model", lambda: w.ml().models.get("heart", version="9"), 404, kind=ResourceNotFoundError)
