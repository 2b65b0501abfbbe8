"""What was damaged, swapped or forged in the store is refused by the real process, and the target is left as it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from iot_backup.core import layout, manifest, signed
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.signing import Purpose, WriterKey
from tests.pipeline.roundtrip import facts
from tests.pipeline.sites import Place, Site, new_key


@dataclass
class Stored:
    """Two backups of different trees in one place, and how to reach their objects."""

    site: Site
    first: str
    second: str

    @property
    def place(self) -> Place:
        return self.site.place

    def key(self, archive: str, suffix: str) -> str:
        (found,) = [key for key in self.place.keys() if f"-{archive}." in key and key.endswith(suffix)]
        return found

    def change(self, suffix: str, change: Callable[[bytes], bytes]) -> None:
        key = self.key(self.first, suffix)
        self.place.put(key, change(self.place.read(key)))


ARCHIVE, INDEX, MANIFEST = ".full.tar.zst.age", ".index", ".manifest.json"


@pytest.fixture(scope="module")
def backed_up(seed: Site, plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Made once, on a volume; tests take copies."""
    from tests.pipeline.conftest import folder_place

    base = tmp_path_factory.mktemp("backed-up")
    other = base / "other"
    other.mkdir()
    (other / "firmware.bin").write_bytes(os.urandom(1_024_000))
    site = seed.elsewhere(folder_place(base), base)
    return Stored(site, site.backup(plant).archive, site.backup(other).archive)


@pytest.fixture
def stored(backed_up: Stored, place: Place, tmp_path: Path) -> Stored:
    return replace(backed_up, site=backed_up.site.elsewhere(place, tmp_path))


def flipped(at: float) -> Callable[[bytes], bytes]:
    """One bit of the byte at that share of the whole."""

    def flip(data: bytes) -> bytes:
        position = int(at * (len(data) - 1))
        return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]

    return flip


def swapped(stored: Stored) -> None:
    stored.place.put(stored.key(stored.first, ARCHIVE), stored.place.read(stored.key(stored.second, ARCHIVE)))


def both_swapped(stored: Stored) -> None:
    swapped(stored)
    stored.place.put(stored.key(stored.first, INDEX), stored.place.read(stored.key(stored.second, INDEX)))


def second_under_the_first_name(stored: Stored) -> None:
    both_swapped(stored)
    stored.place.put(stored.key(stored.first, MANIFEST), stored.place.read(stored.key(stored.second, MANIFEST)))


def edited(stored: Stored) -> None:
    stored.change(MANIFEST, lambda data: data.replace(b'"partial": false', b'"partial": true '))


def forged(stored: Stored) -> None:
    """By somebody with store credentials and a writer key of his own, who even admits himself, as far as that goes without the root."""
    from iot_backup.repository import writers
    from iot_backup.repository.writers import Keys

    thief = WriterKey(new_key())
    found, _, _ = manifest.decoded(stored.place.read(stored.key(stored.first, MANIFEST)))
    body = manifest.signable(found.model_copy(update={"writer": thief.id}))
    stored.place.put(stored.key(stored.first, MANIFEST), signed.closed(body, thief.signing.sign(Purpose.MANIFEST, body)))
    ours = writers.described(Keys(thief), repository_id=found.repository_id, namespace=found.namespace, now=found.start_time)
    stored.place.put(layout.writer(thief.id), writers.admission(ours, thief.signing))


def signed_by_nobody_known(stored: Stored) -> None:
    forged(stored)
    written = json.loads(stored.place.read(stored.key(stored.first, MANIFEST)))
    stored.place.remove(layout.writer(written["writer"]))


def deleted(suffix: str) -> Callable[[Stored], None]:
    return lambda stored: stored.place.remove(stored.key(stored.first, suffix))


