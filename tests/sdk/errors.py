"""Refusals, as the clients tell them to their users."""

import contextlib
import http.client
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import requests
from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError
from azure.mgmt.machinelearningservices import models

import clients
from checks import told
from world import Bearer

MIB = 1 << 20
NAME = "refused"
WRITERS = 8
# All that carry these resources, and those of the clients' own calls.
STABLE = "2022-05-01 2022-10-01 2023-04-01 2023-10-01 2024-04-01 2024-10-01 2025-04-01 2025-06-01 2025-09-01".split()
PREVIEW = "2022-02-01-preview 2023-04-01-preview 2023-08-01-preview 2024-01-01-preview 2024-10-01-preview".split()


def run(w, check):
    w.make_endpoint(NAME, "key", description="as it was")
    names(w, check)
    tokens(w, check)
    versions(w, check)
    bodies(w, check)
    concurrency(w, check)
    got = w.ml().online_endpoints.get(NAME)
    check.equal(
        "after all of it the endpoint is as it was",
        (got.auth_mode, got.description, got.traffic),
        ("key", "as it was", {}),
    )


def body(w, **properties):
    return {
        "location": w.facts["location"],
        "identity": {"type": "SystemAssigned"},
        "properties": {"authMode": "Key", "description": "as it was"} | properties,
    }


def names(w, check):
    endpoints = w.management().online_endpoints
    made = models.OnlineEndpoint(
        location=w.facts["location"],
        identity=models.ManagedServiceIdentity(type="SystemAssigned"),
        properties=models.OnlineEndpointProperties(auth_mode="Key"),
    )
    for name in ("9lives", "ab", "with_underscore", "double--dash", "ends-", "a" * 33):
        check.refused(
            f"a name like {name[:16]}",
            lambda name=name: endpoints.begin_create_or_update(*w.at, name, made).result(),
            400,
        )
    check.refused(
        "an unknown endpoint", lambda: endpoints.get(*w.at, "nowhere"), 404, "ResourceNotFound", ResourceNotFoundError
    )
    check.refused(
        "an unknown workspace", lambda: endpoints.get(w.group_name, "nowhere", NAME), 404, kind=ResourceNotFoundError
    )
    check.refused(
        "a list of an unknown workspace",
        lambda: list(endpoints.list(w.group_name, "nowhere")),
        404,
        kind=ResourceNotFoundError,
    )
    check.refused(
        "an endpoint in an unknown workspace",
        lambda: endpoints.begin_create_or_update(w.group_name, "nowhere", "orphan", made).result(),
        404,
    )
    check.refused(
        "an unknown resource group",
        lambda: endpoints.get("nowhere", w.workspace_name, NAME),
        404,
        kind=ResourceNotFoundError,
    )
    answer = w.arm("GET", f"{w.workspace}/onlineHorses/x")
    check.equal("an unknown type", told(answer)[0::2], (404, True))
    answer = w.arm("POST", f"{w.endpoint(NAME)}/explode")
    check.that("an unknown action", told(answer)[0] in (404, 405) and told(answer)[2] is True, told(answer))


def tokens(w, check):
    def stranger(text):
        return lambda: clients.management(w.facts, Bearer(text)).online_endpoints.get(*w.at, NAME)

    answer = w.arm("GET", w.endpoint(NAME), who=None)
    check.equal("no token", told(answer), (401, "AuthenticationFailed", True))
    challenge = answer.headers.get("WWW-Authenticate", "")
    place = f'authorization_uri="{w.facts["authority_url"]}/{w.facts["tenant_id"]}"'
    check.that("it says where to get one", challenge.startswith("Bearer ") and place in challenge, challenge)
    check.that("and what was wrong", 'error="invalid_token"' in challenge, challenge)
    wrong = w.token("admin", clients.ML)
    codes = ("InvalidAuthenticationToken", "InvalidAuthenticationTokenAudience")
    for what, text in {
        "a token for the data plane": wrong,
        "a token that is none": "nonsense",
        "three parts of nothing": "e30.e30.e30",
        "a token with another signature": w.token("admin", clients.ARM)[:-8] + "AAAAAAAA",
    }.items():
        check.refused(what, stranger(text), 401, codes, ClientAuthenticationError)


def versions(w, check):
    answer = w.arm("GET", w.endpoint(NAME), version=None)
    check.equal("no api-version", told(answer), (400, "MissingApiVersionParameter", True))
    answer = w.arm("GET", w.endpoint(NAME), version="1999-01-01")
    check.equal("an api-version of long ago", told(answer), (400, "InvalidApiVersionParameter", True))
    known = STABLE + PREVIEW
    seen = {version: w.arm("GET", w.endpoint(NAME), version=version).status_code for version in known}
    check.equal("those that clients send", seen, dict.fromkeys(known, 200))


