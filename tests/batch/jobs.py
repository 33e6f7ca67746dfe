"""Jobs by Azure's client, and what is looked at of every job."""

import contextlib
import csv
import io
import time

from azure.ai.ml import Input, Output

from furnish import ENDPOINT, FOLDER, STORES, expected, expected_csv

ENDED = {"Completed", "Failed", "Canceled"}
ENDS_WITHIN = 120


def uri(store, path):
    return f"azureml://datastores/{store}/paths/{path}"


def invoke(ml, store, name, folder=None):
    """A job over the hundred files of a store, into a folder of the same one, as the documentation invokes it."""
    outputs = {"score": Output(type="uri_folder", path=uri(store, folder))} if folder else None
    inputs = {"heart": Input(type="uri_folder", path=uri(store, FOLDER))}
    return ml.batch_endpoints.invoke(ENDPOINT, inputs=inputs, outputs=outputs, job_name=name)


def stream(ml, name):
    """What `jobs.stream` prints until the job has ended; it raises if that ends badly."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        ml.jobs.stream(name)
    return told.getvalue()


def shown(w, bearer, name):
    """The job as its endpoint shows it to who invoked it."""
    url = f"{w.facts['data_url']}/endpoints/{ENDPOINT}/jobs/{name}"
    answer = w.http.get(url, headers={"Authorization": f"Bearer {bearer}"}, timeout=30)
    answer.raise_for_status()
    return answer.json()["properties"]


def end(w, bearer, name):
    """The same, once it has ended."""
    deadline = time.monotonic() + ENDS_WITHIN
    while (job := shown(w, bearer, name))["status"] not in ENDED:
        if time.monotonic() > deadline:
            raise AssertionError(f"job {name} does not end: {job}")
        time.sleep(0.1)
    return job


def soon(look, expected):
    """What is looked at, once it is as expected, or as it still is when the time for that is over."""
    deadline = time.monotonic() + ENDS_WITHIN
    while (seen := look()) != expected and time.monotonic() < deadline:
        time.sleep(0.1)
    return seen


def completed(w, check, what, job, owner):
    """Its end, its owner, what it counted."""
    ours = job["scoregate"]
    check.equal(f"{what}: ended", (job["status"], ours.get("failure")), ("Completed", None))
    check.equal(f"{what}: belongs to", ours["owner"]["objectId"], owner)
    summary = ours.get("summary") or {}
    seen = [summary.get(key) for key in ("files", "rows", "failures")] + [ours["counts"]["miniBatches"]]
    check.equal(f"{what}: files, rows, failures, mini-batches", seen, [100, 297, 0, 10])


def right(w, check, what, store, path):
    """Its output: scikit-learn's own predictions, to the last digit, for every row in the order of the input."""
    data = STORES[store](w).get(path)
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    wanted = [(name, value) for name, values in expected(w) for value in values]
    seen = [(name, float(value)) for name, value in rows]
    differing = [pair for pair in zip(seen, wanted, strict=False) if pair[0] != pair[1]]
    check.that(
        f"{what}: {len(wanted)} predictions are scikit-learn's own, in order",
        seen == wanted, f"{len(seen)} rows; differing: {differing[:5]}",
    )
    check.that(f"{what}: to the byte", data == expected_csv(w), data[:300])
