"""The same files in three stores, scored by jobs of Azure's client and of the command line, into the same store."""

import cli
from furnish import ENDPOINT, FOLDER, STORES
from jobs import completed, invoke, right, shown, stream, uri


def run(w, check):
    for store in STORES:
        by_sdk(w, check, store)
        by_command_line(w, check, store)
    listed(w, check)


def by_sdk(w, check, store):
    ml, what = w.ml("scientist"), f"{store}, SDK"
    made = invoke(ml, store, f"sdk-{store}", f"out/sdk-{store}")
    check.equal(f"{what}: invoke", made.name, f"sdk-{store}")
    told = stream(ml, made.name)
    check.that(f"{what}: stream tells", made.name in told, told)
    got = ml.jobs.get(made.name)
    check.equal(f"{what}: get", (got.name, got.status), (made.name, "Completed"))
    check.that(f"{what}: where its output is", f"sdk-{store}" in str(got.outputs["score"].path), got.outputs)
    completed(w, check, what, shown(w, w.token("scientist"), made.name), w.object_id("scientist"))
    right(w, check, what, store, f"out/sdk-{store}/predictions.csv")


def by_command_line(w, check, store):
    name, what = f"cli-{store}", f"{store}, CLI"
    output = f"out/{name}.csv"
    words = ["batch-endpoint", "invoke", "-n", ENDPOINT, "--input", uri(store, FOLDER), "--output-path", uri(store, output)]
    done = cli.run(w, "scientist", *words, "--job-name", name, "--stream", "-o", "json")
    check.equal(f"{what}: invoke --stream", (done.code, done.json().get("status")), (0, "Completed"))
    completed(w, check, what, shown(w, w.token("scientist"), name), w.object_id("scientist"))
    right(w, check, what, store, output)


def listed(w, check):
    ml = w.ml("scientist")
    wanted = sorted(f"{by}-{store}" for by in ("sdk", "cli") for store in STORES)
    names = sorted(found.name for found in ml.batch_endpoints.list_jobs(ENDPOINT))
    check.equal("batch_endpoints.list_jobs", names, wanted)
    names = sorted(found.name for found in ml.batch_deployments.list_jobs(ENDPOINT, name="forest"))
    check.equal("batch_deployments.list_jobs", names, wanted)
