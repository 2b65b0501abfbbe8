"""A stranger restores with one file, extras/restore.py, and shares no code with us: what it reads is what docs/format.md says."""

from __future__ import annotations

import ast
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count, zip_longest
from pathlib import Path
from shutil import which

import pytest

from iot_backup.core.spec import Trust
from iot_backup.repository import access
from iot_backup.storage.secret_values import MountedSecrets
from iot_backup.worker.backup import backup
from iot_backup.worker.cancelling import Cancel
from iot_backup.worker.contents import Files
from tests.pipeline.conftest import folder_place
from tests.pipeline.handmade import chained, index_of, manifest_of, opened, rewritten, with_another_index
from tests.pipeline.roundtrip import facts, odd_tree
from tests.pipeline.sites import NAMESPACE, ROOT, Folder, Site, open_to_all

PROJECT = Path(__file__).resolve().parents[2]
READER = PROJECT / "extras" / "restore.py"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it becomes another user")


def run(*arguments: object, stdin: bytes = b"", user: int | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The program as a stranger runs it: alone, in an interpreter that knows nothing of the project."""
    return subprocess.run(
        [sys.executable, "-P", "-W", "error", str(READER), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        user=user,
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **environment},
    )


# The interpreter may lie where only root reads, so everything is imported before the rights are given up.
AS_SOMEBODY = """
import cryptography.hazmat.backends.openssl.backend, encodings.utf_8, locale, os, runpy, shutil, sys
program = runpy.run_path(sys.argv[1])
os.setgroups([]); os.setgid(65533); os.setuid(65533)
del sys.argv[0]
sys.exit(program["main"]())
"""


def said(*arguments: object, **how: object) -> str:
    done = run(*arguments, **how)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def refused(*arguments: object, **how: object) -> str:
    """What it said when it refused, in words."""
    done = run(*arguments, **how)
    assert done.returncode == 1, done
    assert b"Traceback" not in done.stderr
    return (done.stdout + done.stderr).decode()


def copy_of(site: Site) -> Path:
    """The repository's folder, as a stranger finds it."""
    assert isinstance(site.place, Folder)
    return site.place.mount / ROOT


def identity_of(site: Site, folder: Path) -> Path:
    """The repository's identity, opened as a person would."""
    (folder / "person").write_text(site.person.text + "\n")
    (key_file,) = (copy_of(site) / "keys").glob("*.recipients")
    (folder / "identity").write_text(said("identity", "-i", folder / "person", key_file))
    return folder / "identity"


@pytest.fixture
def identity(volume_site: Site, tmp_path: Path) -> Path:
    return identity_of(volume_site, tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    odd_tree(tmp_path / "source")
    return tmp_path / "source"


def new_site(base: Path, algorithm: str) -> Site:
    """A repository of its own, of that cipher."""
    open_to_all(base)
    site = Site(folder_place(base), base, algorithm=algorithm, passphrase=None)
    if algorithm != "None":
        site.recipients = (site.person.recipient,)
    site.pin(site.probe())
    return site


@pytest.mark.parametrize("compression", ["Zstd", "None"])
@pytest.mark.parametrize("algorithm", ["Age", "AES256", "None"])
def test_an_odd_tree_comes_back(tmp_path: Path, source: Path, algorithm: str, compression: str) -> None:
    site, target = new_site(tmp_path, algorithm), tmp_path / "target"
    done = site.backup(source, compression=compression)
    key = [] if algorithm == "None" else ["-i", identity_of(site, tmp_path)]
    assert done.archive in said("list", copy_of(site), *key)
    assert f"good: {done.backup.files - 1} files, {done.backup.source_bytes} bytes" in said("verify", copy_of(site), *key)
    said("restore", copy_of(site), done.archive, target, *key)
    assert facts(target) == facts(source)


def test_the_passphrase_opens_a_key_file_from_the_terminal_the_environment_and_a_pipe(volume_site: Site, identity: Path) -> None:
    (key_file,) = (copy_of(volume_site) / "keys").glob("*.scrypt")
    assert volume_site.passphrase is not None
    assert said("identity", key_file, stdin=volume_site.passphrase + b"\n") == identity.read_text()
    assert said("identity", key_file, BACKUP_PASSPHRASE=volume_site.passphrase.decode()) == identity.read_text()
    assert "this key does not open" in refused("identity", key_file, stdin=b"another one\n")


def test_the_identity_is_the_one_that_age_takes_out(volume_site: Site, identity: Path, tmp_path: Path) -> None:
    (key_file,) = (copy_of(volume_site) / "keys").glob("*.recipients")
    by_age = subprocess.run(["age", "-d", "-i", tmp_path / "person", key_file], capture_output=True, check=True).stdout
    assert identity.read_bytes() == by_age


@pytest.mark.parametrize("algorithm", ["Age", "AES256"])
def test_an_archive_decrypts_into_stock_tools(tmp_path: Path, source: Path, algorithm: str) -> None:
    site, target = new_site(tmp_path, algorithm), tmp_path / "target"
    site.backup(source)
    (archive,) = (copy_of(site) / "chains/daily").glob("*.tar.zst.*")
    target.mkdir()
    command = f"{sys.executable} {READER} decrypt -i {identity_of(site, tmp_path)} {archive} | zstd -dq | tar xp --numeric-owner"
    subprocess.run(["bash", "-eo", "pipefail", "-c", command], cwd=target, check=True)
    names = {name.replace(b".kbackup", b".kbackup~", 1) if name.startswith(b".kbackup") else name for name in facts(source)}
    assert facts(target).keys() == names


def nested_folders_of_our_name(tmp_path: Path, site: Site) -> tuple[Path, list[Path]]:
    """A tree with folders `.kbackup` that are a user's, which was backed up, changed, and backed up again; and both tar streams."""
    source = tmp_path / "source"
    for folder in ("data/.kbackup/deleted", "data/.kbackup/delta", "data/deep/.kbackup"):
        (source / folder).mkdir(parents=True)
        (source / folder / "1").write_bytes(b"kept\0")
    for name in ("kept", "gone"):
        (source / name).write_bytes(name.encode())
    site.backup(source)
    (source / "gone").unlink()
    (source / "kept").chmod(0o600)
    (source / "data/.kbackup/deleted/2").write_bytes(b"kept\0")
    site.backup(source, type="Incremental")
    stored = {path.name.split(".")[1]: path for path in (copy_of(site) / "chains/daily").glob("*.tar.zst")}
    streams = []
    for type_ in ("full", "incremental"):
        streams.append(tmp_path / f"{type_}.tar")
        subprocess.run(["zstd", "-dq", stored[type_], "-o", streams[-1]], check=True)
    return source, streams


def documented(first_words: str) -> str:
    """A command of the page on the format, as it stands there."""
    (line,) = [line for line in (PROJECT / "docs" / "format.md").read_text().splitlines() if line.startswith(first_words)]
    return line


@pytest.mark.parametrize("program", ["tar", pytest.param("bsdtar", marks=pytest.mark.skipif(not which("bsdtar"), reason="needs bsdtar"))])
def test_stock_tools_restore_a_chain_with_the_commands_of_the_page(tmp_path: Path, program: str) -> None:
    """A user's own folders `.kbackup` come back, but for the one at the top, which has another name in the archive."""
    source, streams = nested_folders_of_our_name(tmp_path, new_site(tmp_path, "None"))
    removes, extracts, target = documented("tar xOf ARCHIVE"), documented("tar xpf ARCHIVE"), tmp_path / "target"
    if program == "bsdtar":
        page = (PROJECT / "docs" / "format.md").read_text()
        extracts = "bsdtar xpf ARCHIVE " + page.partition("bsdtar has no such option, and takes\n`")[2].partition("`")[0]
    target.mkdir()
    for number, stream in enumerate(streams):
        for command in [removes, extracts] if number else [extracts]:
            run_there = ["bash", "-eo", "pipefail", "-c", command.replace("ARCHIVE", str(stream))]
            subprocess.run(run_there, cwd=target, check=True)
    files = {path.relative_to(source): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    assert len(files) == 5
    assert {path.relative_to(target): path.read_bytes() for path in target.rglob("*") if path.is_file()} == files


def test_a_part_of_the_tree(volume_site: Site, identity: Path, source: Path, tmp_path: Path) -> None:
    """A folder brings what is in it and the folders above; a hard link's other name brings the content."""
    archive, target = volume_site.backup(source).archive, tmp_path / "target"
    said("restore", copy_of(volume_site), archive, target, "-i", identity, "--include", "deep/n*", "--include", "empty folder/*")
    whole, found = facts(source), facts(target)
    long = b"n" * 200
    folders = [b".", b"deep", b"deep/" + long, b"deep/" + long + b"/" + long, b"deep/" + b"/".join([long] * 3), b"empty folder"]
    files = [b"deep/" + b"/".join([long] * 3) + b"/file", b"empty folder/so not empty"]
    assert {name: found[name] for name in [*folders, *files]} == {name: whole[name] for name in [*folders, *files]}
    assert found.pop(b"empty folder/same") == whole[b"empty folder/same"][:-1]
    assert found.keys() == {*folders, *files}
    assert "nothing matches" in refused("restore", copy_of(volume_site), archive, tmp_path / "none", "-i", identity, "--include", "x")


@root_only
def test_who_is_not_root_gets_the_content_and_is_told_what_is_not_set(
    volume_site: Site, identity: Path, source: Path, tmp_path: Path
) -> None:
    archive, target = volume_site.backup(source).archive, tmp_path / "target"
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", "--no-preserve=mode,ownership", copy_of(volume_site), copy], check=True)
    identity.chmod(0o644)
    target.mkdir()
    os.chown(target, 65533, 65533)
    words = ["restore", copy, archive, target, "-i", identity]
    done = subprocess.run([sys.executable, "-P", "-c", AS_SOMEBODY, READER, *words], capture_output=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert b"paths lack their owners" in done.stderr
    whole, found = facts(source), facts(target)
    assert {name: (fact[0], fact[4], fact[5]) for name, fact in found.items()} == {
        name: (fact[0], fact[4], fact[5]) for name, fact in whole.items()
    }
    assert found[b"setuid"][1] == 0o755, "a program must not run as its wrong owner"


MODE, XATTRS, ONE_FILE = 1, 6, 7
"""Places in what `facts` says of a path."""
PATCHED = """
import errno, os, runpy, sys

def refuses(number, when=lambda *arguments: True, call=None):
    def refusing(*arguments, **how):
        if when(*arguments):
            raise OSError(number, os.strerror(number))
        return call(*arguments, **how)
    return refusing

PATCHES
sys.argv = sys.argv[1:]
sys.exit(runpy.run_path(sys.argv[0])["main"]())
"""
NO_XATTRS = "os.listxattr = os.setxattr = os.removexattr = refuses(errno.EOPNOTSUPP)"
NO_LINKS = "os.link = refuses(errno.EPERM)"
PLAIN_MODES = "os.chmod = refuses(errno.EPERM, lambda path, mode: mode > 0o777, os.chmod)"
NO_SYMLINKS = "os.symlink = os.mkfifo = refuses(errno.EPERM)"
NO_ACLS = "os.setxattr = refuses(errno.EOPNOTSUPP, lambda path, name, value: name.startswith(b'system.posix_acl'), os.setxattr)"


def restored_where(patches: str, site: Site, identity: Path, archive: str, target: Path) -> str:
    """Restores where the system refuses something; what it said on standard error."""
    words = ["restore", copy_of(site), archive, target, "-i", identity]
    program = PATCHED.replace("PATCHES", patches)
    done = subprocess.run([sys.executable, "-P", "-c", program, READER, *words], capture_output=True, check=False, cwd="/", text=True)
    assert done.returncode == 0, done.stderr
    assert not list(target.rglob("*.partial"))
    return done.stderr


@pytest.mark.parametrize(
    ("patches", "words", "lost"),
    [
        (NO_XATTRS, "paths lack extended attributes", {MODE, XATTRS}),
        (NO_LINKS, "1 paths are files of their own instead of hard links", {ONE_FILE}),
        (PLAIN_MODES, "2 paths lack their modes", {MODE}),
    ],
)
def test_a_target_that_cannot_hold_something_gets_all_the_rest(
    volume_site: Site, identity: Path, source: Path, tmp_path: Path, patches: str, words: str, lost: set[int]
) -> None:
    """As vfat and some network shares are. Without its ACL a file has another mode, too."""
    archive, target = volume_site.backup(source).archive, tmp_path / "target"
    told = restored_where(patches, volume_site, identity, archive, target)
    whole, found = facts(source), facts(target)
    assert found.keys() == whole.keys()
    pairs = [zip_longest(whole[name], found[name]) for name in whole]
    assert {number for pair in pairs for number, (one, other) in enumerate(pair) if one != other} == lost
    assert words in told


def test_a_target_without_symbolic_links_gets_all_the_rest(volume_site: Site, identity: Path, source: Path, tmp_path: Path) -> None:
    archive, target = volume_site.backup(source).archive, tmp_path / "target"
    told = restored_where(NO_SYMLINKS, volume_site, identity, archive, target)
    assert "3 paths are left out: symbolic links" in told
    assert "1 paths are left out: fifos" in told
    files = {name: fact for name, fact in facts(source).items() if stat.S_ISREG(fact[0]) or stat.S_ISDIR(fact[0])}
    assert facts(target) == files


def test_a_part_of_the_tree_where_no_links_can_be_made(volume_site: Site, identity: Path, tmp_path: Path) -> None:
    """Every further name is a copy of the same content, also of a file that has many names."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "a").write_bytes(os.urandom(100_000))
    for name in "bcd":
        (source / name).hardlink_to(source / "a")
    archive = volume_site.backup(source).archive
    assert "3 paths are files of their own" in restored_where(NO_LINKS, volume_site, identity, archive, target)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == dict.fromkeys("abcd", (source / "a").read_bytes())


def test_without_its_acl_a_file_gives_its_group_no_more_than_before(
    volume_site: Site, identity: Path, source: Path, tmp_path: Path
) -> None:
    """The group's bits in a mode are the ACL's mask: here r-x, where the group may do nothing."""
    archive, target = volume_site.backup(source).archive, tmp_path / "target"
    assert stat.S_IMODE((source / "size 513").stat().st_mode) == 0o654
    assert "paths lack extended attributes" in restored_where(NO_ACLS, volume_site, identity, archive, target)
    assert stat.S_IMODE((target / "size 513").stat().st_mode) == 0o604


OPEN, READ = Files.open, Files.read
TIMES = count(1)


def fails_to_open(files: Files, name: bytes, folder: int) -> int:
    if name.startswith(b"closed"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return OPEN(files, name, folder)


def fails_to_read(files: Files, descriptor: int, target: memoryview) -> int:
    """Some files cannot be read to their end, one changes while it is read."""
    name = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))
    if name.startswith("bad"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    if name == "log":
        os.utime(descriptor, (next(TIMES),) * 2)  # two of the clock's own could be the same
    return READ(files, descriptor, target)


@pytest.fixture
def lacking(volume_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A backup of the product's that could not read all; its id."""
    source = tmp_path / "failing"
    (source / "etc").mkdir(parents=True)
    for name in ("etc/good", "etc/closed", "log", *(f"bad {number}" for number in range(25))):
        (source / name).write_bytes(b"content")
    (source / "etc" / "same").hardlink_to(source / "bad 0")
    monkeypatch.setattr(Files, "open", fails_to_open)
    monkeypatch.setattr(Files, "read", fails_to_read)
    result, _ = backup(volume_site.backup_order(), MountedSecrets(volume_site.secrets_dir), source, Cancel())
    return result.archive


def test_what_a_backup_could_not_read_is_told(volume_site: Site, identity: Path, tmp_path: Path, lacking: str) -> None:
    """By name, but no more than anybody reads; the exit code says that all that the backup holds is there, as the product's does."""
    root, target = copy_of(volume_site), tmp_path / "target"
    assert "PARTIAL" in said("list", root, "-i", identity)
    for command in (["verify", root], ["restore", root, lacking, target]):
        done = run(*command, "-i", identity)
        told = done.stderr.decode()
        assert done.returncode == 0, told
        assert told.count("could not be read to its end") == 21
        assert "... and 5 more that each could not be read to its end" in told
        assert "etc/closed is missing: it could not be read when it was backed up (Permission denied)" in told
        assert "log changed while it was backed up" in told
        assert "25 damaged, 1 unreadable, 1 changed" in told
    assert "good, but PARTIAL: 27 files" in said("verify", root, "-i", identity)
    assert (target / "bad 0").read_bytes() == bytes(7)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("etc/good", []),
        ("etc/closed", ["1 unreadable"]),
        ("etc/closed/below", ["1 unreadable"]),
        ("etc/same", ["etc/same could not be read to its end", "another name of bad 0", "1 damaged"]),
        ("etc", ["1 damaged, 1 unreadable"]),
        ("log", ["1 changed"]),
    ],
)
def test_of_a_part_is_told_what_that_part_lacks(
    volume_site: Site, identity: Path, tmp_path: Path, lacking: str, wanted: str, words: list[str]
) -> None:
    done = run("restore", copy_of(volume_site), lacking, tmp_path / "target", "-i", identity, "--include", wanted)
    told = done.stderr.decode()
    assert [word for word in words if word not in told] == []
    assert ("does not hold all" in told) == bool(words)
    assert done.returncode == ("closed" in wanted), "nothing matches what is missing"


def test_a_backup_of_a_running_database_is_told(volume_site: Site, identity: Path, plant: Path, tmp_path: Path) -> None:
    archive, root = volume_site.backup(plant).archive, copy_of(volume_site)
    found = manifest_of(volume_site, archive)
    rewritten(volume_site, found, index_of(volume_site, found), inconsistent_source=True)
    for command in (["verify", root], ["restore", root, archive, tmp_path / "target"]):
        assert b"was taken from the data folder of a running database" in run(*command, "-i", identity).stderr


def test_a_whole_backup_says_nothing_of_what_it_lacks(volume_site: Site, identity: Path, plant: Path, tmp_path: Path) -> None:
    archive, root = volume_site.backup(plant).archive, copy_of(volume_site)
    assert "PARTIAL" not in said("list", root, "-i", identity)
    for command in (["verify", root], ["restore", root, archive, tmp_path / "target"]):
        assert run(*command, "-i", identity).stderr == b""


def flip(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


def cut(data: bytes) -> bytes:
    return data[:-1]


@pytest.mark.parametrize("change", [flip, cut])
@pytest.mark.parametrize("suffix", ["age", "index", "manifest.json"])
def test_what_was_changed_is_refused_before_a_byte_is_written(
    volume_site: Site, identity: Path, plant: Path, tmp_path: Path, change: Callable[[bytes], bytes], suffix: str
) -> None:
    archive = volume_site.backup(plant).archive
    (path,) = (copy_of(volume_site) / "chains/daily").glob(f"*.{suffix}")
    path.write_bytes(change(path.read_bytes()))
    assert path.name in refused("verify", copy_of(volume_site), "-i", identity)
    assert path.name in refused("restore", copy_of(volume_site), archive, tmp_path / "target", "-i", identity)
    assert not (tmp_path / "target").exists()


def test_a_manifest_that_was_moved_or_forged_does_not_count(volume_site: Site, identity: Path, plant: Path) -> None:
    first, second = volume_site.backup(plant).archive, volume_site.backup(plant).archive
    chain = copy_of(volume_site) / "chains/daily"
    (one,), (other,) = chain.glob(f"*-{first}.manifest.json"), chain.glob(f"*-{second}.manifest.json")
    written = other.read_bytes()
    for forged, words in (
        (one.read_bytes(), "was moved or copied"),
        (written.replace(b'"seq": 2', b'"seq": 9'), "no valid signature"),
        (written.replace(b'"partial": false', b'"partial": trve '), "malformed"),
        (written.replace(b"plant-7", b"plant-8"), "was copied here"),
    ):
        assert forged != written
        other.write_bytes(forged)
        assert words in said("list", copy_of(volume_site), "-i", identity)
        assert "BAD" in refused("verify", copy_of(volume_site), "-i", identity)
    other.write_bytes(written)
    assert "DOES NOT COUNT" not in said("list", copy_of(volume_site), "-i", identity)


def test_rubbish_that_somebody_adds_hides_nothing(volume_site: Site, identity: Path, plant: Path, tmp_path: Path) -> None:
    archive, root = volume_site.backup(plant).archive, copy_of(volume_site)
    repo = (root / "repo.json").read_bytes()
    (root / "generations").mkdir()
    rubbish = {
        "generations/2": repo,
        f"chains/daily/20991231t235959z-{archive}.manifest.json": bytes(3 << 20),
        "chains/daily/latest.manifest.json": b"{}",
        "writers/0123456789abcdef": repo,
    }
    for name, body in rubbish.items():
        (root / name).write_bytes(body)
    (root / "chains/daily/20991231t235959z-0123456789abcdef.manifest.json").mkdir()
    listed = said("list", root, "-i", identity)
    assert listed.count("DOES NOT COUNT") == 3
    assert f"{archive}  daily  1  Full" in listed
    checked = refused("verify", root, "-i", identity)
    assert (checked.count("BAD"), checked.count("good")) == (3, 1)
    said("restore", root, archive, tmp_path / "target", "-i", identity)
    assert facts(tmp_path / "target") == facts(plant)


def test_a_writer_whom_the_root_did_not_admit_does_not_count(volume_site: Site, identity: Path, plant: Path) -> None:
    """Also where another repository's root did."""
    archive = volume_site.backup(plant).archive
    root = copy_of(volume_site)
    repo = (root / "repo.json").read_bytes()
    name = repo.partition(b'"root": "')[2][:64]
    (root / "repo.json").write_bytes(repo.replace(name, b"ab" * 32))
    assert "are not those of repo.json" in refused("verify", root, "-i", identity)
    assert "whom nobody admitted" in said("list", root)
    assert archive in said("list", root)


def test_a_renewed_identity_opens_what_was_before_and_the_old_one_nothing_new(
    volume_site: Site, identity: Path, plant: Path, tmp_path: Path
) -> None:
    site, trust = volume_site, volume_site.trust
    assert trust is not None
    before = site.backup(plant).archive
    repository = opened(site)
    assert repository.identity is not None
    renewed = access.renew(
        repository.store, repository.record, NAMESPACE, repository.identity, None, [site.person.recipient],
        fingerprint=trust.fingerprint, now=datetime.now(UTC),
    )  # fmt: skip
    (root, *_), new = [copy_of(site)], tmp_path / "new"
    (_, key_file) = sorted((root / "keys").glob("*.recipients"), key=lambda path: path.stat().st_mtime_ns)
    new.write_text(said("identity", "-i", tmp_path / "person", key_file))
    site.trust = Trust(repository_id=trust.repository_id, fingerprint=renewed.fingerprint, recipient=renewed.record.recipient)
    after = site.backup(plant).archive
    said("verify", root, "-i", new, "--fingerprint", renewed.fingerprint)
    for id_ in (before, after):
        said("restore", root, id_, tmp_path / id_, "-i", new)
        assert facts(tmp_path / id_) == facts(plant)
    said("restore", root, before, tmp_path / "again", "-i", identity, "--fingerprint", trust.fingerprint)
    assert "DOES NOT COUNT" in said("list", root, "-i", identity)
    assert "names a cipher, a recipient" in refused("restore", root, after, tmp_path / "never", "-i", identity)
    (generation,) = (root / "generations").iterdir()
    generation.write_bytes(generation.read_bytes().replace(b'"number": 2', b'"number": 3'))
    assert "are not those of repo.json" in refused("list", root, "-i", new)


def test_another_key_is_refused(volume_site: Site, plant: Path, tmp_path: Path) -> None:
    archive = volume_site.backup(plant).archive
    (tmp_path / "person").write_text(volume_site.person.text)
    root = copy_of(volume_site)
    for command in (["list", root], ["verify", root], ["restore", root, archive, tmp_path / "target"]):
        assert "are not those of repo.json" in refused(*command, "-i", tmp_path / "person")
    (stored,) = (root / "chains/daily").glob("*.age")
    assert "this key does not open" in refused("decrypt", stored, "-i", tmp_path / "person")
    assert "its identity is needed" in refused("restore", root, archive, tmp_path / "target")
    assert "are not those of repo.json" in refused("list", root, "--fingerprint", "0" * 64)


EVIL = [
    (b'"path":"inner/file"', b'"path":"../outside"', "leads out of its folder"),
    (b'"path":"inner/file"', b'"path":"/outside"', "leads out of its folder"),
    (b'"path":"inner/file"', b'"path":"inner/../../outside"', "leads out of its folder"),
    (b'"path":"inner/file"', b'"path":""', "leads out of its folder"),
    (b'"path":"inner/file"', b'"path":"link/outside"', "File exists"),
    (b'"kind":"f"', b'"kind":"x"', "no restore can follow"),
    (b'"members":4', b'"members":5', "as many lines as it says"),
    (b'{"end"', b'{"no end"', "cut off"),
    (b'"version":1', b'"version":2', "no index of version 1"),
    (b'"archive":0', b'"archive":7', "malformed"),
    (b'"sha256":"', b'"sha256":"0', "is not what the index says"),
]


@pytest.mark.parametrize(("what", "instead", "words"), EVIL)
def test_an_index_of_an_evil_writer_leads_nowhere(
    volume_site: Site, identity: Path, tmp_path: Path, what: bytes, instead: bytes, words: str
) -> None:
    """Signed by an admitted one: still nothing is written outside of the target, nor through a link in it."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "file").write_bytes(b"content")
    (source / "link").symlink_to(tmp_path)
    archive = volume_site.backup(source).archive
    with_another_index(volume_site, archive, lambda rows: rows.replace(what, instead))
    before = {path for path in tmp_path.rglob("*") if target not in path.parents and path != target}
    assert words in refused("restore", copy_of(volume_site), archive, target, "-i", identity)
    assert {path for path in tmp_path.rglob("*") if target not in path.parents and path != target} == before
    assert not list(target.rglob("*.partial"))
    assert not (target / "inner" / "file").exists()


def grown(site: Site, tmp_path: Path) -> tuple[list[str], list[Path]]:
    """A chain of three with a delta, a new mode, a deletion and a change of kind; and what each of its trees was."""
    tree, ids, trees = tmp_path / "tree", [], []
    (tree / "inner").mkdir(parents=True)
    (tree / "disk.img").write_bytes(os.urandom(5_300_000))
    (tree / "inner" / "same").write_bytes(b"same" * 1000)
    (tree / "inner" / "gone").write_bytes(b"gone")
    (tree / "becomes").write_bytes(b"a file")
    for step in range(3):
        if step:
            with open(tree / "disk.img", "r+b") as file:
                file.write(b"step %d" % step)
            (tree / "inner" / f"new {step}").write_bytes(os.urandom(1000 * step))
            (tree / "inner" / "same").chmod(0o600 + step)
        if step == 1:
            (tree / "inner" / "gone").unlink()
            (tree / "becomes").unlink()
            (tree / "becomes").mkdir()
        ids.append(site.backup(tree).archive)
        trees.append(tmp_path / f"as it was {step}")
        subprocess.run(["cp", "-a", tree, trees[-1]], check=True)
    return ids, trees


def test_every_backup_of_a_chain_comes_back(volume_site: Site, identity: Path, tmp_path: Path) -> None:
    ids, trees = grown(volume_site, tmp_path)
    chained(volume_site, ids, deltas=[b"disk.img"])
    said("verify", copy_of(volume_site), "-i", identity)
    for id_, tree in zip(ids, trees, strict=True):
        said("restore", copy_of(volume_site), id_, tmp_path / id_, "-i", identity)
        assert facts(tmp_path / id_) == facts(tree)
    said("restore", copy_of(volume_site), ids[2], tmp_path / "part", "-i", identity, "--include", "disk.img")
    assert (tmp_path / "part" / "disk.img").read_bytes() == (trees[2] / "disk.img").read_bytes()


def test_every_backup_of_a_chain_that_the_product_made_comes_back(volume_site: Site, identity: Path, tmp_path: Path) -> None:
    """Deltas on deltas, holes that move, deletions, changed kinds, new attributes, names of one file; Incremental and Differential."""
    tree, ids, trees = tmp_path / "tree", [], []
    odd_tree(tree)
    (tree / "disk.img").write_bytes(os.urandom(9 << 20))
    with open(tree / "sparse.img", "wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(40 << 20)
    for step, type_ in enumerate(("Full", "Incremental", "Incremental", "Differential", "Incremental")):
        if step:
            for name, at in (("disk.img", step << 20), ("sparse.img", 9 * step << 20)):
                with open(tree / name, "r+b") as file:
                    file.seek(at)
                    file.write(b"step %d" % step * 5000)
            (tree / "secret").chmod(0o600 + step)
            os.setxattr(tree / "size 513", "user.step", b"%d" % step)
            (tree / f"size {[0, 1, 511, 512, 4096][step]}").unlink()
            (tree / "empty folder" / f"name {step}").hardlink_to(tree / "a")
            os.utime(tree / "deep", ns=(0, step))
        ids.append(volume_site.backup(tree, type=type_).archive)
        trees.append(tmp_path / f"as it was {step}")
        subprocess.run(["cp", "-a", tree, trees[-1]], check=True)
    types = [manifest_of(volume_site, id_).type for id_ in ids]
    assert types == ["Full", "Incremental", "Incremental", "Differential", "Incremental"]
    said("verify", copy_of(volume_site), "-i", identity)
    for id_, was in zip(ids, trees, strict=True):
        said("restore", copy_of(volume_site), id_, tmp_path / id_, "-i", identity)
        assert facts(tmp_path / id_) == facts(was)
    stored = {id_: manifest_of(volume_site, id_).archive.size for id_ in ids}
    assert max(stored[id_] for id_ in ids[1:]) < 2 << 20 < stored[ids[0]], "increments hold what is new"


def test_a_chain_with_a_member_that_is_gone_damaged_or_another_one_is_refused(volume_site: Site, identity: Path, tmp_path: Path) -> None:
    ids, _ = grown(volume_site, tmp_path)
    chained(volume_site, ids, deltas=[b"disk.img"])
    root, place = copy_of(volume_site), volume_site.place
    words = ["restore", root, ids[2], tmp_path / "target", "-i", identity]
    first = manifest_of(volume_site, ids[0])
    for key, change, said_ in (
        (first.member.manifest, None, "is missing"),
        (first.archive_key, flip, "is not what its manifest signs"),
        (first.archive_key, None, "No such file"),
    ):
        whole = place.read(key)
        place.remove(key)
        if change is not None:
            place.put(key, change(whole))
        assert said_ in refused(*words)
        assert not (tmp_path / "target").exists()
        place.put(key, whole)
    with_another_index(volume_site, ids[0], lambda rows: rows)
    assert "was replaced" in refused(*words)


def test_holes_stay_holes(volume_site: Site, identity: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    with open(source / "disk.img", "wb") as file:
        for at in (0, 10 << 20, 40 << 20):
            file.seek(at)
            file.write(os.urandom(70_000))
        file.truncate(64 << 20)
    with open(source / "empty.img", "wb") as file:
        file.truncate(1 << 30)
    archive = volume_site.backup(source).archive
    said("restore", copy_of(volume_site), archive, target, "-i", identity)
    assert facts(target) == facts(source)
    for name in ("disk.img", "empty.img"):
        assert (target / name).stat().st_blocks <= (source / name).stat().st_blocks + 16


def test_a_target_that_is_not_empty_is_left_as_it_is(volume_site: Site, identity: Path, plant: Path, tmp_path: Path) -> None:
    archive, target = volume_site.backup(plant).archive, tmp_path / "target"
    target.mkdir()
    (target / "firmware.bin").write_bytes(b"mine")
    assert "is not empty" in refused("restore", copy_of(volume_site), archive, target, "-i", identity)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"firmware.bin": b"mine"}


def test_it_stands_alone_and_is_of_a_python_that_old_systems_have() -> None:
    tree = ast.parse(READER.read_text(), feature_version=(3, 9))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else name.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert imported - sys.stdlib_module_names == {"cryptography", "zstandard"}
