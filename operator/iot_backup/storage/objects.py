"""What stores of objects have in common, through obstore: S3 and Azure."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError

from iot_backup.errors import AlreadyExists, CorruptData, IotBackupError, NotFound, StorageUnavailable, UntrustedCertificate
from iot_backup.storage import keys, s3_client, s3_download, s3_upload
from iot_backup.storage.s3_client import Timing
from iot_backup.storage.s3_errors import OUT_OF_RANGE, answered, code_of
from iot_backup.storage.store import READ_LIMIT, Chunk, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from obstore.store import AzureStore, ClientConfig, RetryConfig, S3Store

    Client = S3Store | AzureStore

Failures = (BaseError, FileNotFoundError, ValueError)
"""What obstore raises."""
_BEYOND = "StartTooLarge"
"""obstore's word where a server answers a range that begins at the object's end with the whole object, as Azurite does."""
LARGE = 1 << 20
"""Bytes from which a body travels by the client for uploads."""


class ObjectStore(ABC):
    """Objects below `root` of one bucket or container, over obstore. A kind of store says how it is reached, and what its refusals mean."""

    def __init__(self, root: str, timing: Timing | None) -> None:
        self.root = "/".join((*keys.parts(root.strip("/")), "")) if root.strip("/") else ""
        """Put before every key: empty, or with a slash at the end."""
        self._timing = timing or Timing()
        self._lock = threading.Lock()
        self._greeted = False

    @property
    @abstractmethod
    def place(self) -> str:
        """For sentences: "bucket backups"."""

    @abstractmethod
    def abandon(self, key: str) -> None:
        """As the contract says."""

    @abstractmethod
    def now(self) -> datetime:
        """The store's own clock, UTC, as of this call."""

    @abstractmethod
    def _client(self, options: ClientConfig, retries: RetryConfig) -> Client:
        """A client with these options. InvalidSpec, AccessDenied, UntrustedCertificate."""

    @abstractmethod
    def _explain(self, error: Exception, verb: str, path: str) -> IotBackupError:
        """The error of our own for one of obstore's."""

    def create(self, key: str, body: bytes) -> None:
        self._put(key, body, "create")

    def _put(self, key: str, body: bytes, mode: Literal["create", "overwrite"]) -> None:
        path = self._path(key)
        client = self._upload if len(body) >= LARGE else self._control
        with self._explained("write", key):
            obstore.put(client, path, body, mode=mode, use_multipart=False)

    def create_stream(self, key: str, chunks: Iterable[Chunk], *, size_hint: int = 0) -> None:
        """As the contract says. Several parts cannot be made create-only with obstore, which would hold the whole stream in memory
        for it: there the key is looked at before, and the object compared after. Such keys hold 64 random bits.
        """
        keys.parts(key)
        parts = s3_upload.Parts(chunks, s3_upload.part_size(size_hint))
        whole = parts.only()
        if self._exists(key):
            raise AlreadyExists(f"{key} is in {self.place} already")
        if whole is not None:
            self._create_or_find(key, whole)
            return
        self._put_parts(key, parts)

    def _put_parts(self, key: str, parts: s3_upload.Parts) -> None:
        """In several parts, and looked at afterwards."""
        with self._explained("write", key, source=parts):
            done = obstore.put(
                self._upload,
                self._path(key),
                parts,
                mode="overwrite",
                use_multipart=True,
                chunk_size=parts.size,
                max_concurrency=s3_upload.in_flight(parts.size),
            )
        self._compare(key, done["e_tag"], parts.total)

    def _create_or_find(self, key: str, body: bytes) -> None:
        """Store what was not there a moment ago: if it is now, with these bytes, an attempt of ours was stored and not confirmed."""
        try:
            self.create(key, body)
        except AlreadyExists:
            if self.read(key, limit=max(len(body), READ_LIMIT)) != body:
                raise

    def read(self, key: str, *, limit: int = READ_LIMIT) -> bytes:
        with self._explained("read", key):
            found = obstore.get(self._control, self._path(key))
            size = found.meta["size"]
            if size > limit:
                raise CorruptData(f"{key} in {self.place} has {size} bytes, but an object of its kind has at most {limit}")
            return self._whole(key, bytes(found.bytes()), size)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        if length == 0:
            self.head(key)
            return b""
        with self._explained("read", key):
            try:
                return bytes(obstore.get_range(self._download, self._path(key), start=start, length=length))
            except BaseError as error:
                if code_of(error) == OUT_OF_RANGE or _BEYOND in str(error):
                    return b""
                raise

    def stream(self, key: str) -> Iterator[bytes]:
        size = self.head(key).size

        def fetch(start: int, length: int) -> bytes:
            return self._whole(key, self.read_range(key, start, length), length)

        yield from s3_download.ranges(size, fetch)

    def head(self, key: str) -> ObjectInfo:
        found = self._meta(key)
        return ObjectInfo(key, found["size"], found["last_modified"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        _, above = keys.folder(prefix)
        with self._explained("list", prefix):
            for page in obstore.list(self._control, (self.root + above).rstrip("/") or None):
                for found in page:
                    key = found["path"].removeprefix(self.root)
                    if found["path"].startswith(self.root + prefix) and key:
                        yield ObjectInfo(key, found["size"], found["last_modified"])

    def delete(self, key: str) -> None:
        with suppress(NotFound), self._explained("delete", key):
            obstore.delete(self._control, self._path(key))

    def _meta(self, key: str) -> obstore.ObjectMeta:
        path = self._path(key)
        with self._explained("read", key):
            # An answer to HEAD has no body, so a missing key and a missing bucket look the same; one to GET says which.
            with suppress(FileNotFoundError, PermissionDeniedError):
                return obstore.head(self._control, path)
            return obstore.get(self._control, path).meta

    def _exists(self, key: str) -> bool:
        try:
            self.head(key)
        except NotFound:
            return False
        return True

    def _compare(self, key: str, tag: str | None, size: int) -> None:
        """Look at what was uploaded: it must be there, and ours."""
        try:
            found = self._meta(key)
        except NotFound as error:
            raise StorageUnavailable(f"{key} was uploaded to {self.place}, but is not there") from error
        if found["size"] != size or (tag and found["e_tag"] and _bare(tag) != _bare(found["e_tag"])):
            raise AlreadyExists(f"{key} was written to {self.place} by somebody else at the same moment")

    def _whole(self, key: str, body: bytes, size: int) -> bytes:
        if len(body) != size:
            raise StorageUnavailable(f"{key} in {self.place} was cut short: {len(body)} of {size} bytes arrived")
        return body

    def _path(self, key: str) -> str:
        keys.parts(key)
        return self.root + key

    @contextmanager
    def _explained(self, verb: str, key: str, *, source: s3_upload.Parts | None = None) -> Iterator[None]:
        self._greet()
        try:
            yield
        except Failures as error:
            if source is not None and source.failure is not None:
                raise source.failure from None
            raise self._explain(error, verb, self.root + key) from error
        except BaseException:
            if source is not None and source.failure is not None:
                raise source.failure from None
            raise

    def _greet(self) -> None:
        """Once, before anything else: retries would hide for a minute that nobody is there, or that nobody trusts the certificate."""
        with self._lock:
            patience = time.monotonic() + self._timing.greeting
            while not self._greeted:
                problem = self._first_contact()
                if isinstance(problem, UntrustedCertificate) or (problem is not None and time.monotonic() >= patience):
                    raise problem
                self._greeted = problem is None
                if problem is not None:
                    time.sleep(self._timing.first_wait)

    def _first_contact(self) -> IotBackupError | None:
        """Why nobody can talk to this store; None once it answered, whatever it said."""
        try:
            obstore.head(self._client(*s3_client.greeting(self._timing)), self.root + "repo.json")
        except Failures as error:
            return None if answered(error) else self._explain(error, "read", self.root)
        return None

    @cached_property
    def _control(self) -> Client:
        return self._client(*s3_client.control(self._timing))

    @cached_property
    def _upload(self) -> Client:
        return self._client(*s3_client.upload(self._timing))

    @cached_property
    def _download(self) -> Client:
        return self._client(*s3_client.download(self._timing))


def _bare(tag: str) -> str:
    """An ETag as servers mean it: some (Ceph's gateway) put it in quotes in headers, and not in what they answer to a completed upload."""
    return tag.removeprefix("W/").strip('"')
