"""Traffic and its mirror: what is accepted, what comes back, what is refused."""

import fresh
from clients import SAMPLE

NAME = "routed"


def run(w, check):
    w.make_endpoint(NAME, "key")
    for name, model in {"blue": "blue", "green": "green", "teal": "green"}.items():
        w.make_deployment(NAME, name, model=model)

    made = w.route(NAME, {"blue": 90, "green": 10})
    check.equal("90/10", (made.traffic, made.mirror_traffic), ({"blue": 90, "green": 10}, {}))
    check.equal(
        "a deployment without traffic is shown with 0",
        w.ml().online_endpoints.get(NAME).traffic,
        {"blue": 90, "green": 10, "teal": 0},
    )
    made = w.route(NAME, {"blue": 100, "green": 0})
    check.equal("zeros go", made.traffic, {"blue": 100})
    made = w.route(NAME, {"blue": 100}, {"green": 20})
    check.equal("a mirror of 20 %", (made.traffic, made.mirror_traffic), ({"blue": 100}, {"green": 20}))
    made = w.route(NAME, {"blue": 100}, {"green": 50})
    check.equal("a mirror of 50 %", made.mirror_traffic, {"green": 50})
    made = w.route(NAME, {"blue": 60, "green": 40}, {"teal": 10})
    check.equal(
        "a mirror beside a split", (made.traffic, made.mirror_traffic), ({"blue": 60, "green": 40}, {"teal": 10})
    )
    made = w.route(NAME, {"blue": 90, "green": 10})
    check.equal("an update without a mirror takes it away", made.mirror_traffic, {})

    for what, traffic, mirror, target in [
        ("a sum of 50", {"blue": 50}, {}, "properties.traffic"),
        ("a sum of 110", {"blue": 60, "green": 50}, {}, "properties.traffic"),
        ("a negative weight", {"blue": 110, "green": -10}, {}, "properties.traffic"),
        ("traffic to an unknown deployment", {"blue": 90, "red": 10}, {}, "properties.traffic"),
        ("a mirror that has traffic too", {"blue": 90, "green": 10}, {"green": 10}, "properties."),
        ("a mirror of more than 50 %", {"blue": 100}, {"green": 51}, "properties.mirrorTraffic"),
        ("a mirror of less than nothing", {"blue": 100}, {"green": -1}, "properties.mirrorTraffic"),
        ("a mirror to two deployments", {"blue": 100}, {"green": 10, "teal": 10}, "properties.mirrorTraffic"),
        ("a mirror to an unknown deployment", {"blue": 100}, {"red": 10}, "properties.mirrorTraffic"),
    ]:
        error = check.refused(what, lambda t=traffic, m=mirror: w.route(NAME, t, m), 400)
        told = error and error.error and error.error.target
        check.that(f"{what}: target", str(told).startswith(target), told)
    unchanged = w.ml().online_endpoints.get(NAME)
    check.equal(
        "refused is not done in part",
        (unchanged.traffic, unchanged.mirror_traffic),
        ({"blue": 90, "green": 10, "teal": 0}, {}),
    )

    made = w.route(NAME, {})
    check.equal("a sum of 0", made.traffic, {})
    [seen] = fresh.run(fresh.invoke, w.facts, "admin", [(NAME, None, SAMPLE)])
    check.equal("nobody to answer", (seen.get("raised"), seen.get("status")), ("ResourceNotFoundError", 404))
    [seen] = fresh.run(fresh.invoke, w.facts, "admin", [(NAME, "teal", SAMPLE)])
    check.equal("a pinned request is answered at 0 %", (seen.get("answer") or seen).get("deployment"), "green")
