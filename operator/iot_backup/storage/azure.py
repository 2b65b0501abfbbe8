"""A container of Azure's Blob Storage, or of what speaks like it, as the store.

Small objects are create-only by If-None-Match. Large ones are uploaded in blocks, and the list that makes a blob of them cannot be made
create-only with obstore: as on S3, the key is looked at before and the blob compared after, and such keys hold 64 random bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iot_backup.errors import NotFound, StorageUnavailable
from iot_backup.storage import azure_client, keys, s3_clock, s3_upload
from iot_backup.storage.azure_errors import SPENT, Attempt, explain
from iot_backup.storage.objects import ObjectStore

if TYPE_CHECKING:
    from datetime import datetime

    from obstore.store import AzureStore as Client
    from obstore.store import ClientConfig, RetryConfig

    from iot_backup.errors import IotBackupError
    from iot_backup.storage.azure_client import Location
    from iot_backup.storage.s3_client import Timing


class AzureStore(ObjectStore):
    """Objects below `root` in one container."""

    def __init__(self, location: Location, root: str = "", *, timing: Timing | None = None) -> None:
        super().__init__(root, timing)
        self.location = location

    @property
    def place(self) -> str:
        return f"container {self.location.container}"

    def _create_or_find(self, key: str, body: bytes) -> None:
        """As the others do; but blocks that a broken upload left under the name, of which no blob was made, are in the way of one request,
        though nothing can be read there. A list of blocks replaces them.
        """
        try:
            super()._create_or_find(key, body)
        except NotFound:
            parts = s3_upload.Parts((body,), max(1, len(body)))
            self._put_parts(key, parts)

    def _put_parts(self, key: str, parts: s3_upload.Parts) -> None:
        """As the others do; but where the list of blocks was taken and the answer got lost, obstore's next try finds no blocks any more.

        Then the blob is looked at: a moment ago there was none, and only this list has its size.
        """
        try:
            super()._put_parts(key, parts)
        except StorageUnavailable as error:
            if SPENT not in error.message:
                raise
            self._compare(key, None, parts.total)

    def abandon(self, key: str) -> None:
        keys.parts(key)  # Azure lets blocks go that nobody committed for a week

    def now(self) -> datetime:
        self._greet()
        return s3_clock.store_time(self.location.url, self.location.ca, self._timing)

    def _client(self, options: ClientConfig, retries: RetryConfig) -> Client:
        return azure_client.client(self.location, options, retries)

    def _explain(self, error: Exception, verb: str, path: str) -> IotBackupError:
        return explain(error, Attempt(self.location, verb, path))
