"""Chains in a repository: what a backup builds on, what its manifest and report say, and what becomes of it when its base cannot be used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iot_backup.core import spec
from iot_backup.core.report import BackupResult
from iot_backup.errors import EmptySource, ParentGone, RolledBack, StateUnreadable, StorageUnavailable
from iot_backup.storage.secret_values import MountedSecrets
from iot_backup.worker import backup as backups
from iot_backup.worker import basis
from iot_backup.worker.cancelling import Cancel
from iot_backup.worker.earlier import Earlier
from tests.pipeline.sites import Site


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "folder").mkdir(parents=True)
    for number in range(5):
        (root / "folder" / f"{number}").write_bytes(b"%d" % number * 1000)
    return root


def made(site: Site, source: Path, type_: str = "Incremental", **changes: Any) -> tuple[BackupResult, dict[str, str]]:
    """One backup in this process: its result, and its warnings by reason."""
    order = site.backup_order(type=type_, **changes)
    result, warnings = backups.backup(order, MountedSecrets(site.secrets_dir), source, Cancel())
    return result, {warning.reason: warning.message for warning in warnings}


def manifest(site: Site, id_: str) -> dict[str, Any]:
    (key,) = [key for key in site.manifests() if id_ in key]
    found: dict[str, Any] = json.loads(site.place.read(key))
    return found


def key_of(site: Site, id_: str, suffix: str) -> str:
    (key,) = [key for key in site.place.keys() if id_ in key and key.endswith(suffix)]
    return key


def test_a_chain_of_all_types(volume_site: Site, tree: Path) -> None:
    site = volume_site
    first, warned = made(site, tree)
    assert (first.type, first.parent, warned) == ("Full", None, {})
    (tree / "a new reading").write_bytes(b"new")
    second, warned = made(site, tree)
    assert (second.type, second.parent, second.seq, warned) == ("Incremental", first.archive, 2, {})
    third, _ = made(site, tree, "Differential")
    assert (third.type, third.parent) == ("Differential", first.archive)
    fourth, _ = made(site, tree)
    assert (fourth.type, fourth.parent) == ("Incremental", third.archive)
    fifth, _ = made(site, tree, "Full")
    assert (fifth.type, fifth.parent) == ("Full", None)
    written = manifest(site, second.archive)
    assert written["parent"]["id"] == first.archive
    assert written["archive"]["size"] < 1000
    assert f"what changed since the backup {first.archive}" in written["restore"]
    assert "builds on" not in manifest(site, first.archive)["restore"]
    state = site.place.read(key_of(site, second.archive, ".state"))
    assert written["state"]["size"] == len(state)
    assert b"a new reading" not in state
    assert key_of(site, second.archive, ".incremental.tar.zst.age")
    assert key_of(site, third.archive, ".differential.tar.zst.age")
    for result in (fourth, fifth):
        site.restores(result.archive, tree)


def test_counts_are_of_the_whole_tree(volume_site: Site, tree: Path) -> None:
    first, _ = made(volume_site, tree)
    second, _ = made(volume_site, tree)
    assert (second.files, second.entries, second.source_bytes) == (first.files, first.entries, first.source_bytes) == (5, 7, 5000)
    assert second.size_bytes < first.size_bytes


def damaged(site: Site, id_: str) -> None:
    key = key_of(site, id_, ".state")
    state = bytearray(site.place.read(key))
    state[len(state) // 2] ^= 1
    site.place.put(key, bytes(state))


def removed(site: Site, id_: str) -> None:
    site.place.remove(key_of(site, id_, ".state"))


def cut(site: Site, id_: str) -> None:
    key = key_of(site, id_, ".state")
    site.place.put(key, site.place.read(key)[:-1])


@pytest.mark.parametrize("harm", ["gone", "cut"])
@pytest.mark.parametrize("which", [0, 1])
def test_nothing_is_built_on_an_archive_that_is_not_there(volume_site: Site, tree: Path, which: int, harm: str) -> None:
    """The base's own, or one further down: manifests alone do not make a backup."""
    site = volume_site
    line = [made(site, tree)[0].archive]
    (tree / "new").write_bytes(b"new")
    line.append(made(site, tree)[0].archive)
    key = key_of(site, line[which], ".age")
    archive = site.place.read(key)
    site.place.remove(key)
    if harm == "cut":
        site.place.put(key, archive[:-1])
    third, warned = made(site, tree)
    assert (third.type, set(warned)) == ("Full", {"BaseMissing"})
    assert key in warned["BaseMissing"]
    site.restores(third.archive, tree)


