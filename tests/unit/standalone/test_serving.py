"""What the scheduler's address answers, and how it refuses one that it cannot have."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from iot_backup.errors import InvalidSpec
from iot_backup.standalone.scheduling.serving import served


def answer(path: str, is_alive: Callable[[], bool], metrics: Callable[[], bytes]) -> tuple[int, bytes]:
    server = served("127.0.0.1:0", is_alive, metrics)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}{path}", timeout=10) as got:
            return got.status, got.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    finally:
        server.shutdown()
        server.server_close()


def broken() -> bytes:
    raise OSError("secret")


@pytest.mark.parametrize(
    ("path", "is_alive", "metrics", "expected"),
    [
        ("/healthz", lambda: True, bytes, (200, b"ok\n")),
        ("/healthz", lambda: False, bytes, (503, b"the scheduler does not move\n")),
        ("/metrics", lambda: False, lambda: b"a 1\n", (200, b"a 1\n")),
        ("/metrics", lambda: True, broken, (500, b"OSError\n")),
    ],
)
def test_answers(path: str, is_alive: Callable[[], bool], metrics: Callable[[], bytes], expected: tuple[int, bytes]) -> None:
    assert answer(path, is_alive, metrics) == expected


def test_an_address_that_is_taken_is_refused_by_name() -> None:
    first = served("127.0.0.1:0", lambda: True, bytes)
    try:
        with pytest.raises(InvalidSpec, match=rf"127\.0\.0\.1:{first.server_port}: .*in use.*--listen"):
            served(f"127.0.0.1:{first.server_port}", lambda: True, bytes)
    finally:
        first.shutdown()
        first.server_close()
