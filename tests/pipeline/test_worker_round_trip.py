"""A backup and its restore by the real process: the tree comes back, by us and by stock tools."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path

from iot_backup.crypto.identity import Identity
from tests.pipeline.roundtrip import facts, odd_tree
from tests.pipeline.sites import Folder, Site, open_to_all
from tests.pipeline.worker_process import PATIENCE


def test_an_odd_tree_comes_back_and_the_run_leaves_nothing_else_behind(site: Site, tmp_path: Path) -> None:
    before = site.place.keys()
    source = tmp_path / "source"
    odd_tree(source)
    done = site.backup(source)
    target = site.folder("target")
    back = site.restore(done.archive, target)
    assert facts(target) == facts(source)
    assert (back.restore.files, back.restore.bytes) == (done.backup.files, done.backup.source_bytes)
    assert back.restore.checksum == done.backup.checksum
    assert done.warnings == back.warnings == {}
    new = {key.removeprefix("chains/daily/").partition(".")[2] for key in site.place.keys() - before}
    assert new == {"full.tar.zst.age", "index", "state", "manifest.json"}
    assert len(site.place.keys() - before) == 4


def test_the_passphrase_opens_the_repository_too(volume_site: Site, plant: Path) -> None:
    done = volume_site.backup(plant)
    target = volume_site.folder("target")
    volume_site.restore(done.archive, target, identity=None).restore  # noqa: B018
    assert facts(target) == facts(plant)


def test_stock_tools_open_the_archive_as_its_manifest_says(volume_site: Site, tmp_path: Path) -> None:
    """The sentence in the manifest is followed word by word: age asks for the passphrase, then age, zstd and tar unpack."""
    source, target = tmp_path / "source", tmp_path / "target"
    odd_tree(source)
    site, place = volume_site, volume_site.place
    done = site.backup(source)
    (name,) = site.manifests()
    written = json.loads(place.read(name))
    key_file = _key_file(site)
    assert f"age -d {key_file.replace('-1.', '-N.')} > identity" in written["restore"]
    (tmp_path / "keys").mkdir()
    (tmp_path / key_file).write_bytes(place.read(key_file))
    archive = name.replace(".manifest.json", ".full.tar.zst.age")
    assert (
        f"age -d -i identity {Path(archive).name} | zstd -d | tar -xpf - --numeric-owner --xattrs --xattrs-include='*' --acls"
        in written["restore"]
    )
    (tmp_path / Path(archive).name).write_bytes(place.read(archive))
    assert site.passphrase is not None
    (tmp_path / "identity").write_bytes(_asked(["age", "-d", str(tmp_path / key_file)], site.passphrase))
    target.mkdir()
    command = f"age -d -i ../identity ../{Path(archive).name} | zstd -d | tar -xpf - --numeric-owner --xattrs --xattrs-include='*' --acls"
    subprocess.run(["bash", "-eo", "pipefail", "-c", command], cwd=target, check=True)
    os.rename(target / ".kbackup~~", target / "kept")
    os.rename(target / ".kbackup~", target / ".kbackup")
    os.rename(target / "kept", target / ".kbackup~")
    os.utime(target, ns=(0, 1_111_111_111_111_111_111))
    assert facts(target, whole_seconds=True) == facts(source, whole_seconds=True)
    assert hashlib.sha256(place.read(archive)).hexdigest() == written["archive"]["sha256"] == done.backup.checksum.removeprefix("sha256:")


def test_a_manifest_explains_itself_and_nothing_in_the_store_tells_a_name(site: Site, plant: Path) -> None:
    done = site.backup(plant, schedule="nightly", path="")
    (name,) = site.manifests()
    written = json.loads(site.place.read(name))
    assert written["format"] == "iot-backup-operator/manifest/v1"
    assert written["tool"].startswith("iot-backup-operator ")
    assert (written["namespace"], written["chain"], written["id"], written["seq"]) == ("plant-7", "daily", done.archive, 1)
    source = {"claim": "data", "path": "", "job": "daily", "schedule": "nightly", "include": [], "exclude": [], "oneFileSystem": False}
    assert written["source"] == source
    assert written["counts"]["sourceBytes"] == 1_024_000 + 7500
    assert hashlib.sha256(site.place.read(name)).hexdigest() == done.backup.manifest_sha256
    for key in site.place.keys():
        assert not [word for word in (b"boiler-room", b"thermostats", b"firmware.bin", b"celsius") if word in site.place.read(key)], key


def test_each_run_of_a_chain_gets_the_next_number_and_both_stay(volume_site: Site, plant: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    odd_tree(other)
    site = volume_site
    first, second = site.backup(plant), site.backup(other)
    assert (first.backup.seq, second.backup.seq) == (1, 2)
    site.restores(first.archive, plant)
    site.restores(second.archive, other)


def _key_file(site: Site) -> str:
    (found,) = [key for key in site.place.keys() if key.endswith(".scrypt")]
    return found


def _asked(command: list[str], answer: bytes) -> bytes:
    """The output of a program that asks its terminal for a passphrase."""
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(["setsid", "--ctty", *command], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as process:
            seen, deadline = b"", time.monotonic() + PATIENCE
            while b"passphrase" not in seen:
                assert time.monotonic() < deadline, seen
                seen += os.read(ours, 1000)
            os.write(ours, answer + b"\n")
            output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, seen
        return output
    finally:
        os.close(ours)
        os.close(theirs)


def test_aes256_goes_there_and_back_and_never_where_the_spec_says_another_cipher(plant: Path, tmp_path: Path) -> None:
    open_to_all(tmp_path)
    (tmp_path / "claim").mkdir(mode=0o777)
    person = Identity.generated()
    site = Site(Folder(tmp_path / "claim"), tmp_path, passphrase=None, person=person, recipients=(person.recipient,), algorithm="AES256")
    site.pin(site.probe())
    done = site.backup(plant)
    site.restores(done.archive, plant)
    (archive,) = (key for key in site.place.keys() if key.endswith(".full.tar.zst.aes256"))
    assert site.place.read(archive).startswith(b"iot-backup-operator/aes-256-gcm/v1\n")
    before = site.place.keys()
    site.algorithm = "Age"
    for refused in (site.backup(plant), site.restore(done.archive, site.folder("target")), site.probe()):
        assert refused.failure.reason == "InvalidSpec"
        assert "a repository keeps its cipher" in refused.failure.message
    assert site.place.keys() == before
