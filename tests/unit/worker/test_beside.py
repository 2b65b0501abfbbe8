"""Work beside other work: its outcome comes when asked for, an error as soon as somebody looks."""

from __future__ import annotations

import threading

import pytest

from iot_backup.errors import WrongKey
from iot_backup.worker.beside import Beside

PATIENCE = 60.0


def test_the_result_is_waited_for() -> None:
    go = threading.Event()
    work = Beside(lambda: go.wait(PATIENCE) and 42)
    work.check()  # nothing to tell yet
    go.set()
    assert work.result() == 42
    work.check()


def test_an_error_is_raised_by_who_looks() -> None:
    error = WrongKey("no")

    def fails() -> None:
        raise error

    work = Beside(fails)
    for look in (work.result, work.check):
        with pytest.raises(WrongKey) as raised:
            look()
        assert raised.value is error
