"""A store's clock is the store's own, whatever it answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count

import pytest

from iot_backup.errors import StorageUnavailable
from iot_backup.storage.s3_client import Timing
from iot_backup.storage.s3_clock import store_time

THEN = "Thu, 02 Jan 2025 03:04:05 GMT"


@contextmanager
def answering(status: int, headers: dict[str, str], hang_up: int = 0) -> Iterator[str]:
    """The address of a server that answers so, once it has closed so many connections without a word."""
    asked = count()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if next(asked) < hang_up:
                return
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("status", [200, 301, 307, 403, 405, 500])
def test_any_answer_tells_the_time(status: int) -> None:
    with answering(status, {"Date": THEN}) as url:
        assert store_time(url, None, Timing(retry=60)) == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_another_place_that_the_store_points_to_is_not_asked() -> None:
    """AWS sends whoever knocks at its front door to a page about itself, which a backup's network may not reach."""
    with (
        answering(200, {"Date": THEN}) as elsewhere,
        answering(307, {"Date": (THEN.replace("2025", "2024").replace("Thu", "Tue")), "Location": elsewhere}) as url,
    ):
        assert store_time(url, None, Timing(retry=60)) < datetime(2025, 1, 2, tzinfo=UTC) - timedelta(days=300)


def test_a_store_that_hangs_up_is_asked_again() -> None:
    with answering(200, {"Date": THEN}, hang_up=2) as url:
        assert store_time(url, None, Timing(retry=60, first_wait=0.01)) == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_store_that_always_hangs_up_is_given_up() -> None:
    with answering(200, {"Date": THEN}, hang_up=1000) as url, pytest.raises(StorageUnavailable, match="could not be asked for its time"):
        store_time(url, None, Timing(retry=0.2, first_wait=0.01))


def test_an_answer_without_a_date_is_no_store() -> None:
    with answering(200, {}) as url, pytest.raises(StorageUnavailable, match="without a Date header"):
        store_time(url, None, Timing(retry=60))
