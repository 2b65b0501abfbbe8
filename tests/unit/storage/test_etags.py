"""What a server says of an upload, and of the object when it is looked at, is the same however it writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from iot_backup.errors import AlreadyExists
from iot_backup.storage.s3 import S3Store
from iot_backup.storage.s3_client import Location

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Told(S3Store):
    """Whose objects all have this ETag, and ten bytes."""

    def __init__(self, tag: str | None) -> None:
        super().__init__(Location("bucket", endpoint="https://127.0.0.1:9"))
        self.tag = tag

    def _meta(self, key: str) -> Any:
        return {"path": key, "size": 10, "last_modified": NOW, "e_tag": self.tag, "version": None}


@pytest.mark.parametrize(("uploaded", "there"), [("a-2", '"a-2"'), ('"a-2"', "a-2"), ('"a-2"', 'W/"a-2"'), (None, '"a"'), ('"a"', None)])
def test_one_and_the_same_object(uploaded: str | None, there: str | None) -> None:
    Told(there)._compare("key", uploaded, 10)


@pytest.mark.parametrize(("uploaded", "there", "size"), [('"a"', '"b"', 10), ("a", '"b"', 10), ('"a"', '"a"', 11)])
def test_another_one(uploaded: str, there: str, size: int) -> None:
    with pytest.raises(AlreadyExists):
        Told(there)._compare("key", uploaded, size)
