"""A gRPC server on loopback. Says its port, then ends with its standard input."""

import json
import sys
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

given_up = threading.Event()


def say(request, context):
    """Echoes, with what reached it."""
    context.set_trailing_metadata((("x-trailer", "after"), ("x-bin-bin", b"\x00\xff")))
    seen = [[key, value] for key, value in context.invocation_metadata() if isinstance(value, str)]
    return json.dumps({"echo": request.decode(), "seen": seen}).encode()


def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()
    context.set_trailing_metadata((("x-trailer", "after"),))


def add(requests, context):
    return str(sum(int(request) for request in requests)).encode()


def chat(requests, context):
    for request in requests:
        yield request.upper()


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not größe yet")


def hang(request, context):
    """Answers nobody, and knows when nobody waits any more."""
    gone = threading.Event()
    context.add_callback(gone.set)
    gone.wait(30)
    given_up.set()
    return b""


def was_given_up(request, context):
    return b"yes" if given_up.wait(20) else b"no"


server = grpc.server(futures.ThreadPoolExecutor(8))
one, many = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
methods = {
    "Say": one(say), "Count": many(count), "Fail": one(fail), "Hang": one(hang), "WasGivenUp": one(was_given_up),
    "Add": grpc.stream_unary_rpc_method_handler(add), "Chat": grpc.stream_stream_rpc_method_handler(chat),
}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Model", methods),))
servicer = health.HealthServicer()
servicer.set("model", health_pb2.HealthCheckResponse.SERVING)
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
sys.stdin.read()
server.stop(None).wait()
