"""Keys: read, regenerated one at a time, and gone at once."""

from azure.core.exceptions import HttpResponseError
from azure.mgmt.machinelearningservices import models


def run(w, check):
    endpoints = w.ml().online_endpoints
    w.serve("keyed", "key")
    w.serve("keyed-too", "key")
    w.serve("not-keyed", "aad_token")
    first = endpoints.get_keys("keyed")
    check.that(
        "two keys",
        first.primary_key != first.secondary_key and min(len(first.primary_key), len(first.secondary_key)) >= 32,
    )
    check.equal(
        "both score", (w.scored("keyed", first.primary_key), w.scored("keyed", first.secondary_key)), (200, 200)
    )
    check.equal("but only their own endpoint", w.scored("keyed-too", first.primary_key), 401)
    again = endpoints.get_keys("keyed")
    check.that(
        "reading does not change them",
        (again.primary_key, again.secondary_key) == (first.primary_key, first.secondary_key),
    )

    # The client sends the key that it wants to be rid of as the one to be.
    endpoints.begin_regenerate_keys("keyed", key_type="primary").result()
    second = endpoints.get_keys("keyed")
    check.that("regenerating the primary key makes another", second.primary_key != first.primary_key)
    check.that("and leaves the secondary", second.secondary_key == first.secondary_key)
    check.soon("the old one is dead", lambda: w.scored("keyed", first.primary_key), 401)
    check.equal(
        "the new one and the secondary live",
        (w.scored("keyed", second.primary_key), w.scored("keyed", second.secondary_key)),
        (200, 200),
    )

    body = models.RegenerateEndpointKeysRequest(key_type="Secondary")
    w.management().online_endpoints.begin_regenerate_keys(*w.at, "keyed", body).result()
    third = w.management().online_endpoints.list_keys(*w.at, "keyed")
    check.that(
        "the secondary by the other client",
        third.secondary_key != second.secondary_key and third.primary_key == second.primary_key,
    )
    check.soon("its old one is dead", lambda: w.scored("keyed", second.secondary_key), 401)

    made = w.ml("scientist").online_endpoints.get_keys("keyed")
    check.that("a scientist reads them", made.primary_key == third.primary_key)
    check.refused(
        "an outsider does not", lambda: w.management("outsider").online_endpoints.list_keys(*w.at, "keyed"), (403, 404)
    )
    wrong = models.RegenerateEndpointKeysRequest(key_type="Tertiary")
    check.refused(
        "a third key",
        lambda: w.management().online_endpoints.begin_regenerate_keys(*w.at, "keyed", wrong).result(),
        400,
    )
    check.refused(
        "keys of an unknown endpoint", lambda: w.management().online_endpoints.list_keys(*w.at, "nowhere"), 404
    )

    seen = None
    try:
        endpoints.begin_regenerate_keys("not-keyed")
    except HttpResponseError as error:
        seen = error
    except Exception as error:  # the client refuses by itself
        seen = type(error).__name__
    check.equal("regenerating keys of an endpoint that has none", seen, "ValidationException")
    token = endpoints.get_keys("not-keyed")
    check.equal(
        "get_keys of an aad_token endpoint is a token of the issuer", w.scored("not-keyed", token.access_token), 200
    )
    check.that(
        "no key is ever shown with its endpoint", third.primary_key not in w.arm("GET", w.endpoint("keyed")).text
    )
