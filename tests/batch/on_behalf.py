"""A container without a credential is read and written as the user who invoked: by an exchanged token, never by his own."""

import base64
import json
import sqlite3
from pathlib import Path

from azure.ai.ml.entities import AzureBlobDatastore

import files
from callers import device_code
from door import Door
from furnish import ENDPOINT, FOLDER
from jobs import completed, end, right, soon, uri

STORE, JOB = "ascaller", "on-behalf"
# By the way past the gateway that Azurite's own store has.
BEHIND = "azurite"


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def sealed(w):
    """What the gateway keeps for jobs to act as their owners, by job."""
    file = Path(w.facts["home"], "scoregate.db")
    database = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return dict(database.execute("SELECT name, sealed FROM jobs"))
    finally:
        database.close()


def run(w, check):
    with Door(w.facts) as door:
        store = AzureBlobDatastore(
            name=STORE, account_name=door.account, container_name=door.container, endpoint=door.service
        )
        made = w.ml().datastores.create_or_update(store)
        check.equal("a store without a credential", made.name, STORE)
        walk(w, check, door)


def walk(w, check, door):
    application = w.facts["on_behalf_of"]
    own = device_code(w, "scientist").get_token(application["scope"]).token
    data = {"inputData": {"heart": {"jobInputType": "UriFolder", "uri": uri(STORE, FOLDER)}}}
    place = {"score": {"jobOutputType": "UriFolder", "uri": uri(STORE, f"out/{JOB}")}}
    body = {"properties": {"name": JOB, "outputData": place} | data}
    url = f"{w.facts['data_url']}/endpoints/{ENDPOINT}/jobs"

    # A token for the usual audience cannot be exchanged: it is not one for the gateway's application.
    usual = device_code(w, "scientist").get_token("https://ml.azure.com/.default").token
    answer = w.http.post(url, json=body, headers={"Authorization": f"Bearer {usual}"}, timeout=30)
    error = answer.json()["error"]
    check.equal("a token for another audience", (answer.status_code, error["code"]), (403, "DataAccessDenied"))
    check.equal("was sent nowhere", door.seen, [])

    door.hold()
    answer = w.http.post(url, json=body, headers={"Authorization": f"Bearer {own}"}, timeout=30)
    check.equal("invoke", answer.status_code, 201)
    door.wait_for_somebody()
    kept = sealed(w)[JOB]
    check.that("while it runs something is sealed to the job", bool(kept), kept)
    door.let_in()
    job = end(w, own, JOB)
    completed(w, check, "on behalf", job, w.object_id("scientist"))
    folder = f"out/{JOB}"
    right(w, check, "on behalf", BEHIND, f"{folder}/predictions.csv")
    # Its parts are removed by requests within a request, each of which has to bring the token.
    left = [f"{folder}/predictions.csv", f"{folder}/predictions.csv.manifest.jws"]
    store = files.Blobs(w)
    check.equal("nothing is left over", soon(lambda: store.names(folder), left), left)
    check.equal("at its end nothing is sealed to any job", [name for name, kept in sealed(w).items() if kept], [])

    check.that("the storage was asked, and every time with a token", bool(door.seen) and all(door.seen), door.seen[:3])
    check.that("to read and to write", {"GET", "PUT"} <= door.asked, door.asked)
    check.that("never the caller's", own not in door.seen and usual not in door.seen)
    whose = {(c["aud"], c["oid"], c["scp"], c.get("appid") or c.get("azp")) for c in map(claims, set(door.seen))}
    expected = ("https://storage.azure.com", w.object_id("scientist"), "user_impersonation", application["client_id"])
    check.equal("but the user's for storage, through the gateway's application", whose, {expected})
    tokens = {own, *door.seen}
    log = Path(w.facts["home"]).parent / "gateway.log"
    check.that("no token is in the log", not any(token in log.read_text() for token in tokens))
