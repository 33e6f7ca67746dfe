"""A storage service that opens to bearer tokens alone, as Azure Storage does: a door before Azurite, which has no Entra.

Over TLS, since a token goes nowhere else. It notes the token of each request, and lets the request in by a signature of
its own.
"""

import http.client
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OWN = {"host", "authorization", "connection", "content-length", "transfer-encoding"}
HELD_FOR = 60


class Door:
    """Is there within `with`."""

    def __init__(self, facts):
        of, door = facts["stores"]["blob"], facts["door"]
        self.account, self.container, self.signature = of["account"], of["container"], of["sas"]
        self.behind = of["service"].split("/")[2]
        self.service = f"https://127.0.0.1:{door['port']}/{self.account}"
        # The token of each request, in the order they came; None where there was none. And what was asked for.
        self.seen, self.asked = [], set()
        self._somebody, self._open = threading.Event(), threading.Event()
        self._open.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", door["port"]), self.handler())
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(door["certificate"], door["key"])
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._open.set()
        self.server.shutdown()
        self.server.server_close()

    def hold(self):
        """Lets nobody in for now."""
        self._somebody.clear()
        self._open.clear()

    def wait_for_somebody(self):
        if not self._somebody.wait(HELD_FOR):
            raise AssertionError("nobody came to the storage service")

    def let_in(self):
        self._open.set()

    def handler(self):
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self):
                # Whoever sends no length sends no body: Azure Storage takes no chunks either.
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                kind, _, token = self.headers.get("Authorization", "").partition(" ")
                door.seen.append(token if kind == "Bearer" else None)
                door.asked.add(self.command)
                door._somebody.set()
                door._open.wait(HELD_FOR)
                if kind != "Bearer":
                    return self.say(401, {"WWW-Authenticate": "Bearer"}, b"")
                headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN}
                headers["Content-Length"] = str(len(body := self.signed(body)))
                inside = http.client.HTTPConnection(door.behind, timeout=30)
                try:
                    inside.request(self.command, self.with_signature(self.path), body, headers)
                    given = inside.getresponse()
                    told = given.read()
                    more = {name: value for name, value in given.getheaders() if name.lower() not in OWN | {"date", "server"}}
                    # The length of what HEAD does not give.
                    length = given.getheader("Content-Length") if self.command == "HEAD" else None
                    self.say(given.status, more, told, length)
                finally:
                    inside.close()

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def with_signature(self, path):
                return f"{path}{'&' if '?' in path else '?'}{door.signature}"

            def signed(self, body):
                """Requests within a request (Blob Batch) bring tokens of their own."""
                if b"comp=batch" not in self.path.encode():
                    return body
                lines = []
                for line in body.split(b"\r\n"):
                    name, _, value = line.decode().partition(": ")
                    if name.lower() == "authorization":
                        door.seen.append(value.removeprefix("Bearer "))
                        continue
                    if line.startswith(b"DELETE "):
                        method, path, version = line.decode().split(" ")
                        line = f"{method} {self.with_signature(path)} {version}".encode()
                    lines.append(line)
                return b"\r\n".join(lines)

            def say(self, status, headers, body, length=None):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status not in (204, 304):
                    self.send_header("Content-Length", length or str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler
