"""A namespace's repository in a folder or in a bucket, with its secrets, and workers that act on it."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from iot_backup.core import spec
from iot_backup.crypto.identity import Identity
from iot_backup.storage.opening import open_store
from iot_backup.storage.secret_values import MountedSecrets
from tests.pipeline.roundtrip import facts
from tests.pipeline.worker_process import SOMEBODY, Ended, Worker

if TYPE_CHECKING:
    from iot_backup.storage.store import Store
    from tests.minio.server import Minio

NAMESPACE = "plant-7"
PREFIX = "backups/east"
ROOT = f"{PREFIX}/ns/{NAMESPACE}/"


class Place(Protocol):
    """Where a repository lies, as its owner, and a thief, can touch it. Keys are below the repository's root."""

    def target(self, secrets_dir: Path) -> spec.StoreTarget:
        """How a worker finds it; credentials are put into the folder of Secrets."""

    def keys(self) -> set[str]:
        """Everything, also what no listing of ours would show."""

    def read(self, key: str) -> bytes: ...
    def put(self, key: str, body: bytes) -> None: ...
    def remove(self, key: str) -> None: ...


@dataclass
class Folder:
    """A claim, mounted at a path."""

    mount: Path

    def target(self, secrets_dir: Path) -> spec.StoreTarget:
        return spec.VolumeTarget(claim="nas", mount=str(self.mount), path=PREFIX, group=SOMEBODY)

    def keys(self) -> set[str]:
        top = self.mount / ROOT
        return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}

    def read(self, key: str) -> bytes:
        return (self.mount / ROOT / key).read_bytes()

    def put(self, key: str, body: bytes) -> None:
        path = self.mount / ROOT / key
        path.parent.mkdir(parents=True, exist_ok=True)
        for made in (p for p in path.parents if self.mount in p.parents):
            os.chown(made, -1, SOMEBODY)
            made.chmod(0o2770)
        path.write_bytes(body)
        os.chown(path, -1, SOMEBODY)
        path.chmod(0o660)

    def remove(self, key: str) -> None:
        (self.mount / ROOT / key).unlink()


@dataclass
class Bucket:
    """A bucket of the test server, over TLS; `endpoint` is a proxy's, without."""

    minio: Minio
    bucket: str
    endpoint: str | None = None

    def target(self, secrets_dir: Path) -> spec.StoreTarget:
        access = _kept(secrets_dir, "s3-credentials", "accessKey", "store/access", self.minio.access_key.encode())
        secret = _kept(secrets_dir, "s3-credentials", "secretKey", "store/secret", self.minio.secret_key.encode())
        ca = _kept(secrets_dir, "s3-ca", "ca.crt", "ca/ca.crt", self.minio.ca.encode())
        return spec.S3Target(
            bucket=self.bucket,
            prefix=PREFIX,
            endpoint=self.endpoint or self.minio.endpoint,
            path_style=True,
            access_key_id=access,
            secret_access_key=secret,
            ca=None if self.endpoint else ca,
        )

    def keys(self) -> set[str]:
        return {key.removeprefix(ROOT) for key in self.minio.keys(self.bucket)}

    def read(self, key: str) -> bytes:
        client = self.minio.client()
        try:
            return bytes(client.get_object(Bucket=self.bucket, Key=ROOT + key)["Body"].read())
        except client.exceptions.NoSuchKey as error:
            raise FileNotFoundError(key) from error

    def put(self, key: str, body: bytes) -> None:
        self.minio.client().put_object(Bucket=self.bucket, Key=ROOT + key, Body=body)

    def remove(self, key: str) -> None:
        self.minio.client().delete_object(Bucket=self.bucket, Key=ROOT + key)


