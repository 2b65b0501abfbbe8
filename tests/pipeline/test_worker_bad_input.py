"""What a run cannot do is told in words, with the right code, and leaves the store as it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iot_backup.core import spec
from tests.cluster.certificates import Authority
from tests.minio.server import Minio, running
from tests.mounting import disk
from tests.pipeline.sites import Bucket, Folder, Site, open_to_all
from tests.ports import free_port

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts file systems and becomes another user")


@pytest.fixture
def unchanged(volume_site: Site) -> Iterator[None]:
    """The store holds the same before and after."""
    before = volume_site.place.keys()
    yield
    assert volume_site.place.keys() == before


def missing(base: Path) -> Path:
    return base / "nowhere"


def empty(base: Path) -> Path:
    (base / "source").mkdir()
    return base / "source"


def only_folders(base: Path) -> Path:
    (base / "source" / "lost+found").mkdir(parents=True)
    (base / "source" / "data").mkdir()
    return base / "source"


def with_a_link(base: Path) -> Path:
    (base / "source" / "real").mkdir(parents=True)
    (base / "source" / "real" / "file").write_bytes(b"x")
    (base / "source" / "link").symlink_to("real")
    return base / "source"


def closed(base: Path) -> Path:
    (base / "source").mkdir(mode=0o700)
    (base / "source" / "file").write_bytes(b"x")
    return base / "source"


def all_unreadable(base: Path) -> Path:
    (base / "source").mkdir(mode=0o755)
    (base / "source" / "file").write_bytes(b"x")
    (base / "source" / "file").chmod(0o600)
    return base / "source"


@root_only
@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("make", "changes", "user", "reason", "code", "words"),
    [
        (missing, {}, None, "SourceUnavailable", 66, ["claim data"]),
        (with_a_link, {"path": "nowhere/below"}, None, "SourceUnavailable", 66, ["claim data", "'nowhere'"]),
        (with_a_link, {"path": "link"}, None, "SourceUnavailable", 66, ["'link'", "not followed"]),
        (with_a_link, {"path": "real/file"}, None, "SourceUnavailable", 66, ["'real/file'", "no folder"]),
        (with_a_link, {"path": "real/../link"}, None, "SourceUnavailable", 66, []),
        (empty, {}, None, "EmptySource", 66, ["claim data", "allowEmpty: true"]),
        (only_folders, {}, None, "EmptySource", 66, ["allowEmpty: true"]),
        (with_a_link, {"include": ["*.json"]}, None, "EmptySource", 66, ["include '*.json'", "claim data", "allowEmpty: true"]),
        (with_a_link, {"exclude": ["real/"]}, None, "EmptySource", 66, ["exclude 'real/'"]),
        (with_a_link, {"exclude": ["!"]}, None, "InvalidSpec", 64, ["exclude", "'!'"]),
        (closed, {}, "somebody", "AccessDenied", 77, ["user 65532", "0:0", "0700", "worker.securityContext.runAsUser"]),
        (all_unreadable, {}, "somebody", "AccessDenied", 77, ["1 refused", "file", "worker.identity: Root"]),
    ],
)
def test_a_source_that_cannot_be_backed_up(
    volume_site: Site,
    tmp_path: Path,
    make: Callable[[Path], Path],
    changes: dict[str, object],
    user: str | None,
    reason: str,
    code: int,
    words: list[str],
) -> None:
    failure = volume_site.backup(make(tmp_path), user=user, **changes).failure
    assert (failure.reason, failure.exit_code, failure.retryable) == (reason, code, False)
    assert [word for word in words if word not in failure.message] == []


def test_an_empty_source_is_backed_up_if_that_is_meant(volume_site: Site, tmp_path: Path) -> None:
    source = only_folders(tmp_path)
    done = volume_site.backup(source, allow_empty=True)
    assert (done.backup.files, done.backup.partial) == (0, False)


@root_only
def test_one_unreadable_file_makes_a_partial_backup_of_the_rest(volume_site: Site, tmp_path: Path) -> None:
    source = with_a_link(tmp_path)
    (source / "private.key").write_bytes(b"x")
    (source / "private.key").chmod(0o600)
    open_to_all(source)
    done = volume_site.backup(source, user="somebody")
    assert (done.code, done.backup.partial, done.backup.files) == (0, True, 1)
    assert "private.key: Permission denied" in done.warnings["FilesUnreadable"].message
    target = volume_site.folder("target")
    back = volume_site.restore(done.archive, target)
    assert back.warnings["FilesMissing"].count == 1
    assert (target / "real" / "file").read_bytes() == b"x"
    assert not (target / "private.key").exists()


Change = Callable[[Minio, Site], dict[str, object]]


def _untrusted(minio: Minio, site: Site) -> dict[str, object]:
    from datetime import UTC, datetime

    (site.secrets_dir / "ca" / "ca.crt").write_bytes(Authority("somebody else", datetime.now(UTC)).pair.certificate)
    return {}


def _wrong(file: str) -> Change:
    def change(minio: Minio, site: Site) -> dict[str, object]:
        (site.secrets_dir / "store" / file).write_bytes(b"0123456789abcdef")
        return {}

    return change


@pytest.mark.parametrize(
    ("change", "reason", "code", "words"),
    [
        (lambda m, s: {"bucket": "no-such-bucket"}, "BucketMissing", 69, ["no-such-bucket", "spec.s3.bucket"]),
        (lambda m, s: {"bucket": "No_Bucket"}, "InvalidSpec", 64, ["No_Bucket", "spec.s3.bucket"]),
        (lambda m, s: {"prefix": "a//b"}, "InvalidSpec", 64, ["spec.s3.prefix"]),
        (lambda m, s: {"endpoint": "s3.example.com"}, "InvalidSpec", 64, ["spec.s3.endpoint", "https://"]),
        (lambda m, s: {"endpoint": f"https://127.0.0.1:{free_port()}"}, "StorageUnavailable", 69, ["connection refused"]),
        (lambda m, s: {"endpoint": "https://no-such-host.invalid"}, "StorageUnavailable", 69, ["no-such-host.invalid", "DNS"]),
        (_wrong("access"), "AccessDenied", 77, ["does not know the access key", "Secret s3-credentials"]),
        (_wrong("secret"), "AccessDenied", 77, ["secret key in Secret s3-credentials"]),
        (_untrusted, "UntrustedCertificate", 77, ["ca.crt", "s3-ca", "caBundleSecretRef"]),
    ],
    ids=["bucket", "bucket-name", "prefix", "no-scheme", "refused", "host", "access-key", "secret-key", "authority"],
)
@pytest.mark.parametrize("kind", ["backup", "probe"])
def test_a_bucket_that_cannot_be_used(
    seed: Site, minio: Minio, tmp_path: Path, plant: Path, kind: str, change: Change, reason: str, code: int, words: list[str]
) -> None:
    place = Bucket(minio, minio.bucket())
    site = seed.elsewhere(place, tmp_path)
    before = place.keys()
    repository = site.repository()
    repository = repository.model_copy(update={"store": repository.store.model_copy(update=change(minio, site))})
    run = site.backup_order(repository=repository) if kind == "backup" else spec.ProbeOrder(repository=repository)
    ended = site.ended(site.start(run, source=plant, impatient=True))
    assert (ended.failure.reason, ended.failure.exit_code, ended.failure.retryable) == (reason, code, code == 69)
    assert [word for word in words if word not in ended.failure.message] == []
    assert place.keys() == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"sha256": "0" * 64}, ["SHA-256 differs", "edited"]),
        ({"operation": "probe"}, ["orders a backup", "started for a probe"]),
    ],
)
def test_an_edited_order_is_refused(volume_site: Site, plant: Path, how: dict[str, str], words: list[str]) -> None:
    failure = volume_site.ended(volume_site.start(volume_site.backup_order(), source=plant, **how)).failure
    assert (failure.reason, failure.exit_code) == ("InvalidSpec", 64)
    assert [word for word in words if word not in failure.message] == []


def test_a_claim_that_is_not_mounted(volume_site: Site, plant: Path) -> None:
    repository = volume_site.repository(store=spec.VolumeTarget(claim="nas", mount="/nowhere"))
    failure = volume_site.backup(plant, repository=repository).failure
    assert (failure.reason, failure.exit_code) == ("StorageUnavailable", 69)
    assert "claim nas is not mounted" in failure.message


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """More than any of the small disks below takes."""
    source = tmp_path / "large"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(24 << 20))
    return source


@root_only
def test_a_full_volume(seed: Site, plant: Path, large: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "12m") as volume:
        site = seed.elsewhere(Folder(volume), tmp_path)
        earlier = site.backup(plant)
        before = site.place.keys()
        failure = site.backup(large).failure
        assert (failure.reason, failure.exit_code) == ("StorageFull", 73)
        assert "claim nas" in failure.message
        assert site.place.keys() == before
        site.restores(earlier.archive, plant)


@root_only
def test_a_full_bucket(seed: Site, minio_binary: Path, plant: Path, large: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "40m") as small, running(minio_binary, tmp_path / "minio", data=small) as minio:
        place = Bucket(minio, minio.bucket())
        site = seed.elsewhere(place, tmp_path)
        earlier = site.backup(plant)
        before = place.keys()
        (large / "more").write_bytes(os.urandom(40 << 20))
        failure = site.backup(large, impatient=True).failure
        # A MinIO that has no room even for its own files forgets the upload now and then, and says so.
        assert failure.reason == "StorageFull" or "NoSuchUpload" in failure.message, failure
        left = place.keys() - before
        assert {key for key in left if not key.startswith("announce/")} == set()
        for key in left:
            place.read(key)
        site.restores(earlier.archive, plant)


@root_only
@pytest.mark.parametrize("size", ["12m", "26m"], ids=["told before", "noticed while writing"])
def test_a_target_without_room(volume_site: Site, large: Path, tmp_path: Path, size: str) -> None:
    for number in range(700 if size == "26m" else 1):  # what small files take on a disk is more than what they hold
        (large / f"small{number}").write_bytes(b"x")
    done = volume_site.backup(large)
    before = volume_site.place.keys()
    with disk(tmp_path / "disk", size) as target:
        failure = volume_site.restore(done.archive, target).failure
        assert (failure.reason, failure.exit_code) == ("TargetFull", 73)
        if size == "12m":
            assert "Nothing was written" in failure.message
            assert os.listdir(target) == []
        for name in os.listdir(target):
            assert (target / name).read_bytes() == (large / name).read_bytes()
    assert volume_site.place.keys() == before
    volume_site.restores(done.archive, large)


@root_only
@pytest.mark.parametrize(
    ("make", "user", "reason", "code"),
    [
        (missing, None, "SourceUnavailable", 66),
        (lambda base: ((base / "file").write_bytes(b"") and None) or base / "file", None, "SourceUnavailable", 66),
        (lambda base: with_a_link(base) / "link", None, "SourceUnavailable", 66),
        (closed, "somebody", "AccessDenied", 77),
    ],
    ids=["missing", "file", "link", "closed"],
)
def test_a_target_that_cannot_be_used(
    volume_site: Site, plant: Path, tmp_path: Path, make: Callable[[Path], Path], user: str | None, reason: str, code: int
) -> None:
    done = volume_site.backup(plant)
    target = make(tmp_path)
    failure = volume_site.restore(done.archive, target, user=user).failure
    assert (failure.reason, failure.exit_code) == (reason, code)
    assert "claim restored" in failure.message


def test_a_backup_that_is_not_there(volume_site: Site, plant: Path) -> None:
    target = volume_site.folder("target")
    failure = volume_site.restore("0123456789abcdef", target).failure
    assert (failure.reason, failure.exit_code) == ("SourceUnavailable", 66)
    assert "0123456789abcdef" in failure.message
