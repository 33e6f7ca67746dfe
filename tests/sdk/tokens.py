"""Tokens of aml_token endpoints: for one endpoint, for some time, and for as long as the endpoint is what it was."""

import base64
import json
import time

import clients
from world import Bearer

LONGEST = 24 * 3600


def run(w, check):
    endpoints = w.ml().online_endpoints
    w.serve("tokens", "aml_token")
    w.serve("tokens-too", "aml_token")
    w.serve("tokens-key", "key")
    w.serve("tokens-aad", "aad_token")

    given = endpoints.get_keys("tokens")
    check.equal("a Bearer token", (given.token_type, bool(given.access_token)), ("Bearer", True))
    expires, refresh, now = given.expiry_time_utc, given.refresh_after_time_utc, time.time()
    check.that(
        "expires later than it should be refreshed",
        now < refresh < expires <= now + LONGEST + 60,
        (now, refresh, expires),
    )
    check.equal("it scores its endpoint", w.scored("tokens", given.access_token), 200)
    published = w.http.get(w.facts["control_url"] + "/.well-known/jwks.json", timeout=30).json()["keys"]
    head = given.access_token.split(".")[0]
    kid = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]
    check.that("its key is published", kid in [key["kid"] for key in published], (kid, published))
    others = [w.scored(name, given.access_token) for name in ("tokens-too", "tokens-key", "tokens-aad")]
    check.equal("and no other", others, [401, 401, 401])
    check.equal("an Entra token does not", w.scored("tokens", w.token("admin")), 401)
    stranger = clients.management(w.facts, Bearer(given.access_token))
    check.refused("and it is nothing to the control plane", lambda: stranger.online_endpoints.get(*w.at, "tokens"), 401)
    other = w.management().online_endpoints.get_token(*w.at, "tokens")
    check.equal("one of the generated client", w.scored("tokens", other.access_token), 200)
    scientists = w.ml("scientist").online_endpoints.get_keys("tokens")
    check.equal("one of a scientist", w.scored("tokens", scientists.access_token), 200)
    check.refused(
        "none for an outsider", lambda: w.management("outsider").online_endpoints.get_token(*w.at, "tokens"), (403, 404)
    )

    changed = endpoints.get("tokens")
    changed.auth_mode = "key"
    endpoints.begin_create_or_update(changed).result()
    check.soon("dead when the mode changes", lambda: w.scored("tokens", given.access_token), 401)
    key = endpoints.get_keys("tokens").primary_key
    check.equal("keys are good then", w.scored("tokens", key), 200)
    changed.auth_mode = "aml_token"
    endpoints.begin_create_or_update(changed).result()
    check.equal("and dead it stays when the mode changes back", w.scored("tokens", given.access_token), 401)
    check.soon("a key is dead then", lambda: w.scored("tokens", key), 401)
    fresh = endpoints.get_keys("tokens")
    check.equal("a fresh one is good", w.scored("tokens", fresh.access_token), 200)

    endpoints.begin_delete("tokens").result()
    w.serve("tokens", "aml_token")
    check.equal("dead when the endpoint is another of the same name", w.scored("tokens", fresh.access_token), 401)
    last = endpoints.get_keys("tokens")
    check.equal("whose own is good", w.scored("tokens", last.access_token), 200)
