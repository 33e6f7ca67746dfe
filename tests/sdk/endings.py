"""Endings: what may be deleted, and what goes with it."""

from azure.core.exceptions import ResourceNotFoundError

NAME = "ending"


def run(w, check):
    ml, token = w.ml(), w.token("admin")
    w.serve(NAME, "aad_token")
    w.make_deployment(NAME, "green")
    w.route(NAME, {"blue": 90, "green": 10})
    check.refused(
        "a deployment with traffic stays",
        lambda: ml.online_deployments.begin_delete("green", NAME).result(),
        (400, 409),
    )
    check.equal("it is there", ml.online_deployments.get("green", NAME).provisioning_state, "Succeeded")
    w.route(NAME, {"blue": 100})
    ml.online_deployments.begin_delete("green", NAME).result()
    check.refused(
        "one without traffic goes", lambda: ml.online_deployments.get("green", NAME), 404, kind=ResourceNotFoundError
    )
    check.equal("the other answers on", w.scored(NAME, token), 200)

    ml.online_endpoints.begin_delete(NAME).result()
    check.refused(
        "an endpoint with traffic goes", lambda: ml.online_endpoints.get(NAME), 404, kind=ResourceNotFoundError
    )
    check.soon("it answers nobody", lambda: w.scored(NAME, token), 404)
    check.that("it is in no list", NAME not in [endpoint.name for endpoint in ml.online_endpoints.list()])
    w.make_endpoint(NAME, "aad_token")
    check.equal("and its deployments went with it", list(ml.online_deployments.list(NAME)), [])
    ml.online_endpoints.begin_delete(NAME).result()
    check.that("deleting what is not there", ml.online_endpoints.begin_delete(NAME).result() is None)
