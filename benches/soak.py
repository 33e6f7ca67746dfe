#!/usr/bin/env python3
"""A long run: half of the load that one client process can make, a change every second, and what becomes of the
gateway's memory and file descriptors.

Starts an issuer with two model servers (`scoregate dev`) and a gateway (`scoregate serve`) on loopback. Every second
one thing changes: the traffic between the deployments, a role assignment that nobody needs, the deployment's
description, the endpoint's rate. Prints a line every half minute and a summary; exits 1 if a request failed, if
memory grew by more than 1 MiB an hour over the second half, or if file descriptors grew. Standard library and Linux only.

    python3 benches/soak.py [--bin target/release/scoregate] [--minutes 30] [--connections 8]
"""

import argparse
import collections
import http.client
import json
import os
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import stand

TRAFFIC = [{"blue": 100}, {"blue": 90, "green": 10}, {"blue": 50, "green": 50}, {"green": 100}]


class Load:
    """Kept connections that score, as fast as they can or at a rate in all."""

    def __init__(self, gateway, connections):
        self.port, self.issuer, self.connections = gateway.data, gateway.issuer, connections
        self.answers, self.lock = collections.Counter(), threading.Lock()
        self.until, self.rate = 0.0, None
        self.body = Path(self.issuer.facts["ca_file"]).with_name("request.json").read_bytes()

    def run(self, seconds, rate=None):
        """Gives the answers of so many seconds by status."""
        self.token = self.issuer.token(stand.SCORING, "scientist")
        self.until, self.rate, self.answers = time.monotonic() + seconds, rate, collections.Counter()
        threads = [threading.Thread(target=self.one) for _ in range(self.connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.answers

    def one(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        pause = self.connections / self.rate if self.rate else 0
        due = time.monotonic()
        while time.monotonic() < self.until:
            headers = {"Authorization": "Bearer " + self.token, "Content-Type": "application/json"}
            try:
                connection.request("POST", "/endpoints/soak/score", self.body, headers)
                answer = connection.getresponse()
                answer.read()
                what = answer.status
            except (OSError, http.client.HTTPException) as error:
                what = type(error).__name__
                connection.close()
            with self.lock:
                self.answers[what] += 1
            due = max(due + pause, time.monotonic() - 1)
            time.sleep(max(0.0, due - time.monotonic()))


class Changes(threading.Thread):
    """One change a second, all of them acknowledged."""

    def __init__(self, gateway, urls, until):
        super().__init__()
        self.client, self.urls, self.until, self.count, self.refused = gateway.client(), urls, until, 0, []
        self.gateway, self.renewed = gateway, time.monotonic()

    def run(self):
        while time.monotonic() < self.until:
            if time.monotonic() - self.renewed > 1200:
                self.client, self.renewed = self.gateway.client(), time.monotonic()
            try:
                self.change(self.count)
            except (stand.Refused, OSError, http.client.HTTPException) as refusal:
                self.refused.append(str(refusal))
                self.client = self.gateway.client()
            self.count += 1
            time.sleep(1)

    def change(self, number):
        kind = number % 4
        if kind == 0:
            put_endpoint(self.client, TRAFFIC[number // 4 % len(TRAFFIC)])
        elif kind == 1:
            put_deployment(self.client, "blue", self.urls["blue"], f"change {number}")
        else:
            name = uuid.uuid5(uuid.NAMESPACE_DNS, str(number - kind))
            path = f"{endpoint_path()}{stand.AUTHORIZATION}/roleAssignments/{name}?{stand.VERSION}"
            body = {"properties": {
                "roleDefinitionId": f"{stand.AUTHORIZATION}/roleDefinitions/{stand.SCIENTIST}",
                "principalId": str(name), "principalType": "ServicePrincipal",
            }}
            self.client.call("PUT", path, body) if kind == 2 else self.client.call("DELETE", path)


def endpoint_path():
    return f"{stand.WORKSPACE}/onlineEndpoints/soak"


def put_endpoint(client, traffic):
    body = {"location": "local", "properties": {"authMode": "AADToken", "traffic": traffic}}
    client.call("PUT", f"{endpoint_path()}?{stand.VERSION}", body)


def put_deployment(client, name, url, description):
    properties = {
        "endpointComputeType": "Managed", "description": description,
        "requestSettings": {"maxConcurrentRequestsPerInstance": 64},
        "properties": {"scoregate.backend": json.dumps({"urls": [url]})},
    }
    client.call("PUT", f"{endpoint_path()}/deployments/{name}?{stand.VERSION}", {"location": "local", "properties": properties})


def slope(samples):
    """KiB an hour, by least squares."""
    mean_t = sum(t for t, _ in samples) / len(samples)
    mean_v = sum(v for _, v in samples) / len(samples)
    spread = sum((t - mean_t) ** 2 for t, _ in samples)
    return 3600 * sum((t - mean_t) * (v - mean_v) for t, v in samples) / spread if spread else 0.0


def resident(process):
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--bin", type=Path, default=stand.BINARY)
    options.add_argument("--minutes", type=float, default=30)
    options.add_argument("--connections", type=int, default=8)
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as home, stand.issuer(options.bin, Path(home) / "issuer") as issuer:
        facts = issuer.facts
        gateway = stand.Gateway(options.bin, Path(home) / "gateway", issuer)
        with gateway.started():
            client = gateway.client()
            put_endpoint(client, {})
            for name, url in facts["models"].items():
                put_deployment(client, name, url, "")
            put_endpoint(client, {"blue": 100})
            who = issuer.object_id("scientist")
            path = f"{endpoint_path()}{stand.AUTHORIZATION}/roleAssignments/{uuid.uuid4()}?{stand.VERSION}"
            client.call("PUT", path, {"properties": {
                "roleDefinitionId": f"{stand.AUTHORIZATION}/roleDefinitions/{stand.SCIENTIST}",
                "principalId": who, "principalType": "ServicePrincipal",
            }})
            load = Load(gateway, options.connections)
            full = sum(load.run(5).values()) / 5
            rate = full / 2
            print(f"{full:.0f} requests/s at most; {rate:.0f} from now on, for {options.minutes:g} min", flush=True)
            began = time.monotonic()
            until = began + 60 * options.minutes
            changes = Changes(gateway, facts["models"], until)
            changes.start()
            samples, counts, all_answers = [], [], collections.Counter()
            while time.monotonic() < until:
                answers = load.run(min(30, max(1, until - time.monotonic())), rate)
                all_answers += answers
                at = time.monotonic() - began
                samples.append((at, resident(gateway.process)))
                counts.append((at, descriptors(gateway.process)))
                print(f"{at:6.0f} s  {samples[-1][1]:8} KiB  {counts[-1][1]:4} descriptors  {dict(answers)}", flush=True)
            changes.join()
    later = [sample for sample in samples if sample[0] >= samples[-1][0] / 2]
    growth, opened = slope(later), max(count for _, count in counts[len(counts) // 2:]) - max(count for _, count in counts[: len(counts) // 2 + 1])
    failed = sum(count for status, count in all_answers.items() if status != 200)
    print(f"{sum(all_answers.values())} requests, {failed} failed: {dict(all_answers)}")
    print(f"{changes.count} changes, {len(changes.refused)} refused {changes.refused[:3]}")
    print(f"memory over the second half: {growth:+.0f} KiB/h ({later[0][1]} to {later[-1][1]} KiB); descriptors {opened:+}")
    sys.exit(1 if failed or changes.refused or growth > 1024 or opened > 8 else 0)


if __name__ == "__main__":
    main()
