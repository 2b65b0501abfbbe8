"""A proxy in front of MinIO that does harm: stores and then lies, hangs up, or falls silent."""

from __future__ import annotations

import http.client
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.minio.server import Minio

UNAVAILABLE = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>busy</Message></Error>"
INTERNAL = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>oops</Message></Error>"
NO_S3 = b"<html>404 page not found</html>"
_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}


class Harm(Enum):
    """What happens to a request."""

    REFUSE = auto()
    """503 without asking the server."""
    STORE_THEN_500 = auto()
    """The server does it; the client reads 500."""
    STORE_THEN_CLOSE = auto()
    STORE_THEN_STALL = auto()
    """The server does it; the client waits until the proxy ends."""
    CLOSE_MID_UPLOAD = auto()
    """Half the body is read, then the connection ends."""
    CLOSE_MID_DOWNLOAD = auto()
    """The answer's head and half its body."""
    NOT_FOUND_PAGE = auto()
    """A web server's 404."""


@dataclass
class Fault:
    """Harm for the first `times` requests with that method whose path and query hold `part`."""

    harm: Harm
    method: str
    part: str = ""
    times: int = 1
    hits: int = 0


@dataclass
class Proxy:
    """A running proxy. Set `faults` at any time; `seen` holds "METHOD path" of every request."""

    endpoint: str
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    overwrites: bool = False
    """As a server that does not know If-None-Match: what is there is gone before a PUT arrives."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    def harm(self, method: str, path: str) -> Harm | None:
        with self._lock:
            self.seen.append(f"{method} {path}")
            for fault in self.faults:
                if fault.method == method and fault.part in path and fault.hits < fault.times:
                    fault.hits += 1
                    return fault.harm
        return None

    def wait_for_end(self) -> None:
        self._ended.wait()

    def end(self) -> None:
        self._ended.set()


@contextmanager
def faulty(minio: Minio) -> Iterator[Proxy]:
    """A proxy on loopback without TLS, its end forced with the block."""
    context = ssl.create_default_context(cafile=str(minio.ca_file))
    proxy = Proxy("")

    class Handler(_Handler):
        pass

    Handler.proxy, Handler.minio, Handler.context = proxy, minio, context
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.end()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    minio: Minio
    context: ssl.SSLContext
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        harm = self.proxy.harm(self.command, self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if harm is Harm.CLOSE_MID_UPLOAD:
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if self.proxy.overwrites and self.command == "PUT":
            bucket, _, key = self.path.lstrip("/").partition("/")
            self.minio.client().delete_object(Bucket=bucket, Key=key)
        if harm is Harm.REFUSE:
            self._answer(503, UNAVAILABLE)
        elif harm is Harm.NOT_FOUND_PAGE:
            self._answer(404, NO_S3)
        else:
            self._forward(body, harm)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 - the names BaseHTTPRequestHandler looks for

    def _forward(self, body: bytes, harm: Harm | None) -> None:
        status, headers, answer = self._ask(body)
        if harm is Harm.STORE_THEN_500:
            self._answer(500, INTERNAL)
        elif harm is Harm.STORE_THEN_CLOSE:
            self.close_connection = True
        elif harm is Harm.STORE_THEN_STALL:
            self.proxy.wait_for_end()
            self.close_connection = True
        else:
            cut = harm is Harm.CLOSE_MID_DOWNLOAD
            self._answer(status, answer, headers, send=len(answer) // 2 if cut else None)

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        server = http.client.HTTPSConnection("127.0.0.1", self.minio.port, context=self.context, timeout=30)
        try:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    server.putheader(name, value)
            server.endheaders(body or None)
            answer = server.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            server.close()

    def _answer(self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None, *, send: int | None = None) -> None:
        self.send_response_only(status)
        sized = False
        for name, value in headers or [("Content-Type", "application/xml")]:
            if name.lower() not in _HOP_BY_HOP:
                sized = sized or name.lower() == "content-length"
                self.send_header(name, value)
        if not sized and status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if send is None else body[:send])
        if send is not None:
            self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        """Silence: `seen` is the log."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client gave up, as some tests want