@pytest.mark.parametrize("harm", [damaged, removed, cut])
def test_a_state_that_cannot_be_used_costs_a_full_and_no_run(volume_site: Site, tree: Path, harm: Callable[[Site, str], None]) -> None:
    first, _ = made(volume_site, tree)
    harm(volume_site, first.archive)
    second, warned = made(volume_site, tree)
    assert (second.type, set(warned)) == ("Full", {"StateUnreadable"})
    assert "is a Full instead" in warned["StateUnreadable"]
    third, warned = made(volume_site, tree)
    assert (third.type, third.parent, warned) == ("Incremental", second.archive, {})
    volume_site.restores(third.archive, tree)


def test_a_state_that_turns_out_bad_in_the_middle_costs_a_full(volume_site: Site, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = made(volume_site, tree)
    before = volume_site.place.keys()

    def bad(self: Earlier) -> tuple[bytes, bytes]:
        raise StateUnreadable("the state holds nonsense")

    monkeypatch.setattr(Earlier, "take", bad)
    second, warned = made(volume_site, tree)
    assert (second.type, second.seq, set(warned)) == ("Full", 2, {"StateUnreadable"})
    assert first.archive != second.archive
    new = {key for key in volume_site.place.keys() - before if second.archive not in key}
    assert new == set()


def test_one_whose_parent_is_gone_is_no_base(volume_site: Site, tree: Path) -> None:
    first, _ = made(volume_site, tree)
    made(volume_site, tree)
    volume_site.place.remove(key_of(volume_site, first.archive, ".manifest.json"))
    third, warned = made(volume_site, tree)
    assert (third.type, set(warned)) == ("Full", {"BaseMissing"})


def test_a_forged_newest_is_no_base(volume_site: Site, tree: Path) -> None:
    first, _ = made(volume_site, tree)
    second, _ = made(volume_site, tree)
    key = key_of(volume_site, second.archive, ".manifest.json")
    volume_site.place.put(key, volume_site.place.read(key).replace(b'"seq": 2', b'"seq": 3'))
    third, _ = made(volume_site, tree)
    assert (third.type, third.parent) == ("Incremental", first.archive)


def test_what_retention_is_about_to_delete_is_no_base(volume_site: Site, tree: Path) -> None:
    first, _ = made(volume_site, tree)
    second, _ = made(volume_site, tree)
    volume_site.place.put(f"doomed/{second.archive}", b"{}")
    third, _ = made(volume_site, tree)
    assert third.parent == first.archive


def test_what_is_damaged_is_no_base_nor_under_one(volume_site: Site, tree: Path) -> None:
    first, second, third = (made(volume_site, tree)[0] for _ in range(3))
    assert third.parent == second.archive
    volume_site.place.put(f"holds/{second.archive}.damaged", b"{}")
    volume_site.place.put(f"holds/{first.archive}.pinned", b"{}")
    fourth, warned = made(volume_site, tree)
    assert (fourth.type, fourth.parent, warned) == ("Incremental", first.archive, {})
    volume_site.place.put(f"holds/{first.archive}.damaged", b"{}")
    fifth, warned = made(volume_site, tree)
    assert (fifth.type, set(warned)) == ("Full", {"BaseMissing"})


def test_other_filters_or_another_writer_make_a_full(volume_site: Site, tree: Path) -> None:
    made(volume_site, tree)
    other, warned = made(volume_site, tree, exclude=("4",))
    assert (other.type, set(warned)) == ("Full", {"SourceChanged"})
    volume_site.writer_key = os.urandom(32)
    (volume_site.secrets_dir / "writer" / "key").write_bytes(volume_site.writer_key)
    stranger, warned = made(volume_site, tree, exclude=("4",))
    assert (stranger.type, set(warned)) == ("Full", {"WriterNotAdmitted"})


def test_a_chain_ends_at_its_length(volume_site: Site, tree: Path) -> None:
    types = [made(volume_site, tree, max_chain_length=3) for _ in range(7)]
    assert [result.type for result, _ in types] == ["Full", "Incremental", "Incremental"] * 2 + ["Full"]
    assert all(warned == {} for _, warned in types)


def test_a_chain_longer_than_the_last_backups_looked_at(volume_site: Site, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parents that are not among the newest are read by their names."""
    from iot_backup.repository import catalogue

    monkeypatch.setattr(catalogue, "_LOOK_BACK", 2)
    first, _ = made(volume_site, tree)
    for _ in range(5):
        last, _ = made(volume_site, tree)
    assert last.type == "Incremental"
    differential, _ = made(volume_site, tree, "Differential")
    assert differential.parent == first.archive
    for _ in range(4):
        made(volume_site, tree, "Configuration", include=("/folder/1",))
    following, warned = made(volume_site, tree)
    assert (following.type, warned) == ("Incremental", {})


def test_a_run_that_failed_or_was_not_committed_is_no_base(volume_site: Site, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """duplicati #6626: an upload that failed was recorded as present."""
    first, _ = made(volume_site, tree)
    (tree / "new").write_bytes(b"new")
    opened = backups.open_store

    def failing(*given: Any) -> Any:
        store = opened(*given)
        create = store.create

        def refuse(key: str, body: bytes) -> None:
            if key.endswith(".manifest.json"):
                raise StorageUnavailable("503")
            create(key, body)

        monkeypatch.setattr(store, "create", refuse)
        return store

    monkeypatch.setattr(backups, "open_store", failing)
    with pytest.raises(StorageUnavailable):
        made(volume_site, tree)
    monkeypatch.setattr(backups, "open_store", opened)
    third, _ = made(volume_site, tree)
    assert (third.parent, third.seq) == (first.archive, 2)
    volume_site.restores(third.archive, tree)


def test_a_base_that_goes_while_it_is_built_on_fails_the_run_and_the_next_is_a_full(
    volume_site: Site, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """restic #2715: what a running backup stood on was removed."""
    first, _ = made(volume_site, tree)
    packing = backups.pack

    def meanwhile(*given: Any, **how: Any) -> Any:
        packed = packing(*given, **how)
        volume_site.place.remove(key_of(volume_site, first.archive, ".manifest.json"))
        return packed

    monkeypatch.setattr(backups, "pack", meanwhile)
    with pytest.raises(ParentGone):
        made(volume_site, tree)
    monkeypatch.setattr(backups, "pack", packing)
    third, warned = made(volume_site, tree)
    assert (third.type, set(warned)) == ("Full", {"BaseMissing"})
    volume_site.restores(third.archive, tree)


def test_a_store_below_the_floor_stops_the_run_before_it_writes(volume_site: Site, tree: Path) -> None:
    made(volume_site, tree)
    second, _ = made(volume_site, tree)
    floor = spec.Floor(seq=2, manifest_sha256=second.manifest_sha256)
    third, _ = made(volume_site, tree, floor=floor)
    assert third.seq == 3
    for result in (second, third):
        volume_site.place.remove(key_of(volume_site, result.archive, ".manifest.json"))
    before = volume_site.place.keys()
    for type_ in ("Full", "Incremental"):
        with pytest.raises(RolledBack):
            made(volume_site, tree, type_, floor=floor)
    assert volume_site.place.keys() == before


def test_the_announcement_names_base_and_state(volume_site: Site, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = made(volume_site, tree)
    seen: list[dict[str, Any]] = []
    packing = backups.pack

    def look(*given: Any, **how: Any) -> Any:
        seen.extend(json.loads(volume_site.place.read(key)) for key in volume_site.place.keys() if key.startswith("announce/"))
        return packing(*given, **how)

    monkeypatch.setattr(backups, "pack", look)
    made(volume_site, tree)
    (said,) = seen
    assert said["parent"] == first.archive
    assert [key.rpartition(".")[2] for key in said["objects"]] == ["state", "index", "age"]


def test_an_abandoned_run_leaves_no_state(volume_site: Site, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(volume_site, tree)
    before = volume_site.place.keys()

    def stop(*_given: Any) -> None:
        raise EmptySource("asked to")

    monkeypatch.setattr(backups, "_outcome", stop)
    with pytest.raises(EmptySource):
        made(volume_site, tree)
    assert volume_site.place.keys() == before


def test_a_repository_without_encryption_seals_its_states_all_the_same(tmp_path: Path, tree: Path) -> None:
    """Names in it are those of its index, which is plain there; but nobody else can put one in its place."""
    from tests.pipeline.conftest import folder_place
    from tests.pipeline.sites import open_to_all

    open_to_all(tmp_path)
    site = Site(folder_place(tmp_path), tmp_path, passphrase=None, algorithm="None")
    site.pin(site.probe())
    first, _ = made(site, tree)
    second, _ = made(site, tree)
    assert second.parent == first.archive
    assert b"folder" not in site.place.read(key_of(site, second.archive, ".state"))


def test_a_configuration_takes_what_a_site_usually_has_and_tells_what_is_missing(volume_site: Site, tmp_path: Path) -> None:
    root = tmp_path / "site"
    for folder in ("config", "k8s", "data", "data/config"):
        (root / folder).mkdir(parents=True)
    for name in ("config/backup.yml", "k8s/all.yaml", ".env", "data/large", "data/config/inner", "data/.env"):
        (root / name).write_bytes(name.encode())
    first, _ = made(volume_site, root, "Full")
    result, warned = made(volume_site, root, "Configuration")
    assert (result.type, result.parent, result.files) == ("Configuration", None, 3)
    assert set(warned) == {"ConfigurationMissing"}
    assert warned["ConfigurationMissing"].startswith("secrets, docker-compose.yml: ")
    assert manifest(volume_site, result.archive)["source"]["include"] == [
        "/config/",
        "/secrets/",
        "/k8s/",
        "/.env",
        "/docker-compose.yml",
    ]
    following, _ = made(volume_site, root)
    assert following.parent == first.archive
    target = volume_site.folder("target")
    volume_site.restore(result.archive, target).restore  # noqa: B018 - fails with the log
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()) == [
        ".env",
        "config/backup.yml",
        "k8s/all.yaml",
    ]


def test_a_configuration_with_patterns_of_its_own(volume_site: Site, tree: Path) -> None:
    result, warned = made(volume_site, tree, "Configuration", include=("/folder/1",))
    assert (result.files, warned) == (1, {})


def test_increments_by_real_workers(site: Site, tree: Path) -> None:
    """On a volume and in a bucket."""
    first = site.backup(tree)
    (tree / "folder" / "1").unlink()
    (tree / "folder" / "2").write_bytes(b"other")
    second = site.backup(tree, type="Incremental")
    assert (second.backup.type, second.backup.parent) == ("Incremental", first.archive)
    assert second.warnings == {}
    site.restores(second.archive, tree)


def test_the_choice_reads_each_manifest_once(volume_site: Site, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        made(volume_site, tree)
    read: list[str] = []
    opened = backups.open_store

    def counting(*given: Any) -> Any:
        store = opened(*given)
        reading = store.read

        def read_(key: str, **how: Any) -> bytes:
            read.append(key)
            body: bytes = reading(key, **how)
            return body

        monkeypatch.setattr(store, "read", read_)
        return store

    monkeypatch.setattr(backups, "open_store", counting)
    chosen = basis.chosen
    until: list[int] = []
    monkeypatch.setattr(basis, "chosen", lambda *given: (chosen(*given), until.append(len(read)))[0])
    made(volume_site, tree)
    manifests = [key for key in read[: until[0]] if key.endswith(".manifest.json")]
    assert len(manifests) == len(set(manifests)) == 3
