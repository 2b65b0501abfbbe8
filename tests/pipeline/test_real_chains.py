"""Chains as the product makes them, with deltas, restored whole and in part out of a store that counts what is read."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from iot_backup.core.report import PlanResult, RestoreResult
from iot_backup.errors import ChainBroken
from iot_backup.storage.secret_values import MountedSecrets
from iot_backup.storage.volume import VolumeStore
from iot_backup.worker import deltas
from iot_backup.worker.backup import backup
from iot_backup.worker.cancelling import Cancel
from iot_backup.worker.restore import restore
from tests.pipeline.chains import fill
from tests.pipeline.conftest import folder_place
from tests.pipeline.roundtrip import facts
from tests.pipeline.sites import Site

MEMBERS = 8


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bytes read from the store, by the end of the key."""
    found: dict[str, int] = {}
    read_range, stream = VolumeStore.read_range, VolumeStore.stream

    def counted(self: VolumeStore, key: str, start: int, length: int) -> bytes:
        data = read_range(self, key, start, length)
        found[key] = found.get(key, 0) + len(data)
        return data

    def counted_stream(self: VolumeStore, key: str) -> Iterator[bytes]:
        for chunk in stream(self, key):
            found[key] = found.get(key, 0) + len(chunk)
            yield chunk

    monkeypatch.setattr(VolumeStore, "read_range", counted)
    monkeypatch.setattr(VolumeStore, "stream", counted_stream)
    return found


class History:
    """A database of which some blocks change, files that come and go, and one that never changes; a backup after each step."""

    def __init__(self, site: Site, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(deltas, "SMALLEST", 1 << 20)
        self.site, self.source = site, base / "source"
        self.source.mkdir()
        self.states: list[dict[bytes, tuple[object, ...]]] = []
        self.ids: list[str] = []
        fill(self.source / "database", 6 << 20)
        fill(self.source / "still", 12 << 20)
        for number in range(MEMBERS):
            self.step(number)

    def step(self, number: int) -> None:
        chance = random.Random(number)
        with (self.source / "database").open("r+b") as file:
            for _ in range(5):
                file.seek(chance.randrange(6 << 20) // 512 * 512)
                file.write(chance.randbytes(512))
        fill(self.source / f"folder{number % 3}" / f"new{number}", 1000 + number)
        if number > 3:
            (self.source / f"folder{number % 3}" / f"new{number - 3}").unlink()
        order = self.site.backup_order(type="Incremental" if number else "Full")
        result, _ = backup(order, MountedSecrets(self.site.secrets_dir), self.source, Cancel())
        assert result.type == order.type
        self.ids.append(result.archive)
        self.states.append(facts(self.source))

    def run(self, number: int, target: Path, **changes: object) -> RestoreResult | PlanResult:
        order = self.site.restore_order(self.ids[number], **changes)
        return restore(order, MountedSecrets(self.site.secrets_dir), target, Cancel())[0]

    def archive(self, number: int) -> str:
        (key,) = [key for key in self.site.place.keys() if f"-{self.ids[number]}." in key and "tar.zst" in key]
        return key


@pytest.fixture(scope="module")
def history(seed: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    base = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        yield History(seed.elsewhere(folder_place(base), base), base, patch)


def test_every_member_comes_back_and_each_archive_is_read_once(history: History, reads: dict[str, int]) -> None:
    for number in (0, 1, MEMBERS // 2, MEMBERS - 1):
        reads.clear()
        target = history.site.folder("target")
        history.run(number, target, verify=False)
        assert facts(target) == history.states[number]
        for at in range(number + 1):
            size = len(history.site.place.read(history.archive(at)))
            # Besides: header, table, and a chunk on both sides of each range.
            assert reads.get(history.archive(at), 0) <= 1.1 * size + (260 << 10)


def test_one_file_of_a_long_chain_costs_what_it_needs(history: History, reads: dict[str, int]) -> None:
    target = history.site.folder("target")
    history.run(MEMBERS - 1, target, type="Selective", include=[f"new{MEMBERS - 1}"])
    assert [path.name for path in target.rglob("*") if path.is_file()] == [f"new{MEMBERS - 1}"]
    read = {key: size for key, size in reads.items() if "tar.zst" in key}
    assert read.keys() == {history.archive(MEMBERS - 1)}


def test_a_database_of_many_deltas_comes_back_alone(history: History, reads: dict[str, int]) -> None:
    target = history.site.folder("target")
    plan = history.run(MEMBERS - 1, target, type="Selective", include=["/database"], mode="Plan")
    assert isinstance(plan, PlanResult)
    assert os.listdir(target) == []
    reads.clear()
    history.run(MEMBERS - 1, target, type="Selective", include=["/database"])
    assert (target / "database").read_bytes() == (history.source / "database").read_bytes()
    read = sum(size for key, size in reads.items() if "tar.zst" in key)
    # The Full's frames that hold it, the deltas, and each archive's end; not the file that never changed.
    assert read < 14 << 20
    assert plan.read_bytes < 14 << 20
    assert (plan.files, plan.bytes) == (1, 6 << 20)


def test_a_missing_member_breaks_those_behind_it_alone(history: History) -> None:
    (key,) = [key for key in history.site.manifests() if f"-{history.ids[3]}." in key]
    manifest = history.site.place.read(key)
    history.site.place.remove(key)
    target = history.site.folder("target")
    with pytest.raises(ChainBroken, match=history.ids[3]):
        history.run(MEMBERS - 1, target)
    assert os.listdir(target) == []
    history.run(2, target)
    assert facts(target) == history.states[2]
    history.site.place.put(key, manifest)
