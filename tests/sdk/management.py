"""The generated client, azure-mgmt-machinelearningservices: pages, filters, PATCH and what MLClient lacks."""

from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.machinelearningservices import models

NAMES = [f"paged-{letter}" for letter in "abcde"]
SERVED = NAMES[0]


def run(w, check):
    endpoints = w.management().online_endpoints
    for place, name in enumerate(NAMES):
        tags = {"set": "paged", "odd": "yes"} if place % 2 else {"set": "paged"}
        w.make_endpoint(name, "key", tags=tags, properties={"place": str(place)})
    pages(w, check, endpoints)
    filters(w, check, endpoints)
    updates(w, check, endpoints)
    deployments(w, check, w.management().online_deployments)
    given = endpoints.list_keys(*w.at, SERVED)
    check.equal("list_keys", w.scored(SERVED, given.primary_key), 200)
    endpoints.begin_delete(*w.at, NAMES[4]).result()
    check.refused("begin_delete", lambda: endpoints.get(*w.at, NAMES[4]), 404, kind=ResourceNotFoundError)


def pages(w, check, endpoints):
    everything = [endpoint.name for endpoint in endpoints.list(*w.at)]
    for count in (1, 2, 3):
        found = [[endpoint.name for endpoint in page] for page in endpoints.list(*w.at, count=count).by_page()]
        sizes = [len(page) for page in found]
        check.that(f"pages of {count}", all(size == count for size in sizes[:-1]) and 0 <= sizes[-1] <= count, sizes)
        check.equal(f"pages of {count} have everything once", sorted(sum(found, [])), sorted(everything))
    paged = endpoints.list(*w.at, count=2, tags="set=paged").by_page()
    sizes = [[endpoint.name for endpoint in page] for page in paged]
    check.equal("a filter goes on to the next page", sorted(sum(sizes, [])), NAMES)
    first = endpoints.list(*w.at, count=2).by_page()
    seen = [endpoint.name for endpoint in next(first)]
    resumed = endpoints.list(*w.at, count=2).by_page(continuation_token=first.continuation_token)
    rest = [endpoint.name for page in resumed for endpoint in page]
    check.equal("a later client goes on where one stopped", sorted(seen + rest), sorted(everything))


def filters(w, check, endpoints):
    def names(**options):
        return [endpoint.name for endpoint in endpoints.list(*w.at, **options)]

    odd = [NAMES[1], NAMES[3]]
    check.equal("name", names(name=NAMES[2]), [NAMES[2]])
    check.equal("a tag with its value", sorted(names(tags="odd=yes")), odd)
    check.equal("a tag with another value", names(tags="odd=no"), [])
    check.equal("a tag of any value", sorted(names(tags="odd")), odd)
    check.equal("two tags", sorted(names(tags="odd,set=paged")), odd)
    check.equal("a property", names(properties="place=3"), [NAMES[3]])
    check.equal("orderBy CreatedAtAsc", names(tags="set=paged", order_by="CreatedAtAsc"), NAMES)
    check.equal("orderBy CreatedAtDesc", names(tags="set=paged", order_by="CreatedAtDesc"), NAMES[::-1])
    check.that("computeType Managed", set(NAMES) <= set(names(compute_type="Managed")))
    check.equal("computeType Kubernetes", names(compute_type="Kubernetes"), [])


def updates(w, check, endpoints):
    body = models.PartialMinimalTrackedResourceWithIdentity(tags={"set": "paged", "stage": "test"})
    updated = endpoints.begin_update(*w.at, NAMES[1], body).result()
    check.equal("begin_update: tags", updated.tags, {"set": "paged", "stage": "test"})
    got = w.ml().online_endpoints.get(NAMES[1])
    check.equal(
        "and nothing else",
        (got.tags, got.auth_mode, got.properties.get("place")),
        ({"set": "paged", "stage": "test"}, "key", "1"),
    )
    check.refused(
        "begin_update of what is not there", lambda: endpoints.begin_update(*w.at, "nowhere", body).result(), 404
    )


def deployments(w, check, operations):
    for name in ("blue", "green"):
        w.make_deployment(SERVED, name, tags={"stage": "test"})
    w.route(SERVED, {"blue": 100})
    at = (*w.at, SERVED)
    sku = models.PartialSku(capacity=2)
    body = models.PartialMinimalTrackedResourceWithSku(sku=sku)
    updated = operations.begin_update(*at, "green", body).result()
    check.equal("deployments.begin_update: capacity", (updated.sku.capacity, updated.tags), (2, {"stage": "test"}))
    check.equal("as MLClient sees it", w.ml().online_deployments.get("green", SERVED).instance_count, 2)
    body = models.PartialMinimalTrackedResourceWithSku(tags={"stage": "live"})
    updated = operations.begin_update(*at, "green", body).result()
    check.equal("deployments.begin_update: tags", (updated.sku.capacity, updated.tags), (2, {"stage": "live"}))
    pages = [[deployment.name for deployment in page] for page in operations.list(*at, top=1).by_page()]
    check.equal("deployments.list in pages of one", sorted(page for page in pages if page), [["blue"], ["green"]])
    got = operations.get(*at, "blue")
    check.equal(
        "deployments.get",
        (got.name, got.properties.endpoint_compute_type, got.sku.name.lower()),
        ("blue", "Managed", "default"),
    )
    skus = list(operations.list_skus(*at, "blue"))
    check.that("list_skus", skus and skus[0].sku.name and skus[0].capacity.maximum >= 1, skus)
    logs = operations.get_logs(*at, "blue", models.DeploymentLogsRequest(tail=5))
    check.that("get_logs", isinstance(logs.content, str), logs)
    operations.begin_delete(*at, "green").result()
    check.refused("deployments.begin_delete", lambda: operations.get(*at, "green"), 404, kind=ResourceNotFoundError)
