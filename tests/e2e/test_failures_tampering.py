"""Backups that were damaged or forged in the store, and keys that do not fit: a restore says so and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from iot_backup.crypto.identity import Identity
from tests.e2e import volumes
from tests.e2e.failing import Witness
from tests.e2e.platform import Platform
from tests.e2e.store_secrets import secret

FILL = "import os\nfor i in range(50): open(f'/data/{i}', 'wb').write(os.urandom(4000))"
STRANGER = Identity.generated()
OTHER_PASSPHRASE = "not the passphrase this repository was made with"
TARGETS = "targets"
CASES: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "flipped": ("CorruptData", 65, ("full.tar.zst.age is not what its manifest signs", "damaged or replaced", "Restore another backup")),
    "swapped": ("CorruptData", 65, ("full.tar.zst.age is not what its manifest signs", "find out who writes to the store")),
    "shortened": ("CorruptData", 65, ("full.tar.zst.age", "manifest signs")),
    "deleted": ("CorruptData", 65, ("full.tar.zst.age is not in the store, and its manifest is", "Restore another backup")),
    "index-flipped": ("CorruptData", 65, (".index is not what its manifest signs", "find out who writes to the store")),
    "forged": ("Untrusted", 77, ("manifest.json has no valid signature", "damaged after it was signed, or forged")),
    "moved": ("Untrusted", 77, ("says that it is", "it was moved or copied")),
    "manifest-deleted": ("SourceUnavailable", 66, ("the store has no backup", "it was deleted")),
    "stranger": ("WrongKey", 77, (STRANGER.recipient, "neither is the repository's")),
    "no-identity": ("SecretMissing", 77, ("Secret identities", "lacks key nobody")),
    "no-key-at-all": ("InvalidSpec", 64, ("AGE-SECRET-KEY-1",)),
    "passphrase-changed": ("WrongKey", 77, ("keys/", "passphrase")),
}
"""What was done: reason, exit code, what the message must say. Each has a target of its own."""
GOOD = "untouched"
KEYS = {"stranger": "stranger", "no-identity": "nobody", "no-key-at-all": "junk"}
"""Restores of the good backup with an identity that a person brought: the key in the Secret."""
BACKUPS = (*(name for name in CASES if name not in KEYS), GOOD)


@pytest.fixture(scope="module")
def restores(witness: Witness) -> Iterator[Witness]:
    """Backups, one to tamper with for each case; then the store is tampered with, and all are restored at once, into folders of files that must stay."""
    platform = witness.platform
    volumes.filled(platform, "data", FILL)
    passphrase = {"secretRef": {"name": "own-passphrase", "key": "passphrase"}}
    platform.apply(
        secret("own-passphrase", passphrase="the one it was made with"),
        secret("identities", stranger=STRANGER.text, junk="this is no identity"),
        platform.storage("own", prefix=f"{platform.prefix}/own", encryption=passphrase),
        platform.backup_job("all", "data", concurrencyPolicy="Allow"),
        platform.backup_job("own", "data", "own"),
    )
    platform.wait_condition("BackupStorage", "own", "Ready")
    for name in BACKUPS:
        platform.backup("own" if name == "passphrase-changed" else "all", name)
    _targets(platform)
    for name in BACKUPS:
        platform.completed("Backup", name)
    _tamper(platform)
    for name in (*CASES, GOOD):
        _restore(platform, name)
    yield witness
    platform.objects.delete("Pod", platform.namespace, TARGETS, grace_seconds=0)


def _targets(platform: Platform) -> None:
    """A claim for each case with one file in it, all held by one pod."""
    claims = [f"to-{name}" for name in (*CASES, GOOD)]
    platform.apply(*(volumes.claim(name) for name in claims))
    fill = "import pathlib\nfor p in pathlib.Path('/data').iterdir(): (p / 'kept').write_text('kept')"
    volumes.start_workload(platform, TARGETS, claims, fill, deadline=120)


def _restore(platform: Platform, name: str) -> None:
    brought = {"identitySecretRef": {"name": "identities", "key": KEYS[name]}} if name in KEYS else {}
    source = {"backupRef": {"name": GOOD if name in KEYS else name}}
    platform.restore(name, source, {"claimName": f"to-{name}", "allowInUse": True}, **brought)


class _Files:
    """The objects of one backup in the bucket."""

    def __init__(self, platform: Platform, name: str) -> None:
        id_ = platform.get("Backup", name)["status"]["archive"]
        (stem,) = {key.split(".")[0] for key in platform.keys("chains/all/") if f"-{id_}." in key}
        self._platform, self._stem = platform, platform.root + stem

    def read(self, kind: str) -> bytes:
        data: bytes = self._platform.bucket.Object(f"{self._stem}.{kind}").get()["Body"].read()
        return data

    def write(self, kind: str, data: bytes) -> None:
        self._platform.bucket.put_object(Key=f"{self._stem}.{kind}", Body=data)

    def delete(self, kind: str) -> None:
        self._platform.bucket.Object(f"{self._stem}.{kind}").delete()


def _tamper(platform: Platform) -> None:
    """With the credentials of the store, which a thief may have."""
    archive, index, manifest = "full.tar.zst.age", "index", "manifest.json"
    files = {name: _Files(platform, name) for name in BACKUPS if name != "passphrase-changed"}
    files["flipped"].write(archive, _flipped(files["flipped"].read(archive)))
    files["swapped"].write(archive, files[GOOD].read(archive))
    files["shortened"].write(archive, files["shortened"].read(archive)[:-100])
    files["deleted"].delete(archive)
    files["index-flipped"].write(index, _flipped(files["index-flipped"].read(index)))
    told = files["forged"].read(manifest)
    forged = told.replace(b'"files":50', b'"files":51').replace(b'"files": 50', b'"files": 51')
    assert forged != told, json.loads(told)
    files["forged"].write(manifest, forged)
    files["moved"].write(manifest, files[GOOD].read(manifest))
    files["manifest-deleted"].delete(manifest)
    platform.apply(secret("own-passphrase", passphrase=OTHER_PASSPHRASE))


def _flipped(data: bytes) -> bytes:
    """One bit in the middle is another."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("name", CASES)
