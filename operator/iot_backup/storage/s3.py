"""An S3 bucket as the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iot_backup.errors import AlreadyExists, IotBackupError
from iot_backup.storage import s3_client, s3_clock
from iot_backup.storage.objects import ObjectStore
from iot_backup.storage.s3_client import Location, Timing
from iot_backup.storage.s3_errors import Attempt, explain
from iot_backup.storage.store import READ_LIMIT

if TYPE_CHECKING:
    from datetime import datetime

    from obstore.store import ClientConfig, RetryConfig
    from obstore.store import S3Store as Client


class S3Store(ObjectStore):
    """Objects below `root` in one bucket.

    `conditional_writes=False` is for servers that ignore If-None-Match: each create then looks before and compares after, so two
    writers of one key at the same moment are told apart afterwards, by what the store holds.
    """

    def __init__(self, location: Location, root: str = "", *, conditional_writes: bool = True, timing: Timing | None = None) -> None:
        super().__init__(root, timing)
        self.location = location
        self.conditional_writes = conditional_writes

    @property
    def place(self) -> str:
        return f"bucket {self.location.bucket}"

    def at(self, root: str) -> S3Store:
        """The same bucket with another root, asked as a server that knows conditional writes."""
        return S3Store(self.location, root, timing=self._timing)

    def create(self, key: str, body: bytes) -> None:
        if self.conditional_writes:
            super().create(key, body)
            return
        if self._exists(key):
            raise AlreadyExists(f"{key} is in {self.place} already")
        self._put(key, body, "overwrite")
        if self.read(key, limit=max(len(body), READ_LIMIT)) != body:
            raise AlreadyExists(f"{key} was written to {self.place} by somebody else at the same moment")

    def abandon(self, key: str) -> None:
        from iot_backup.storage import s3_control  # boto3: rarely needed, and slow to load

        self._greet()
        s3_control.abort_uploads(self.location, self._path(key))

    def now(self) -> datetime:
        self._greet()
        return s3_clock.store_time(self.location.url, self.location.ca, self._timing)

    def _client(self, options: ClientConfig, retries: RetryConfig) -> Client:
        return s3_client.client(self.location, options, retries)

    def _explain(self, error: Exception, verb: str, path: str) -> IotBackupError:
        return explain(error, Attempt(self.location, verb, path))
