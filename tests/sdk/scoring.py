"""Scoring: invoke in all modes, the split, pinned deployments, one token for several endpoints."""

import os
from collections import Counter

import fresh
from checks import told
from clients import ARM, SAMPLE

REQUESTS = 100


def run(w, check):
    modes = {"score-key": "key", "score-aml": "aml_token", "score-aad": "aad_token"}
    for name, mode in modes.items():
        w.make_endpoint(name, mode)
        w.make_deployment(name, "blue")
        w.make_deployment(name, "green")
        w.route(name, {"blue": 90, "green": 10})
    w.serve("score-one", "aad_token")
    w.serve("score-two", "aad_token")
    answers(w, check, modes)
    split(w, check)
    credentials(w, check)


def answers(w, check, modes):
    for who in ("admin", "scientist"):
        for name, mode in modes.items():
            [seen] = fresh.run(fresh.invoke, w.facts, who, [(name, None, SAMPLE)])
            predictions = (seen.get("answer") or {}).get("predictions")
            check.that(f"{who} invokes with {mode}", predictions and 0 < predictions[0]["probability"] < 1, seen)
    results = fresh.run(fresh.invoke, w.facts, "scientist", [("score-aad", "green", SAMPLE)] * 3)
    check.equal("pinned to green", [(seen.get("answer") or seen).get("deployment") for seen in results], ["green"] * 3)

    # The client goes on naming the deployment of an earlier call, to endpoints that do not have it.
    _, leaked = fresh.run(
        fresh.invoke, w.facts, "scientist", [("score-aad", "green", SAMPLE), ("score-one", None, SAMPLE)]
    )
    check.equal(
        "a header that leaked to an endpoint without green",
        (leaked.get("raised"), leaked.get("status")),
        ("ResourceNotFoundError", 404),
    )
    [seen] = fresh.run(fresh.invoke, w.facts, "scientist", [("score-aad", "red", SAMPLE)])
    check.that("a deployment that the client does not find", "raised" in seen and "status" not in seen, seen)
    [seen] = fresh.run(fresh.invoke, w.facts, "scientist", [("score-aad", None, {"input_data": [[1]]})])
    check.equal("a body that the model refuses", (seen.get("raised"), seen.get("status")), ("HttpResponseError", 400))
    check.equal("an unknown deployment by header", w.scored("score-aad", w.token("scientist"), "red"), 404)


def split(w, check):
    results = fresh.run(fresh.invoke, w.facts, "scientist", [("score-key", None, SAMPLE)] * REQUESTS)
    counts = Counter((seen.get("answer") or {}).get("deployment", str(seen)) for seen in results)
    # Exact for each of the gateway's threads, and at most one request off for each of them.
    off = max(2, os.cpu_count() or 1)
    check.that(
        f"{REQUESTS} requests are split 90/10",
        abs(counts["blue"] - 90) <= off and counts["blue"] + counts["green"] == REQUESTS,
        counts,
    )
    w.route("score-key", {"green": 100})
    results = fresh.run(fresh.invoke, w.facts, "scientist", [("score-key", None, SAMPLE)] * 10)
    counts = Counter((seen.get("answer") or {}).get("deployment", str(seen)) for seen in results)
    check.equal("after a shift to green", dict(counts), {"green": 10})


def credentials(w, check):
    token = w.token("scientist")
    seen = [w.scored(name, token) for name in ("score-aad", "score-one", "score-two")]
    check.equal("one token for three endpoints", seen, [200, 200, 200])
    answer = w.score("score-aad", token, "green")
    check.equal("who answered is told", answer.headers.get("azureml-model-deployment"), "green")
    check.that("a request has an id", answer.headers.get("x-ms-request-id"), dict(answer.headers))
    key = w.ml().online_endpoints.get_keys("score-key").primary_key
    check.equal("a key where a token is asked for", w.scored("score-aad", key), 401)
    check.equal("a token where a key is asked for", w.scored("score-key", token), 401)
    check.equal("a token for the control plane", w.scored("score-aad", w.token("scientist", ARM)), 401)
    nobody = w.score("score-aad", None)
    check.equal("nothing", nobody.status_code, 401)
    challenge = nobody.headers.get("WWW-Authenticate", "")
    check.that(
        "it says where to get a token", "Bearer" in challenge and w.facts["authority_url"] in challenge, challenge
    )
    refused = w.score("score-aad", w.token("outsider"))
    check.equal("a token of somebody without a role", told(refused), (403, "AuthorizationFailed", True))
    check.that(
        "it names who, and what is lacking",
        w.object_id("outsider") in refused.text and "score/action" in refused.text,
        refused.text,
    )