def test_a_restore_of_it_fails_with_what_is_wrong(restores: Witness, name: str) -> None:
    reason, code, says = CASES[name]
    ended = restores.failed("RestoreJob", name, reason, *says, deadline=120)
    assert ended["status"]["failure"]["exitCode"] == code
    assert ended["status"]["attempts"] == 1, "another attempt would fail the same way"
    assert "filesRestored" not in ended["status"]


def test_nothing_was_written_where_it_failed(restores: Witness) -> None:
    for name, (reason, _, _) in CASES.items():
        restores.failed("RestoreJob", name, reason, deadline=120)
    restores.completed("RestoreJob", GOOD)
    platform = restores.platform
    script = "import os\nfor name in os.listdir('/data'): print(name, len(os.listdir('/data/' + name)))"
    listed = platform.operator.cluster.run("exec", f"--namespace={platform.namespace}", TARGETS, "--", "python3", "-c", script)
    found = dict(line.split() for line in listed.splitlines())
    assert found == {**{f"to-{name}": "1" for name in CASES}, f"to-{GOOD}": "51"}


def test_the_storage_whose_passphrase_was_changed_says_so_when_it_is_looked_at(restores: Witness) -> None:
    restores.platform.annotate("BackupStorage", "own", probe_requested_at="now")
    restores.tells("BackupStorage", "own", "False", "WrongKey", "passphrase", deadline=60)


def test_the_backup_nobody_touched_restores_whole(restores: Witness) -> None:
    restores.completed("RestoreJob", GOOD)
    platform = restores.platform
    kept = volumes.fingerprint(platform, f"to-{GOOD}", "content")
    assert [line for line in kept if "b'kept'" not in line] == volumes.fingerprint(platform, "data", "content")


def test_no_key_shows_anywhere(restores: Witness) -> None:
    restores.no_secrets(OTHER_PASSPHRASE, "the one it was made with", STRANGER.text)