HARMS: list[tuple[str, Callable[[Stored], None], str, int, list[str]]] = [
    ("archive's first byte", lambda s: s.change(ARCHIVE, flipped(0)), "CorruptData", 65, []),
    ("archive's middle", lambda s: s.change(ARCHIVE, flipped(0.5)), "CorruptData", 65, []),
    ("archive's last byte", lambda s: s.change(ARCHIVE, flipped(1)), "CorruptData", 65, []),
    (
        "index",
        lambda s: s.change(INDEX, flipped(0.5)),
        "CorruptData",
        65,
        [".index", "not what its manifest signs", "Restore another backup"],
    ),
    ("archive swapped", swapped, "CorruptData", 65, []),
    ("archive and index swapped", both_swapped, "CorruptData", 65, ["its manifest signs"]),
    ("all swapped", second_under_the_first_name, "Untrusted", 77, ["moved or copied"]),
    ("archive cut", lambda s: s.change(ARCHIVE, lambda data: data[:-1]), "CorruptData", 65, []),
    ("archive empty", lambda s: s.change(ARCHIVE, lambda data: b""), "CorruptData", 65, []),
    ("archive longer", lambda s: s.change(ARCHIVE, lambda data: data + b"\0"), "CorruptData", 65, []),
    ("archive deleted", deleted(ARCHIVE), "CorruptData", 65, ["is not in the store", "somebody deleted it"]),
    ("index deleted", deleted(INDEX), "CorruptData", 65, ["is not in the store"]),
    ("manifest edited", edited, "Untrusted", 77, ["no valid signature", "forged"]),
    ("manifest cut", lambda s: s.change(MANIFEST, lambda data: data[:-2]), "CorruptData", 65, ["cut off, damaged or edited"]),
    ("manifest forged and admitted by itself", forged, "Untrusted", 77, ["not signed by the root key"]),
    ("manifest by a stranger", signed_by_nobody_known, "Untrusted", 77, ["whom nobody admitted"]),
    ("manifest deleted", deleted(MANIFEST), "SourceUnavailable", 66, ["has no backup"]),
]


def occupied(stored: Stored) -> Path:
    """A target in which there is something already, also under a name of the backup."""
    target = stored.site.folder("target")
    (target / "firmware.bin").write_bytes(b"the one in use")
    (target / "other").mkdir()
    return target


ON_S3_TOO = ("archive's middle", "index", "archive swapped", "archive cut", "archive deleted", "manifest edited")
"""The store is another one, the judgement the same: so not every harm is done twice."""


@pytest.mark.parametrize(
    ("place", "harm", "reason", "code", "words"),
    [
        pytest.param(kind, *harm, id=f"{kind}: {name}")
        for kind in ("volume", "s3")
        for name, *harm in HARMS
        if kind == "volume" or name in ON_S3_TOO
    ],
    indirect=["place"],
)
def test_it_is_refused_before_anything_is_written(
    stored: Stored, harm: Callable[[Stored], None], reason: str, code: int, words: list[str]
) -> None:
    target = occupied(stored)
    before = facts(target)
    harm(stored)
    failure = stored.site.restore(stored.first, target).failure
    assert (failure.reason, failure.exit_code, failure.retryable) == (reason, code, False)
    assert [word for word in words if word not in failure.message] == []
    assert facts(target) == before


@pytest.mark.parametrize(
    ("harm", "reason"),
    [pytest.param(harm, reason, id=name) for name, harm, reason, _, _ in HARMS if name.startswith("archive") and "index" not in name],
)
def test_without_verification_nothing_wrong_is_put_in_place(
    backed_up: Stored, plant: Path, tmp_path: Path, harm: Callable[[Stored], None], reason: str
) -> None:
    from tests.pipeline.conftest import folder_place

    stored = replace(backed_up, site=backed_up.site.elsewhere(folder_place(tmp_path), tmp_path))
    target = occupied(stored)
    harm(stored)
    assert stored.site.restore(stored.first, target, verify=False).failure.reason == reason
    written = [path for path in target.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in written:
        expected = (plant / path.relative_to(target)).read_bytes()
        assert path.read_bytes() in (expected, b"the one in use")


def test_an_untouched_neighbour_still_restores(stored: Stored, plant: Path) -> None:
    key = stored.key(stored.second, ARCHIVE)
    stored.place.put(key, flipped(0.5)(stored.place.read(key)))
    stored.place.remove(stored.key(stored.second, MANIFEST))
    stored.site.restores(stored.first, plant)


@pytest.mark.parametrize("way", ["passphrase", "identity"])
def test_a_wrong_key_opens_nothing(stored: Stored, way: str) -> None:
    target = occupied(stored)
    before = facts(target)
    wrong = replace(stored.site, base=stored.site.folder("wrong"), passphrase=b"battery horse", person=Identity.generated())
    failure = wrong.restore(stored.first, target, **({"identity": None} if way == "passphrase" else {})).failure
    assert (failure.reason, failure.exit_code) == ("WrongKey", 77)
    assert facts(target) == before
