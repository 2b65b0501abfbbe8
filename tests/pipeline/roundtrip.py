"""Packs trees into files and back, and says what is in a tree, for the pipeline's tests."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from iot_backup.crypto.container import Opener, opener, sealer
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.ranged import Fetch, RangedReader
from iot_backup.repository.reading import Pull
from iot_backup.worker.compression import FRAME_SIZE, Decompressed
from iot_backup.worker.contents import Files
from iot_backup.worker.extract import Rules
from iot_backup.worker.index import Row
from iot_backup.worker.index_reader import IndexReader
from iot_backup.worker.packing import Destination, Packed, pack
from iot_backup.worker.room import check_room
from iot_backup.worker.selection import EVERYTHING, Selection
from iot_backup.worker.unpacking import Source, Unpacked, unpack
from iot_backup.worker.xattrs import is_kept

IDENTITY = Identity(b"\x42" * 32)


@dataclass
class Backup:
    """One archive and its index, in memory."""

    archive: bytes
    index: bytes
    packed: Packed
    cipher: str
    compressed: bool


def back_up(
    source: Path,
    *,
    cipher: str = "Age",
    level: int | None = 1,
    selection: Selection = EVERYTHING,
    one_file_system: bool = False,
    files: Files | None = None,
) -> Backup:
    archive, index = bytearray(), bytearray()
    recipient = None if cipher == "None" else IDENTITY.recipient
    root = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    try:
        packed = pack(
            root,
            Destination(sealer(recipient, cipher), collecting(archive)),
            Destination(sealer(recipient, cipher), collecting(index)),
            archives=["0123456789abcdef"],
            level=level,
            stop=threading.Event(),
            selection=selection,
            one_file_system=one_file_system,
            files=files,
        )
    finally:
        os.close(root)
    return Backup(bytes(archive), bytes(index), packed, cipher, level is not None)


def collecting(into: bytearray):
    def sink(chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            into.extend(chunk)

    return sink


def bring_back(
    backup: Backup,
    target: Path,
    *,
    devices: bool = False,
    stop: threading.Event | None = None,
    rules: Rules | None = None,
    before: Sequence[Backup] = (),
    needed: Collection[int] | None = None,
) -> Unpacked:
    """`before`: the members of the chain whose archives the index names before its own."""
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    rules = rules or Rules(devices=devices)
    try:
        check_room(root, backup.packed.counts.source_bytes, backup.packed.counts.entries)
        index = index_of(backup, rules.mirror.note if rules.mirror else None)
        return unpack(index, [source(one) for one in [*before, backup]], root, rules, stop or threading.Event(), needed)
    finally:
        os.close(root)


def source(backup: Backup, fetch: Fetch | None = None) -> Source:
    stored = backup.packed.archive
    return Source(
        lambda: RangedReader(fetch or slices(backup.archive), stored.size, backup.cipher, IDENTITY, stored.header_sha256), backup.compressed
    )


def slices(data: bytes) -> Fetch:
    """Reads ranges as a store does."""
    return lambda start, length: data[start : start + length]


def index_of(backup: Backup, noted: Callable[[str, bytes], None] | None = None) -> IndexReader:
    return IndexReader(Decompressed(plain_index(backup)), noted)


def pieces(data: bytes, size: int = 100_000) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def plain_index(backup: Backup) -> Opener:
    return opener(Pull(pieces(backup.index)), backup.cipher, IDENTITY, backup.packed.index.header_sha256)


def rows(backup: Backup) -> list[Row]:
    return list(index_of(backup))


def index_text(backup: Backup) -> bytes:
    return Decompressed(plain_index(backup)).readall()


def stock_restore(backup: Backup, target: Path, scratch: Path) -> None:
    """`age -d | zstd -d | tar x`, nothing of ours."""
    (scratch / "key").write_text(IDENTITY.text + "\n")
    (scratch / "archive").write_bytes(backup.archive)
    command = (
        "age -d -i key archive | zstd -dq | tar x --same-permissions --same-owner --xattrs --xattrs-include='*' --acls --warning=all -C "
    )
    command += str(target)
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=scratch, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def facts(root: Path, *, whole_seconds: bool = False) -> dict[bytes, tuple[object, ...]]:
    """Everything that must come back of each path: kind, mode, owner, time, content or target, extended attributes, and which names are
    one file."""
    found: dict[bytes, tuple[object, ...]] = {}
    names: dict[int, list[bytes]] = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for path in [folder, *(os.path.join(folder, n) for n in files + [f for f in folders if os.path.islink(os.path.join(folder, f))])]:
            st = os.lstat(path)
            key = os.path.relpath(path, top)
            found[key] = _facts(path, st, whole_seconds)
            if stat.S_ISREG(st.st_mode) and st.st_nlink > 1:
                names.setdefault(st.st_ino, []).append(key)
    for same in names.values():
        for key in same:
            found[key] += (tuple(sorted(same)),)
    return found


def _facts(path: bytes, st: os.stat_result, whole_seconds: bool) -> tuple[object, ...]:
    content: object = None
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as file:
            content = hashlib.sha256(file.read()).hexdigest()
    elif stat.S_ISLNK(st.st_mode):
        content = os.readlink(path)
    elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        content = st.st_rdev
    time = st.st_mtime_ns // 10**9 if whole_seconds else st.st_mtime_ns
    return stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, time, content, xattrs(path)


def xattrs(path: bytes | Path) -> dict[str, bytes]:
    """Those that a backup keeps."""
    kept = [name for name in os.listxattr(path, follow_symlinks=False) if is_kept(os.fsencode(name))]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in sorted(kept)}


def acl(*entries: tuple[str, int | None, int]) -> bytes:
    """A POSIX ACL as Linux keeps it, from (`user`, `group`, `mask` or `other`; id; permissions)."""
    tags = {("user", False): 1, ("user", True): 2, ("group", False): 4, ("group", True): 8, ("mask", False): 16, ("other", False): 32}
    packed = [
        struct.pack("<HHI", tags[what, number is not None], bits, 2**32 - 1 if number is None else number) for what, number, bits in entries
    ]
    return struct.pack("<I", 2) + b"".join(packed)


ACL = acl(("user", None, 6), ("user", 1234, 4), ("group", None, 0), ("group", 77, 7), ("mask", None, 5), ("other", None, 4))
DEFAULT_ACL = acl(("user", None, 7), ("user", 1234, 7), ("group", None, 5), ("mask", None, 7), ("other", None, 0))
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
"""cap_net_bind_service=ep"""


def odd_tree(root: Path) -> None:
    """One of everything."""
    long = "n" * 200
    (root / "empty folder").mkdir(parents=True)
    (root / "deep" / long / long / long).mkdir(parents=True)
    (root / "deep" / long / long / long / "file").write_bytes(b"deep")
    for size in (0, 1, 511, 512, 513, 4096, FRAME_SIZE - 512, FRAME_SIZE - 1024, FRAME_SIZE + 1, 9_000_001):
        (root / f"size {size}").write_bytes(os.urandom(size))
    with open(os.fsencode(root) + b"/not utf-8 \xff\xfe\n", "wb") as file:
        file.write(b"name")
    with open(os.fsencode(root) + b"/deep/\xe9" + b"x" * 150, "wb") as file:
        file.write(b"long name")
    for name in ("\n", ".\n", "..\n"):
        (root / "deep" / name).write_bytes(b"name")
    (root / "a").write_bytes(b"linked")
    os.link(root / "a", root / "empty folder" / "same")
    (root / "empty folder" / "so not empty").symlink_to("../a")
    (root / "dangling").symlink_to("/nowhere/" + "x" * 200)
    (root / "folder link").symlink_to("deep")
    os.mkfifo(root / "fifo", 0o640)
    (root / "setuid").write_bytes(b"s")
    os.chmod(root / "setuid", 0o6755)
    (root / "secret").write_bytes(b"s")
    os.chmod(root / "secret", 0o400)
    os.chmod(root / "deep", 0o2750)
    (root / ".kbackup").mkdir()
    (root / ".kbackup" / "deleted").write_bytes(b"mine")
    (root / ".kbackup~").write_bytes(b"also mine")
    (root / "-rf").write_bytes(b"dash")
    os.setxattr(root / "secret", "user.note", b"\0 binary =\n\xff")
    os.setxattr(root / "secret", "user.per%cent=\udcff", b"")
    os.setxattr(root / "deep" / long, "user.on a folder", b"v" * 1000)
    os.setxattr(root / "size 513", "system.posix_acl_access", ACL)
    os.setxattr(root / "empty folder", "system.posix_acl_default", DEFAULT_ACL)
    os.setxattr(root, "user.root", b"of the tree")
    if os.geteuid() == 0:
        os.setxattr(root / "size 512", "security.capability", CAPABILITY)
        os.setxattr(root / "size 511", "trusted.ours", b"seen by root")
        os.setxattr(root / "dangling", "trusted.link", b"on a link", follow_symlinks=False)
        os.setxattr(root / "fifo", "trusted.fifo", b"on a fifo")
        os.chown(root / "a", 4_000_000_000, 3_000_000)
        os.chown(root / "empty folder", 1000, 2000)
        os.chown(root / "dangling", 1, 2, follow_symlinks=False)
        os.chown(root, 7, 8)
    os.utime(root / "secret", ns=(0, -5_500_000_000))
    os.utime(root / "setuid", ns=(0, 1_234_567_890_123_456_789))
    os.utime(root / "empty folder", ns=(0, 987_654_321_987_654_321))
    os.utime(root, ns=(0, 1_111_111_111_111_111_111))
