#!/usr/bin/env python3
"""What a large store costs: 10,000 endpoints and 100,000 role assignments against a store with next to nothing.

Starts an issuer (`scoregate dev`) and, one after another, gateways (`scoregate serve`) on loopback; fills the store
through the control plane, or through the `resources:` directory if that would take too long; measures start-up, memory,
lists, reads and writes as a client sees them. Prints a table, and JSON with --json. Standard library and Linux only.

    python3 benches/control_scale.py [--endpoints 10000] [--grants 100000] [--fill-within 60]
"""

import argparse
import collections
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from pathlib import Path

from stand import AUTHORIZATION, BINARY, SCIENTIST, SUBSCRIPTION, VERSION, WORKSPACE, Gateway, Refused, issuer, memory

# A principal holds this many roles, each at an endpoint of its own.
ROLES_OF_ONE = 10
DOCUMENTS_OF_A_FILE = 100
# Seconds for each of the measurements that write.
MEASURED_FOR = 20


def endpoint_path(number):
    return f"{WORKSPACE}/onlineEndpoints/ep-{number:05}"


def endpoint_body():
    return {"location": "local", "tags": {"team": "a"}, "properties": {"authMode": "AADToken", "description": "one of many"}}


def principal(number):
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"principal {number}"))


def grant(number, endpoints):
    """Id, principal and scope of a grant."""
    name = uuid.uuid5(uuid.NAMESPACE_DNS, f"grant {number}")
    return str(name), principal(number // ROLES_OF_ONE), endpoint_path(number * 7919 % endpoints)


def grant_put(number, endpoints):
    name, who, scope = grant(number, endpoints)
    body = {"properties": {
        "roleDefinitionId": f"{AUTHORIZATION}/roleDefinitions/{SCIENTIST}", "principalId": who,
        "principalType": "ServicePrincipal",
    }}
    return f"{scope}{AUTHORIZATION}/roleAssignments/{name}?{VERSION}", body


def in_parallel(gateway, connections, jobs, within):
    """Does PUTs until all are done or the time is over; gives how many, in what time, how long each took, and refusals."""
    turn, lock, times, refused = iter(jobs), threading.Lock(), [], collections.Counter()
    began = time.monotonic()

    def work(client):
        while time.monotonic() - began < within:
            with lock:
                job = next(turn, None)
            if job is None:
                return
            try:
                times.append(client.call("PUT", *job)[1])
            except Refused as refusal:
                refused[refusal.args[1]] += 1

    threads = [threading.Thread(target=work, args=(gateway.client(),)) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not times:
        raise Refused(f"every PUT was refused: {dict(refused)}")
    return len(times), time.monotonic() - began, {**ms(times), "refused": dict(refused)}


def write_files(gateway, endpoints, grants, first_endpoint, first_grant):
    """The rest of the store as resource files."""
    folder = gateway.directory / "resources"
    folder.mkdir()
    documents = [f"name: ep-{number:05}\nauth_mode: aad_token\n" for number in range(first_endpoint, endpoints)]
    for number in range(first_grant, grants):
        _, who, scope = grant(number, endpoints)
        documents.append(f"role: AzureML Data Scientist\nprincipal_id: {who}\nscope: {scope}\n")
    for start in range(0, len(documents), DOCUMENTS_OF_A_FILE):
        (folder / f"{start:07}.yaml").write_text("---\n".join(documents[start:start + DOCUMENTS_OF_A_FILE]))


def ms(times):
    """Median and 99th percentile in milliseconds."""
    ordered = sorted(times)
    return {
        "p50_ms": round(statistics.median(ordered) * 1000, 2),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000, 2),
        "n": len(ordered),
    }


def pages(client, path):
    """Every page of a list: the seconds of each, and the number of items."""
    times, count = [], 0
    while path:
        page, took = client.call("GET", path)
        times.append(took)
        count += len(page["value"])
        link = page.get("nextLink")
        path = link and link[link.index("/", len("https://")):]
    return times, count


def start_up(gateway, times):
    seconds, rest, most = [], [], []
    for _ in range(times):
        with gateway.started() as took:
            seconds.append(took)
            now, peak = memory(gateway.process)
            rest.append(now)
            most.append(peak)
    return {
        "seconds_to_ready": round(statistics.median(seconds), 3),
        "rss_mib_when_ready": statistics.median(rest), "rss_mib_peak_till_ready": statistics.median(most),
    }


def measure(gateway, endpoints, grants, chosen):
    """What a client sees of a store with so many."""
    found = {}
    with gateway.started():
        found["rss_mib_before"] = memory(gateway.process)[0]
        client = gateway.client()
        client.call("GET", f"{endpoint_path(0)}?{VERSION}")  # the handshake and the token's first check
        times, count = pages(client, f"{WORKSPACE}/onlineEndpoints?{VERSION}")
        assert count == endpoints, f"{count} endpoints instead of {endpoints}"
        found["list_endpoints"] = {**ms(times), "total_s": round(sum(times), 3), "items": count}
        times, count = pages(client, f"{WORKSPACE}/onlineEndpoints?{VERSION}&count=1000")
        found["list_endpoints_1000"] = {**ms(times), "total_s": round(sum(times), 3), "items": count}
        picks = [chosen.randrange(endpoints) for _ in range(2000)]
        found["get_endpoint"] = ms([client.call("GET", f"{endpoint_path(n)}?{VERSION}")[1] for n in picks])

        times = []
        for _ in range(200):
            who = chosen.randrange(max(1, grants // ROLES_OF_ONE))
            query = urllib.parse.urlencode({"$filter": f"principalId eq '{principal(who)}'"})
            path = f"/subscriptions/{SUBSCRIPTION}{AUTHORIZATION}/roleAssignments?{VERSION}&{query}"
            page, took = client.call("GET", path)
            assert len(page["value"]) == min(ROLES_OF_ONE, grants), page
            times.append(took)
        found["list_grants_of_principal"] = ms(times)
        times = []
        for n in picks[:100]:
            times.append(client.call("GET", f"{endpoint_path(n)}{AUTHORIZATION}/roleAssignments?{VERSION}")[1])
        found["list_grants_at_endpoint"] = ms(times)
        times, count = pages(client, f"/subscriptions/{SUBSCRIPTION}{AUTHORIZATION}/roleAssignments?{VERSION}")
        found["list_all_grants"] = {**ms(times), "total_s": round(sum(times), 3), "items": count}

        def calls(method, paths_and_bodies):
            """Calls one after another, as many as there is time for."""
            until, times = time.monotonic() + MEASURED_FOR, []
            for path, body in paths_and_bodies:
                times.append(client.call(method, path, body)[1])
                if time.monotonic() > until:
                    break
            return ms(times)

        check = {"action": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/score/action"}
        holders = max(1, grants // ROLES_OF_ONE)
        at = f"/providers/Scoregate.Gateway/checkAccess?{VERSION}"
        found["check_access"] = calls("POST", [
            (endpoint_path(n) + at, {**check, "principalId": principal(n % holders)}) for n in picks[:500]
        ])
        new = [f"{WORKSPACE}/onlineEndpoints/new-{n}?{VERSION}" for n in range(500)]
        found["put_new_endpoint"] = calls("PUT", [(path, endpoint_body()) for path in new])
        new = new[:found["put_new_endpoint"]["n"]]
        again = {**endpoint_body(), "tags": {"team": "b"}}
        found["put_endpoint_again"] = calls("PUT", [(path, again) for path in new])
        found["delete_endpoint"] = calls("DELETE", [(path, None) for path in new])
        jobs = [(f"{WORKSPACE}/onlineEndpoints/par-{n}?{VERSION}", endpoint_body()) for n in range(1000)]
        done, seconds, each = in_parallel(gateway, 16, jobs, MEASURED_FOR)
        found["put_16_connections"] = {**each, "per_s": round(done / seconds, 1)}
        found["put_grant"] = calls("PUT", [grant_put(grants + n, endpoints) for n in range(300)])
        found["rss_mib_after"] = memory(gateway.process)[0]
    return found


def fill(gateway, endpoints, grants, connections, within):
    """Fills a store through the control plane as long as the time allows, and the rest through files."""
    told, few = {}, 0
    with gateway.started():
        began = time.monotonic()
        puts = ((f"{endpoint_path(number)}?{VERSION}", endpoint_body()) for number in range(endpoints))
        some, seconds, each = in_parallel(gateway, connections, puts, within)
        told["endpoints"] = {"done": some, "seconds": round(seconds, 1), "per_s": round(some / seconds), **each}
        if some == endpoints:
            left = max(1, within - (time.monotonic() - began))
            puts = (grant_put(number, endpoints) for number in range(grants))
            few, seconds, each = in_parallel(gateway, connections, puts, left)
            told["grants"] = {"done": few, "seconds": round(seconds, 1), "per_s": round(few / seconds), **each}
        told["rss_mib"] = memory(gateway.process)
    if (some, few) != (endpoints, grants):
        write_files(gateway, endpoints, grants, some, few)
        gateway.configure(resources="resources")
        with gateway.started(within=600) as seconds:
            told["from_files"] = {"resources": endpoints - some + grants - few, "seconds_to_ready": round(seconds, 1),
                                  "rss_mib": memory(gateway.process)}
        told["start_up_with_the_same_files"] = start_up(gateway, 3)
        gateway.configure()  # what they brought stays
    told["store_mib"] = round(sum(file.stat().st_size for file in gateway.directory.glob("scoregate.db*")) / 2**20, 1)
    return told


def ratios(small, large):
    """Every number of one against that of the other."""
    for name, value in large.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{key}", a, b) for key, a, b in ratios(small.get(name, {}), value))
        elif isinstance(value, (int, float)) and name in small:
            yield name, small[name], value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=os.environ.get("SCOREGATE_BIN", BINARY))
    parser.add_argument("--endpoints", type=int, default=10_000)
    parser.add_argument("--grants", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--fill-within", type=float, default=60, help="seconds for filling through the control plane")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="keep the stores in this new directory")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    directory = options.keep or Path(tempfile.mkdtemp(prefix="scoregate-scale-"))
    directory.mkdir(exist_ok=True)
    results = {"cores": os.cpu_count(), "load_before": os.getloadavg()}
    print(results, flush=True)
    try:
        with issuer(options.bin, directory / "issuer") as who:
            for name, endpoints, grants in (("small", 10, 10), ("large", options.endpoints, options.grants)):
                gateway = Gateway(options.bin, directory / name, who)
                filled = fill(gateway, endpoints, grants, options.connections, options.fill_within)
                print(name, "filled:", json.dumps(filled), flush=True)
                started = start_up(gateway, options.starts)
                measured = measure(gateway, endpoints, grants, random.Random(1))
                results[name] = {"filled": filled, "start_up": started, **measured}
                print(name, json.dumps(results[name]), flush=True)
    finally:
        if not options.keep:
            shutil.rmtree(directory, ignore_errors=True)
    print(f"\n{'':44}{'small':>12}{'large':>12}{'ratio':>9}")
    for label, a, b in ratios(results["small"], results["large"]):
        if not label.startswith("filled") and not label.endswith((".n", ".items")):
            print(f"{label:44}{a:12}{b:12}{b / a if a else float('nan'):9.2f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