@dataclass
class Site:
    """One namespace, its BackupStorage and its Secrets. `trust` is what the operator pinned."""

    place: Place
    base: Path
    passphrase: bytes | None = b"correct horse battery staple"
    recipients: tuple[str, ...] = ()
    algorithm: str = "Age"
    writer_key: bytes = field(default_factory=lambda: os.urandom(32))
    person: Identity = field(default_factory=Identity.generated)
    trust: spec.Trust | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def secrets_dir(self) -> Path:
        return self.base / "secrets"

    def repository(self, **changes: Any) -> spec.Repository:
        """What every order has; the Secrets are in place."""
        passphrase = None
        if self.passphrase is not None:
            passphrase = _kept(
                self.secrets_dir, "backup-secrets", "BACKUP_ENCRYPTION_KEY", "encryption/passphrase", self.passphrase + b"\n"
            )
        made = spec.Repository(
            storage="main",
            namespace=NAMESPACE,
            store=self.place.target(self.secrets_dir),
            encryption=spec.Encryption.model_validate(
                {"algorithm": self.algorithm, "passphrase": passphrase, "recipients": self.recipients}
            ),
            writer_key=_kept(self.secrets_dir, "main-writer-key", "key", "writer/key", self.writer_key),
        )
        return made.model_copy(update=changes)

    def store(self) -> Store:
        """The same place through our own code, for what only it can write."""
        return open_store(self.repository(), MountedSecrets(self.secrets_dir))

    def start(self, order: spec.BackupOrder | spec.RestoreOrder | spec.ProbeOrder, **how: Any) -> Worker:
        paths = {
            "secrets": self.secrets_dir,
            "source": how.pop("source", self.base / "none"),
            "target": how.pop("target", self.base / "none"),
        }
        return Worker(self.base / f"run-{next(self._numbers)}", order, paths, **how)

    def ended(self, worker: Worker) -> Ended:
        return worker.ended(self._secret_values())

    def probe(self, *, fingerprint: str | None = None, create: bool = True, **how: Any) -> Ended:
        order = spec.ProbeOrder(repository=how.pop("repository", None) or self.repository(), fingerprint=fingerprint, create=create)
        return self.ended(self.start(order, **how))

    def pin(self, probed: Ended) -> Ended:
        """Remember the repository of a probe, as the operator does."""
        found = probed.probe
        self.trust = spec.Trust(repository_id=found.repository_id, fingerprint=found.fingerprint, recipient=found.recipient)
        return probed

    def backup_order(self, **changes: Any) -> spec.BackupOrder:
        assert self.trust is not None
        repository = self.repository()
        facts = {"chain": "daily", "job": "daily", "claim": "data", "trust": self.trust}
        return spec.BackupOrder.model_validate({"repository": repository, **facts, **changes})

    def backup(self, source: Path, *, user: str | None = None, impatient: bool = False, **changes: Any) -> Ended:
        return self.ended(self.start(self.backup_order(**changes), source=source, user=user, impatient=impatient))

    def restore_order(self, archive: str, **changes: Any) -> spec.RestoreOrder:
        """A person's identity is brought, which costs no second as a passphrase does; `identity=None` for the passphrase."""
        identity = _kept(self.secrets_dir, "restore-key", "identity", "identity/key", self.person.text.encode())
        facts = {"archive": archive, "claim": "restored", "trust": self.trust, "identity": identity}
        return spec.RestoreOrder.model_validate({"repository": self.repository(), **facts, **changes})

    def restore(self, archive: str, target: Path, *, user: str | None = None, **changes: Any) -> Ended:
        return self.ended(self.start(self.restore_order(archive, **changes), target=target, user=user))

    def restores(self, archive: str, source: Path) -> None:
        """Assert that this backup gives the source back."""
        target = self.folder("restored")
        self.restore(archive, target).restore  # noqa: B018 - fails with the log
        assert facts(target) == facts(source)

    def folder(self, name: str) -> Path:
        """A new, empty folder."""
        made = self.base / f"{name}-{next(self._numbers)}"
        made.mkdir()
        return made

    def manifests(self) -> set[str]:
        return {key for key in self.place.keys() if key.endswith(".manifest.json")}

    def elsewhere(self, place: Place, base: Path) -> Site:
        """The same repository, copied to another place, with the same keys."""
        for key in sorted(self.place.keys()):
            place.put(key, self.place.read(key))
        return replace(self, place=place, base=base, _numbers=itertools.count())

    def _secret_values(self) -> list[bytes]:
        found = [
            path.read_bytes().strip() for path in self.secrets_dir.rglob("*") if path.is_file() and path.name not in ("ca.crt", "access")
        ]
        return [value for value in found if value.isascii() and value]


def _kept(secrets_dir: Path, secret: str, key: str, file: str, value: bytes) -> spec.SecretSource:
    path = secrets_dir / file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)
    return spec.SecretSource(secret=secret, key=key, file=file)


def new_key() -> bytes:
    return secrets.token_bytes(32)


def open_to_all(folder: Path) -> None:
    """Let users who are not root pass through the folders above."""
    for above in [folder, *folder.parents]:
        if above.stat().st_mode & 0o011 != 0o011 and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
