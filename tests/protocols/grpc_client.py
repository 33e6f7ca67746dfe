"""Calls that a gRPC client makes through the gateway; says as JSON what came of them.

Arguments: target, authority, a token that may, one that may not.
"""

import json
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

target, authority, may, may_not = sys.argv[1:]
channel = grpc.insecure_channel(target, [("grpc.default_authority", authority), ("grpc.enable_http_proxy", 0)])
bearer = lambda token: (("authorization", f"Bearer {token}"),)
plain = lambda trailers: [[key, value] for key, value in trailers or () if isinstance(value, str)]
found = {}


def note(name, call, timeout=20, metadata=bearer(may)):
    """Makes a call and notes what it gave, or how it failed."""
    try:
        found[name] = call(timeout=timeout, metadata=metadata)
    except grpc.RpcError as error:
        found[name] = {
            "code": error.code().name, "details": error.details(),
            "metadata": plain(error.initial_metadata()) + plain(error.trailing_metadata()),
        }


def say(**options):
    answer, call = channel.unary_unary("/test.Model/Say").with_call(b"hello", **options)
    trailers = dict(call.trailing_metadata())
    return {
        **json.loads(answer), "trailer": trailers.get("x-trailer"), "binary": trailers.get("x-bin-bin") == b"\x00\xff",
        "head": plain(call.initial_metadata()),
    }


def count(**options):
    call = channel.unary_stream("/test.Model/Count")(b"200", **options)
    return {"items": [int(item) for item in call], "trailer": dict(call.trailing_metadata()).get("x-trailer")}


def one(method, request=b""):
    return lambda **options: channel.unary_unary(f"/test.Model/{method}")(request, **options).decode()


note("say", say)
note("count", count)
note("add", lambda **o: channel.stream_unary("/test.Model/Add")(iter([b"1", b"2", b"39"]), **o).decode())
note("chat", lambda **o: [i.decode() for i in channel.stream_stream("/test.Model/Chat")(iter([b"a", b"b"]), **o)])
check = health_pb2_grpc.HealthStub(channel).Check
note("health", lambda **o: check(health_pb2.HealthCheckRequest(service="model"), **o).status)
note("unhealthy", lambda **o: check(health_pb2.HealthCheckRequest(service="other"), **o).status)
note("fail", one("Fail"))
note("nobody", one("Say"), metadata=())
note("outsider", one("Say"), metadata=bearer(may_not))
note("elsewhere", lambda **o: channel.unary_unary("/other.Service/Method")(b"", **o))
note("late", one("Hang"), timeout=0.5)
note("given_up", one("WasGivenUp"))
print(json.dumps(found), flush=True)
