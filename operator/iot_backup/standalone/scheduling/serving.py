"""/healthz and /metrics over HTTP, in threads of their own: they answer also while the loop hangs, and then say so."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from iot_backup.errors import InvalidSpec

_log = logging.getLogger(__name__)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    is_alive: Callable[[], bool]
    metrics: Callable[[], bytes]


class _Six(_Server):
    address_family = AF_INET6


class _Handler(BaseHTTPRequestHandler):
    timeout = 10
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/healthz":
            alive = self.server.is_alive()
            self._answer(200 if alive else 503, b"ok\n" if alive else b"the scheduler does not move\n")
        elif path == "/metrics":
            try:
                self._answer(200, self.server.metrics(), CONTENT_TYPE_PLAIN_0_0_4)
            except Exception as error:  # noqa: BLE001 - a scrape must not end without an answer
                _log.exception("the metrics cannot be made")
                self._answer(500, f"{type(error).__name__}\n".encode())
        else:
            self._answer(404, b"there are /healthz and /metrics\n")

    def _answer(self, code: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        _log.debug(format, *args)


def _parsed(listen: str) -> tuple[str, int]:
    """`HOST:PORT` or `[IPV6]:PORT`."""
    host, _, port = listen.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def served(listen: str, is_alive: Callable[[], bool], metrics: Callable[[], bytes]) -> ThreadingHTTPServer:
    """Serve until `shutdown`. `listen` as config.Listen. InvalidSpec if nothing can listen there."""
    host, port = _parsed(listen)
    try:
        server = (_Six if ":" in host else _Server)((host, port), _Handler)
    except OSError as error:
        raise InvalidSpec(f"nothing can listen at {listen}: {error}. Name another address by --listen or backup.listen.") from error
    server.is_alive, server.metrics = is_alive, metrics
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
