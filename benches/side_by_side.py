#!/usr/bin/env python3
"""Runs the gateway as one party of the side-by-side benchmark.

The benchmark tells in its environment (BENCH_*) where to listen, where the two model servers are and whose tokens to
take; this writes a configuration for that and becomes the gateway. Tokens are verified, RBAC and the 90/10 split are on.
Access records are off, as they are with the other parties; SCOREGATE__LOGS__ACCESS=true switches them on.
"""
import os
import pathlib
import sys
import uuid

root = pathlib.Path(__file__).resolve().parent.parent
env = os.environ
work = pathlib.Path(env.get("SCOREGATE_BENCH_DIR", "/tmp/scoregate-bench"))
resources = work / "resources"
resources.mkdir(parents=True, exist_ok=True)
for old in resources.iterdir():
    old.unlink()

subscription = "00000000-0000-0000-0000-00000000005b"
issuer = env["BENCH_ISSUER"]


def principal(oid):
    """The principal that the gateway derives for an issuer that is not Entra."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{issuer}#{oid}")


(work / "scoregate.yaml").write_text(f"""\
data_plane:
  listen: "{env['BENCH_LISTEN']}"
  public_url: "http://{env['BENCH_LISTEN']}"
  single_endpoint: bench
  workers: {env.get('BENCH_WORKERS', '1')}
  layout: {env.get('SCOREGATE_BENCH_LAYOUT', 'per_core')}
admin: {{ listen: "127.0.0.1:0" }}
store: memory
identity:
  max_token_lifetime: 744h
  issuers:
    - {{ issuer: "{issuer}", audiences: ["{env['BENCH_AUDIENCE']}"], principal_claim: oid, jwks_file: "{env['BENCH_JWKS']}" }}
workspaces: [ {{ subscription: {subscription} }} ]
resources: resources
limits: {{ idle_connection: 600s, response_idle: 300s, request_total: 600s, connections_per_address: 20000, connections: 20000, requests_per_endpoint: 20000 }}
logs: {{ level: error, access: false }}
""")
(resources / "bench.yaml").write_text("name: bench\nauth_mode: aad_token\ntraffic: { blue: 90, green: 10 }\n")
for name in ("blue", "green"):
    (resources / f"{name}.yaml").write_text(f"""\
name: {name}
endpoint_name: bench
request_settings: {{ request_timeout_ms: 30000, max_concurrent_requests_per_instance: 20000 }}
backend: {{ urls: [ "http://{env['BENCH_' + name.upper()]}" ] }}
""")
callers = [f"aaaaaaaa-bbbb-cccc-dddd-{number:012d}" for number in range(16)]
(resources / "callers.yaml").write_text("---\n".join(
    f"role: AzureML Data Scientist\nprincipal_id: {principal(oid)}\nscope: /subscriptions/{subscription}\n" for oid in callers))

binary = env.get("SCOREGATE_BIN", str(root / "target/dist/scoregate"))
os.execv(binary, [binary, "serve", "--config", str(work / "scoregate.yaml"), *sys.argv[1:]])
