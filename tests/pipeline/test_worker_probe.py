"""The probe by the real process: what it makes, what it finds, and whom it refuses to believe."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from iot_backup.crypto.identity import Identity
from tests.minio.server import Minio
from tests.pipeline.conftest import folder_place
from tests.pipeline.sites import Bucket, Place, Site, new_key
from tests.pipeline.worker_process import Ended


def kinds(keys: set[str]) -> set[str]:
    """Top folders, and how the files in keys/ end."""
    return {key.partition("/")[0] + (Path(key).suffix if key.startswith("keys/") else "") for key in keys}


def test_it_makes_a_repository_and_finds_it_again(place: Place, tmp_path: Path) -> None:
    site = Site(place, tmp_path)
    first = site.probe()
    assert (first.probe.created, first.probe.confirmed, first.probe.writer_admitted) == (True, True, True)
    assert kinds(place.keys()) == {"repo.json", "keys.scrypt", "writers"}
    before = {key: place.read(key) for key in place.keys()}
    second = site.probe(fingerprint=first.probe.fingerprint)
    assert (second.probe.created, second.probe.confirmed, second.probe.writer_admitted) == (False, True, True)
    assert second.probe.model_copy(update={"created": True, "clock_skew_seconds": 0.0}) == first.probe.model_copy(
        update={"clock_skew_seconds": 0.0}
    )
    assert {key: place.read(key) for key in place.keys()} == before
    assert json.loads(place.read("repo.json"))["recipient"] == first.probe.recipient


def test_another_passphrase_is_told_at_once_and_changes_nothing(volume_site: Site) -> None:
    site = volume_site
    assert site.trust is not None
    before = site.place.keys()
    # The operator's fingerprint and our own writer key are both there: only the passphrase is another one.
    edited = replace(site, base=site.folder("edited"), passphrase=b"battery horse")
    failure = edited.probe(fingerprint=site.trust.fingerprint).failure
    assert (failure.reason, failure.exit_code) == ("WrongKey", 77)
    assert "passphrase does not open" in failure.message
    assert site.place.keys() == before


@pytest.mark.parametrize(
    ("change", "reason", "code", "words"),
    [
        ({"passphrase": None}, "KeyMissing", 77, ["spec.encryption.secretRef", "spec.encryption.recipients"]),
        ({"passphrase": b" "}, "SecretMissing", 77, ["backup-secrets", "BACKUP_ENCRYPTION_KEY", "empty"]),
        ({"passphrase": b"two\nlines"}, "KeyMissing", 77, ["one line"]),
        ({"writer_key": b"short"}, "KeyMissing", 77, ["writer key", "5 bytes"]),
        ({"passphrase": None, "recipients": ("age1nonsense",)}, "InvalidSpec", 64, ["age1nonsense", "age-keygen"]),
    ],
)
def test_unusable_keys_make_no_repository(
    volume_site: Site, tmp_path: Path, change: dict[str, object], reason: str, code: int, words: list[str]
) -> None:
    place = folder_place(volume_site.folder("empty"))
    site = replace(Site(place, volume_site.folder("site")), **change)  # type: ignore[arg-type]
    failure = site.probe().failure
    assert (failure.reason, failure.exit_code, failure.retryable) == (reason, code, False)
    assert [word for word in words if word not in failure.message] == []
    assert "repo.json" not in place.keys()


@pytest.mark.parametrize(
    ("file", "secret", "key"),
    [
        ("encryption/passphrase", "backup-secrets", "BACKUP_ENCRYPTION_KEY"),
        ("writer/key", "main-writer-key", "key"),
        ("store/secret", "s3-credentials", "secretKey"),
        ("ca/ca.crt", "s3-ca", "ca.crt"),
    ],
)
def test_a_missing_secret_is_named_with_its_key(minio: Minio, tmp_path: Path, file: str, secret: str, key: str) -> None:
    bucket = minio.bucket()
    site = Site(Bucket(minio, bucket), tmp_path)
    repository = site.repository()
    (site.secrets_dir / file).unlink()
    failure = site.probe(repository=repository).failure
    assert (failure.reason, failure.exit_code) == ("SecretMissing", 77)
    assert f"Secret {secret} lacks key {key}" in failure.message
    assert minio.keys(bucket) == set()


def test_a_repository_swapped_as_a_whole_gets_nothing(volume_site: Site, plant: Path) -> None:
    """With store credentials a thief can put a consistent repository of his own in the place of ours; its recipient would be his."""
    site = volume_site
    assert site.trust is not None
    theirs = Site(folder_place(site.folder("theirs")), site.folder("thief"), passphrase=b"theirs", writer_key=site.writer_key)
    theirs.probe().probe  # noqa: B018
    for key in site.place.keys():
        site.place.remove(key)
    for key in theirs.place.keys():
        site.place.put(key, theirs.place.read(key))
    before = site.place.keys()
    runs: list[Callable[[], Ended]] = [
        lambda: site.probe(fingerprint=site.trust and site.trust.fingerprint),
        lambda: site.backup(plant),
        lambda: site.restore("0123456789abcdef", site.folder("target")),
    ]
    for run in runs:
        failure = run().failure
        assert (failure.reason, failure.exit_code) == ("Untrusted", 77)
        assert site.trust.fingerprint in failure.message
    assert site.place.keys() == before
    # A BackupStorage made anew pins nothing: the passphrase is what tells.
    fresh = replace(site, base=site.folder("fresh"), writer_key=new_key())
    assert fresh.probe().failure.reason == "WrongKey"
    assert site.place.keys() == before


def test_without_a_word_on_it_an_existing_repository_is_not_confirmed(site: Site) -> None:
    """Strict mode: the cluster cannot open the identity, so only a fingerprint could tell whose repository this is."""
    strict = replace(site, base=site.folder("strict"), passphrase=None, recipients=(site.person.recipient,), writer_key=new_key())
    before = site.place.keys()
    found = strict.probe().probe
    assert (found.created, found.confirmed, found.writer_admitted) == (False, False, False)
    assert site.place.keys() == before
    assert site.trust is not None
    named = strict.probe(fingerprint=site.trust.fingerprint).probe
    assert (named.confirmed, named.writer_admitted) == (True, False)


def test_a_writer_that_nobody_admitted_backs_up_and_says_so(volume_site: Site, plant: Path) -> None:
    site = volume_site
    stranger = replace(site, base=site.folder("stranger"), writer_key=new_key())
    done = stranger.backup(plant)
    assert not done.backup.writer_admitted
    assert "WriterNotAdmitted" in done.warnings
    refused = stranger.restore(done.archive, site.folder("target")).failure
    assert refused.reason == "Untrusted"
    assert "admit its key" in refused.message
    assert stranger.probe().probe.writer_admitted
    stranger.restores(done.archive, plant)


@pytest.mark.parametrize("place", ["volume"], indirect=True)
def test_recipients_only(place: Place, tmp_path: Path, plant: Path) -> None:
    """No private key in the cluster: a person's identity restores, and so does the repository's own, taken from its key file."""
    person = Identity.generated()
    site = Site(place, tmp_path, passphrase=None, person=person, recipients=(person.recipient, Identity.generated().recipient))
    site.pin(site.probe())
    assert kinds(place.keys()) == {"repo.json", "keys.recipients", "writers"}
    done = site.backup(plant)
    site.restores(done.archive, plant)
    target = site.folder("target")
    without = site.restore(done.archive, target, identity=None).failure
    assert (without.reason, without.exit_code) == ("KeyMissing", 77)
    assert "spec.identitySecretRef" in without.message
    assert os.listdir(target) == []


def test_no_encryption(place: Place, tmp_path: Path, plant: Path) -> None:
    site = Site(place, tmp_path, passphrase=None, algorithm="None")
    assert site.pin(site.probe()).probe.recipient is None
    archive_id = site.backup(plant).archive
    (archive,) = [key for key in place.keys() if key.endswith(".full.tar.zst")]
    assert place.read(archive).startswith(b"\x28\xb5\x2f\xfd")
    target = site.folder("target")
    site.restore(archive_id, target, identity=None).restore  # noqa: B018
    assert (target / "firmware.bin").read_bytes() == (plant / "firmware.bin").read_bytes()
    encrypted = replace(site, base=site.folder("encrypted"), passphrase=b"battery horse", algorithm="Age")
    assert encrypted.probe().failure.reason == "Untrusted"


def test_a_pinned_repository_that_is_gone_is_not_made_anew(site: Site, plant: Path) -> None:
    assert site.trust is not None
    site.place.remove("repo.json")
    before = site.place.keys()
    for ended in (site.probe(fingerprint=site.trust.fingerprint), site.backup(plant)):
        assert ended.failure.reason == "Untrusted"
        assert "No new repository was made" in ended.failure.message
    assert site.place.keys() == before


def test_capabilities_are_those_of_the_store(minio: Minio, tmp_path: Path) -> None:
    bucket = minio.bucket(object_lock=True)
    found = Site(Bucket(minio, bucket), tmp_path).probe().probe
    assert found.capabilities == found.capabilities.model_copy(update={"conditional_writes": True, "object_lock": True, "versioning": True})
    assert found.isolated is False  # the test server's administrator reaches everything
    assert abs(found.clock_skew_seconds) < 5