def bodies(w, check):
    path = w.endpoint(NAME)
    for what, text in {
        "no JSON": "{",
        "a list": "[]",
        "text": '"x"',
        "nothing at all": "",
        "JSON that is deeper than sense": "[" * 200 + "]" * 200,
    }.items():
        answer = w.arm("PUT", path, data=text, headers={"Content-Type": "application/json"})
        check.equal(f"a body that is {what}", told(answer)[0::2], (400, True))
    check.equal("a body that is going to be too large", too_large(w, path), (413, True))
    for what, wrong, target in [
        ("a mode that is none", {"authMode": "Password"}, "properties.authMode"),
        ("traffic that is no map", {"traffic": "all"}, "properties.traffic"),
        ("a weight that is no number", {"traffic": {"blue": "most"}}, "properties.traffic"),
        ("a description that is no text", {"description": {"a": 1}}, "properties.description"),
    ]:
        answer = w.arm("PUT", path, json=body(w, **wrong))
        place = str(answer.json().get("error", {}).get("target"))
        check.that(what, told(answer)[0::2] == (400, True) and place.startswith(target), (told(answer), place))
    answer = w.arm("PUT", path, json=body(w) | {"id": w.endpoint("another"), "name": "another"})
    check.that(
        "an id that is not that of the path",
        told(answer)[0::2] == (400, True) or answer.json().get("name") == NAME,
        answer.text,
    )
    answer = w.arm(
        "PUT",
        path,
        json=body(w, scoringUri="http://127.0.0.1:1/", provisioningState="Failed")
        | {"systemData": {"createdBy": "me"}},
    )
    properties = w.arm("GET", path).json()["properties"]
    seen = (properties["scoringUri"], properties["provisioningState"])
    check.equal("what is for reading only", seen, (f"{w.facts['data_url']}/endpoints/{NAME}/score", "Succeeded"))


def too_large(w, path):
    """What is answered to a request that only says how large its body is going to be.

    The gateway may close on a client that goes on sending, which then may not get to read the answer.
    """
    place = urlsplit(w.facts["control_url"])
    trust = ssl.create_default_context(cafile=w.facts["ca_file"])
    connection = http.client.HTTPSConnection(place.hostname, place.port, context=trust, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest("PUT", path + "?api-version=2024-10-01")
        connection.putheader("Authorization", "Bearer " + w.token("admin", clients.ARM))
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(MIB + 1))
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, bool(json.load(answer)["error"]["message"])


def concurrency(w, check):
    path = w.endpoint(NAME)
    tag = w.arm("GET", path).headers.get("ETag")
    check.that("an endpoint has an ETag", tag)
    answer = w.arm("PUT", path, json=body(w), headers={"If-Match": '"somebody-elses"'})
    check.equal("If-Match of another state", told(answer)[0::2], (412, True))
    answer = w.arm("PUT", path, json=body(w, description="changed"), headers={"If-Match": tag})
    check.equal("If-Match of this state", answer.status_code, 200)
    answer = w.arm("PUT", path, json=body(w), headers={"If-Match": tag})
    check.equal("and again with the same", told(answer)[0::2], (412, True))
    answer = w.arm("DELETE", path, headers={"If-Match": tag})
    check.equal("If-Match of a DELETE", told(answer)[0::2], (412, True))
    answer = w.arm("PUT", path, json=body(w), headers={"If-Match": w.arm("GET", path).headers["ETag"]})
    check.equal("with the one that was read since", answer.status_code, 200)

    tag, token = w.arm("GET", path).headers["ETag"], w.token("admin", clients.ARM)

    def write(number):
        said = body(w, description=f"writer {number}")
        headers = {"If-Match": tag, "Authorization": f"Bearer {token}"}
        url, version = w.facts["control_url"] + path, {"api-version": "2024-10-01"}
        return requests.put(url, params=version, json=said, headers=headers, timeout=30).status_code

    with ThreadPoolExecutor(WRITERS) as writers:
        seen = sorted(writers.map(write, range(WRITERS)))
    check.equal(f"of {WRITERS} writers at once one wins", seen, [200] + [412] * (WRITERS - 1))
    answer = w.arm("PUT", path, json=body(w))
    check.equal("and what it wrote can be changed", answer.status_code, 200)
