#!/usr/bin/env python3
"""Lists, verifies and restores backups of iot-backup-operator, without it: this one file, Python 3.9 on Linux, and
`pip install cryptography zstandard`. It follows docs/format.md and docs/store.md, and shares no code with the product.

    restore.py identity ROOT/keys/KEYFILE.scrypt > IDENTITY                    opens a key file: asks for the passphrase,
    restore.py identity -i PERSON ROOT/keys/KEYFILE.recipients > IDENTITY      or takes the age identity of a person
    restore.py list ROOT                                                       ROOT is a copy of .../ns/<namespace>/
    restore.py verify ROOT [BACKUP] -i IDENTITY                                reads everything, writes nothing
    restore.py restore ROOT BACKUP TARGET -i IDENTITY [--include 'GLOB']       into an empty folder, all of it or a part
    restore.py decrypt -i IDENTITY ARCHIVE | zstd -d | tar xp                  ARCHIVE is .age or .aes256, of a Full

BACKUP is an id: the 16 hex digits in its objects' names. A repository without encryption needs no identity. The passphrase
may also come from the environment (BACKUP_PASSPHRASE) or, where that is no terminal, from the first line of standard input.

Ends with 0 if all that the backup holds is good, or was restored; with 1 if not; with 2 if the command line is wrong. What the backup
itself lacks (files that could not be read when it was made, or changed meanwhile), and what the target cannot hold (owners, links),
is told on standard error, and changes nothing in that: `list` marks such backups as PARTIAL.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import errno
import fnmatch
import getpass
import glob
import hashlib
import hmac
import io
import json
import os
import re
import secrets
import stat
import struct
import sys
import weakref
from bisect import bisect_right
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from itertools import accumulate
from typing import Any, Callable, NamedTuple, NoReturn, Protocol

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CHUNK, TAG = 65536, 16  # of age's payload: plaintext bytes of every chunk but the last, and of its authentication tag
PIECE = 1 << 20  # bytes of content in memory at once, beside one frame of each archive
MOST_FRAME = 2 << 20
MOST_HEADER = 16384
CIPHERS: dict[bytes, Any] = {b"age-encryption.org/v1": ChaCha20Poly1305, b"iot-backup-operator/aes-256-gcm/v1": AESGCM}
SUFFIXES = {"Age": "tar.zst.age", "AES256": "tar.zst.aes256", "None": "tar.zst"}
LABEL = b"iot-backup-operator/v1/"


class Refused(Exception):
    """Something is not as it was written, or not as it was asked for. The message is for people."""


TOLD = 20  # paths of each kind by name; of more only the number
MALFORMED = (Refused, OSError, AttributeError, LookupError, OverflowError, TypeError, ValueError)


def told(error: Exception) -> str:
    return str(error) if isinstance(error, (Refused, OSError)) else f"it is malformed: {error!r}"


def refuse(why: str) -> NoReturn:
    raise Refused(why)


# ---- Keys ------------------------------------------------------------------------------------------------------------


def hkdf(secret: bytes, salt: bytes | None, label: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt, label).derive(secret)


def bech32(text: str, prefix: str) -> bytes:
    """The 32 bytes of `age1...` or `AGE-SECRET-KEY-1...` (BIP 173, of any length)."""
    alphabet, check = "qpzry9x8gf2tvdw0s3jn54khce6mua7l", 1
    found, _, payload = text.lower().rpartition("1")
    if found != prefix or text not in (text.lower(), text.upper()) or any(c not in alphabet for c in payload):
        refuse(f"this is no key of the kind {prefix}1...")
    values = [alphabet.index(c) for c in payload]
    for value in [ord(c) >> 5 for c in found] + [0] + [ord(c) & 31 for c in found] + values:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    number = int("".join(f"{value:05b}" for value in values[:-6]) or "0", 2)
    if check != 1 or len(values) != 52 + 6 or number & 0xF:
        refuse(f"a key {prefix}1... was mistyped or cut: its checksum or length is wrong")
    return (number >> 4).to_bytes(32, "big")


class Identity:
    """An age identity file: a person's, or the repository's with those of its earlier generations behind it."""

    def __init__(self, text: str) -> None:
        lines = re.findall(r"^\s*(AGE-SECRET-KEY-1\S+)\s*$", text, re.MULTILINE)
        secrets_ = [bech32(line, "age-secret-key-") for line in lines] or refuse("the identity file has no line AGE-SECRET-KEY-1...")
        self.keys = [X25519PrivateKey.from_private_bytes(secret) for secret in secrets_]
        self.public = self.keys[0].public_key().public_bytes_raw()
        self.root = Ed25519PrivateKey.from_private_bytes(hkdf(secrets_[0], None, LABEL + b"root")).public_key().public_bytes_raw()

    def file_key(self, stanza: list[bytes], body: bytes) -> bytes | None:
        """What a stanza of the header holds, if it is for us."""
        if stanza[0] != b"X25519":
            return None
        share = unpadded(stanza[1]) if len(stanza) == 2 else b""
        if len(share) != 32 or len(body) != 32:
            refuse("the file's header is malformed: it was damaged")
        for key in self.keys:
            shared = key.exchange(X25519PublicKey.from_public_bytes(share))
            wrapping = hkdf(shared, share + key.public_key().public_bytes_raw(), b"age-encryption.org/v1/X25519")
            if file_key := opened(wrapping, body):
                return file_key
        return None


class Passphrase:
    """Opens a key file `.scrypt`."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def file_key(self, stanza: list[bytes], body: bytes) -> bytes | None:
        if stanza[0] != b"scrypt":
            return None
        if len(stanza) != 3 or not re.fullmatch(rb"[1-9][0-9]?", stanza[2]) or int(stanza[2]) > 20:
            refuse("the key file's header is malformed, or asks for more work than any of ours")
        salt, n = b"age-encryption.org/v1/scrypt" + unpadded(stanza[1]), 1 << int(stanza[2])
        return opened(hashlib.scrypt(self.text, salt=salt, n=n, r=8, p=1, maxmem=1024 * n + (64 << 20), dklen=32), body)


def opened(key: bytes, body: bytes) -> bytes | None:
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), body, None)
    except InvalidTag:
        return None


def unpadded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        refuse("the file's header is malformed: it was damaged")


# ---- Stored objects --------------------------------------------------------------------------------------------------


class Content(Protocol):
    """What has a size, and gives any of its bytes."""

    size: int

    def read(self, position: int, length: int) -> bytes: ...


class Plain:
    """A file as it is."""

    def __init__(self, path: str) -> None:
        self.name, self.descriptor = path, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self.descriptor).st_size
        weakref.finalize(self, os.close, self.descriptor)

    def read(self, position: int, length: int) -> bytes:
        data = os.pread(self.descriptor, length, position)
        return data if len(data) == length else refuse(f"{self.name} ends before byte {position + length}: it was cut off")


class Sealed:
    """The content of an age file, or of one with AES-256-GCM in it. Every byte is authenticated, and that none was cut off."""

    def __init__(self, path: str, key: Identity | Passphrase) -> None:
        self.stored = Plain(path)
        begin = self.stored.read(0, min(self.stored.size, MOST_HEADER + 16))
        head = re.match(rb"([!-~]+)\n((?:-> [!-~ ]+\n(?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{0,63}\n)+)--- ([A-Za-z0-9+/]{43})\n", begin)
        if not head or head[1] not in CIPHERS:
            refuse(f"{path} is neither an age file nor one of ours, or its header is damaged")
        file_key = self._file_key(head[2], key)
        mac = hmac.new(hkdf(file_key, None, b"header"), head[0][:-45], hashlib.sha256).digest()
        if not hmac.compare_digest(mac, unpadded(head[3])):
            refuse(f"the header of {path} was changed after it was written")
        self.header = begin[: head.end() + 16]
        self.cipher = CIPHERS[head[1]](hkdf(file_key, self.header[-16:], b"payload"))
        payload = self.stored.size - len(self.header)
        self.chunks = max(1, -(-payload // (CHUNK + TAG)))
        self.size = payload - self.chunks * TAG
        if len(self.header) != head.end() + 16 or self.size < 0 or (self.size == (self.chunks - 1) * CHUNK and self.chunks > 1):
            refuse(f"{path} was cut off")
        self._chunk(self.chunks - 1)  # it alone is marked as the last

    def _file_key(self, stanzas: bytes, key: Identity | Passphrase) -> bytes:
        found = re.findall(rb"-> ([!-~ ]+)\n((?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{0,63})\n", stanzas)
        keys = [key.file_key(line.split(b" "), unpadded(body.replace(b"\n", b""))) for line, body in found]
        return next((k for k in keys if k), None) or refuse(f"this key does not open {self.stored.name}")

    def _chunk(self, number: int) -> bytes:
        nonce = struct.pack(">3xQ?", number, number == self.chunks - 1)
        begin = len(self.header) + number * (CHUNK + TAG)
        sealed = self.stored.read(begin, min(CHUNK + TAG, self.stored.size - begin))
        try:
            return bytes(self.cipher.decrypt(nonce, sealed, None))
        except InvalidTag:
            refuse(f"{self.stored.name} is damaged or cut off: the bytes from {begin} on are not the ones that were sealed")

    def read(self, position: int, length: int) -> bytes:
        if position + length > self.size:
            refuse(f"{self.stored.name} ends before byte {position + length} of its content")
        first, last = position // CHUNK, (position + length - 1) // CHUNK
        content = b"".join(self._chunk(number) for number in range(first, last + 1))
        return content[position - first * CHUNK :][:length]


class Frames:
    """An archive's tar stream, out of zstd frames: the table at the end says where each is."""

    def __init__(self, packed: Content, name: str) -> None:
        self.packed, self.name = packed, name
        count, flags, magic = struct.unpack("<IBI", packed.read(max(0, packed.size - 9), 9))
        if magic != 0x8F92EAB1 or flags or packed.size < 17 + 8 * count:
            refuse(f"{name} does not end with a table of its frames")
        table = packed.read(packed.size - 17 - 8 * count, 8 + 8 * count)
        sizes = list(struct.iter_unpack("<II", table[8:]))
        self.begins = [0, *accumulate(stored for stored, _ in sizes)]
        self.plain = [0, *accumulate(plain for _, plain in sizes)]
        if table[:8] != struct.pack("<II", 0x184D2A5E, 9 + 8 * count) or self.begins[-1] != packed.size - 17 - 8 * count:
            refuse(f"the table of the frames of {name} is malformed")
        self.size, self.held, self.frame = self.plain[-1], -1, b""

    def _load(self, number: int) -> None:
        stored = self.packed.read(self.begins[number], self.begins[number + 1] - self.begins[number])
        size = self.plain[number + 1] - self.plain[number]
        try:
            if size > MOST_FRAME or zstandard.frame_content_size(stored) != size:
                refuse(f"frame {number} of {self.name} has another size than its table says")
            self.held, self.frame = number, zstandard.ZstdDecompressor().decompress(stored)
        except zstandard.ZstdError as error:
            refuse(f"frame {number} of {self.name} cannot be decompressed: {error}")

    def read(self, position: int, length: int) -> bytes:
        found = b""
        while length:
            if not 0 <= position < self.size:
                refuse(f"{self.name} ends before byte {position} of its tar stream")
            number = bisect_right(self.plain, position) - 1
            if number != self.held:
                self._load(number)
            piece = self.frame[position - self.plain[number] :][:length]
            found, position, length = found + piece, position + len(piece), length - len(piece)
        return found


# ---- Index -----------------------------------------------------------------------------------------------------------


Row = dict[str, Any]
"""As docs/format.md has it, with path, link and xattrs as bytes."""
RARE = {"link": "", "links": 1, "sha256": "", "state": "", "device": [0, 0], "xattrs": {}, "parts": []}


def row_of(line: Row) -> Row:
    """A line of the index with all keys, and its names as bytes. Refused if its path leads out of the backup."""
    row = {**RARE, **line}
    row["path"], row["link"] = name_of(row["path"]), name_of(row["link"])
    row["xattrs"] = {name_of(name): base64.b64decode(value, validate=True) for name, value in row["xattrs"].items()}
    if row["path"] != b"." and re.search(rb"(\A|/)\.{0,2}(/|\Z)|\0", row["path"]):
        refuse(f"the index holds the path {row['path']!r}, which leads out of its folder")
    if row["kind"] not in "fdlhpcb" or (row["parts"] and sum(part[2] for part in row["parts"]) != row["size"]):
        refuse(f"the index holds a row that no restore can follow: {row['path']!r}")
    return row


def name_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


LACKS = {
    "damaged": "could not be read to its end when it was backed up: zeros stand for the rest",
    "unreadable": "is missing: it could not be read when it was backed up",
    "incomplete": "lacks extended attributes: they could not be read when it was backed up",
    "changed": "changed while it was backed up: it is as it was read",
}
"""Notes of the index that a person must know of."""


class Lacks:
    """What a backup does not hold as its source did: the first paths of each kind by name, and how many there are."""

    def __init__(self, globs: Collection[bytes] = ()) -> None:
        self.globs = globs
        self.first: dict[str, list[str]] = {what: [] for what in LACKS}
        self.counts = dict.fromkeys(LACKS, 0)

    def note(self, what: str, path: bytes, reason: str) -> None:
        below = what == "unreadable" and any(may_match_below(path, pattern) for pattern in self.globs)
        if what not in LACKS or not (chosen(path, self.globs) or below):
            return
        self.counts[what] += 1
        if self.counts[what] <= TOLD:
            self.first[what].append(f"{printable(os.fsdecode(path))} {LACKS[what]} ({printable(reason)})")

    def tell(self, backup: Backup) -> None:
        if backup.facts.get("inconsistentSource"):
            print(f"{backup.id} was taken from the data folder of a running database", file=sys.stderr)
        for what, count in self.counts.items():
            for line in self.first[what]:
                print(line, file=sys.stderr)
            if count > TOLD:
                print(f"... and {count - TOLD} more that each {LACKS[what].partition(':')[0]}", file=sys.stderr)
        if any(self.counts.values()):
            numbers = ", ".join(f"{count} {what}" for what, count in self.counts.items() if count)
            print(f"{backup.id} does not hold all of its source as it was: {numbers}", file=sys.stderr)


def printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


def chosen(path: bytes, globs: Collection[bytes]) -> bool:
    """Whether a path is wanted: a folder brings all that is in it."""
    return not globs or any(fnmatch.fnmatchcase(above, pattern) for above in upwards(path) for pattern in globs)


def may_match_below(folder: bytes, pattern: bytes) -> bool:
    """Whether a glob may be meant for what is in a folder: of one that could not be listed nobody knows what that is."""
    begin, literal = (b"" if folder == b"." else folder + b"/"), re.split(rb"[*?\[]", pattern)[0]
    return literal.startswith(begin) or (literal != pattern and begin.startswith(literal))


def upwards(path: bytes) -> Iterator[bytes]:
    """A path, and the folders it is in."""
    while path:
        yield path
        path = os.path.dirname(path)


class Index:
    """Rows in the order of the walk. What they say counts once the end was reached without a refusal."""

    def __init__(self, content: Content, lacks: Lacks | None = None) -> None:
        """`lacks` is told the notes, between the rows."""
        self.lacks = lacks
        packed = content.read(0, content.size)  # compressed some 60 bytes a path; its lines come one by one
        self.lines = io.BufferedReader(zstandard.ZstdDecompressor(max_window_size=8 << 20).stream_reader(packed, read_across_frames=True))
        first = self._line()
        if first.get("format") != "iot-backup-index" or first.get("version") != 1:
            refuse(f"this is no index of version 1: {first}")
        self.archives = [str(id_) for id_ in first.get("archives", ())]

    def __iter__(self) -> Iterator[Row]:
        members = notes = 0
        while "end" not in (line := self._line()):
            members, notes = members + ("kind" in line), notes + ("note" in line)
            if "note" in line and self.lacks:
                self.lacks.note(str(line["note"]), name_of(line["path"]), str(line.get("reason", "")))
            if "kind" in line:
                yield row_of(line)
        if (line["end"]["members"], line["end"]["notes"]) != (members, notes) or self.lines.read(1):
            refuse("the index does not hold as many lines as it says at its end")

    def _line(self) -> dict[str, Any]:
        try:
            text = self.lines.readline(4 << 20)
        except zstandard.ZstdError as error:
            refuse(f"the index cannot be decompressed: {error}")
        return dict(json.loads(text)) if text.endswith(b"\n") else refuse("the index ends in the middle: it was cut off")


# ---- Repository ------------------------------------------------------------------------------------------------------


class Backup(NamedTuple):
    """One backup, and what is wrong with its manifest, if anything."""

    stem: str
    """Path of its objects, up to the first dot of their names' ends."""
    facts: dict[str, Any]
    sha256: str
    problem: str

    @property
    def id(self) -> str:
        return self.stem[-16:]

    @property
    def archive(self) -> str:
        return f"{self.stem}.{str(self.facts['type']).lower()}.{SUFFIXES[self.facts['cipher']]}"


class Repository:
    """A copy of one namespace's repository. Whom it believes follows from the identity, or else from the fingerprint."""

    def __init__(self, root: str, identity: Identity | None, fingerprint: str | None) -> None:
        self.root, self.identity = root, identity
        self.writers: dict[str, dict[str, Any]] = {}
        data = self.read("repo.json")
        self.facts, _, _ = signed(data, "repo.json")
        for recipients, key, own in self._generations(data):
            if fingerprint in (None, own) and (not identity or not key or self._is_of(identity, recipients[-1], key)):
                self.recipients, self.key, self.fingerprint = recipients, key, own
        if not hasattr(self, "fingerprint"):
            refuse("identity or fingerprint are not those of repo.json: they belong to another repository, or repo.json was replaced")
        names = [os.path.relpath(path, root) for path in glob.iglob(os.path.join(glob.escape(root), "chains/*/*.manifest.json"))]
        self.backups = sorted(
            (self._backup(name) for name in names), key=lambda b: (b.facts.get("chain", ""), b.facts.get("seq", 0), b.stem)
        )

    def _generations(self, data: bytes) -> Iterator[tuple[list[str], str | None, str]]:
        """Recipients up to each generation of the identity, its root key and fingerprint; each is signed by the root before."""
        recipients, key, own = [self.facts["recipient"]], self.facts["root"], hashlib.sha256(data).hexdigest()
        yield recipients, key, own
        with suppress(*MALFORMED):  # whatever somebody put behind the last one
            while True:
                data = self.read(name := f"generations/{len(recipients) + 1}")
                facts, body, signature = signed(data, name)
                follows = (facts["repositoryId"], facts["number"], facts["previous"])
                if follows != (self.facts["repositoryId"], len(recipients) + 1, own) or not verified(key, b"generation", body, signature):
                    return
                recipients, key, own = [*recipients, facts["recipient"]], facts["root"], hashlib.sha256(data).hexdigest()
                yield recipients, key, own

    def _is_of(self, identity: Identity, recipient: str, key: str) -> bool:
        return bech32(recipient, "age") == identity.public and key == identity.root.hex()

    def read(self, key: str) -> bytes:
        """A small object."""
        whole = Plain(os.path.join(self.root, key))
        return whole.read(0, whole.size) if whole.size <= PIECE else refuse(f"{key} is too long to be what its name says")

    def _backup(self, key: str) -> Backup:
        stem = key[: -len(".manifest.json")]
        try:
            data = self.read(key)
            return Backup(stem, self._judged(key, data), hashlib.sha256(data).hexdigest(), "")
        except MALFORMED as error:
            return Backup(stem, {}, "", f"{key}: {told(error)}")

    def _judged(self, key: str, data: bytes) -> dict[str, Any]:
        """A manifest that an admitted writer signed for this very place."""
        facts, body, signature = signed(data, key)
        started = datetime.fromisoformat(facts["startTime"].replace("Z", "+00:00")).astimezone(timezone.utc)
        own = f"chains/{facts['chain']}/{started:%Y%m%dt%H%M%Sz}-{facts['id']}.manifest.json"
        writer = self._writer(facts["writer"])
        if facts["format"] != "iot-backup-operator/manifest/v1" or own != key or not re.fullmatch("[0-9a-f]{16}", facts["id"]):
            refuse(f"{key} says that it is {own}: it was moved or copied")
        if (facts["repositoryId"], facts["namespace"]) != (self.facts["repositoryId"], writer["namespace"]):
            refuse(f"{key} belongs to another repository: it was copied here")
        if not verified(writer["publicKey"], b"manifest", body, signature):
            refuse(f"{key} has no valid signature of writer {facts['writer']}: it was damaged or forged")
        sealed_to = dict(enumerate(self.recipients, 1)).get(facts["generation"], "nobody whom we know")
        if (facts["cipher"], facts["recipient"]) != (self.facts["cipher"], sealed_to) or not re.fullmatch("[A-Za-z]+", facts["type"]):
            refuse(f"{key} names a cipher, a recipient or a type that this repository does not have")
        return facts

    def _writer(self, id_: str) -> dict[str, Any]:
        """A document that admits this writer, signed by the root. Where there is none: the first writer's, signed by itself."""
        if id_ not in self.writers and re.fullmatch("[0-9a-f]{16}", id_):
            paths = glob.glob(os.path.join(glob.escape(self.root), f"writers/{id_}*")) if self.key else []
            for data in [str(self.facts.get("firstWriter")).encode(), *(self.read(os.path.relpath(path, self.root)) for path in paths)]:
                with suppress(*MALFORMED):
                    record, body, signature = signed(data, f"writers/{id_}")
                    names_it = hashlib.sha256(bytes.fromhex(record["publicKey"])).hexdigest()[:16] == record["keyId"] == id_
                    is_ours = record["repositoryId"] == self.facts["repositoryId"]
                    if names_it and is_ours and verified(self.key or record["publicKey"], b"writer", body, signature):
                        self.writers[id_] = record
        return self.writers.get(id_) or refuse(f"it is by writer {id_}, whom nobody admitted: no document of the root names that key")

    def find(self, wanted: str) -> Backup:
        found = sorted((b for b in self.backups if b.id == wanted), key=lambda b: b.problem)
        if not found or found[0].problem:
            refuse(found[0].problem if found else f"there is no backup {wanted}")
        return found[0]

    def ancestry(self, backup: Backup) -> list[Backup]:
        """The backup and all that it builds on, each with the manifest that the next one names."""
        found = [backup]
        while parent := found[-1].facts.get("parent"):
            named = [b for b in self.backups if not b.problem and b.id == parent["id"] and b.sha256 == parent["manifestSha256"]]
            if not named or named[0] in found:
                refuse(f"backup {found[-1].id} builds on {parent['id']}, which is missing, does not count, or was replaced")
            found.append(named[0])
        return found

    def content(self, path: str, cipher: str, expected: dict[str, Any]) -> Content:
        """An object of a backup, after all of it was compared with what the manifest signs."""
        whole, digest = Plain(os.path.join(self.root, path)), hashlib.sha256()
        for position in range(0, whole.size, PIECE):
            digest.update(whole.read(position, min(PIECE, whole.size - position)))
        if (whole.size, digest.hexdigest()) != (expected["size"], expected["sha256"]):
            refuse(f"{path} is not what its manifest signs: size {whole.size}, SHA-256 {digest.hexdigest()}. It was damaged or replaced")
        if cipher == "None":
            return whole
        content = Sealed(os.path.join(self.root, path), self.identity or refuse("the repository is encrypted: its identity is needed (-i)"))
        named = SUFFIXES[cipher].endswith("age") == content.header.startswith(b"age-")
        return content if named else refuse(f"{path} is sealed with another cipher than its manifest says")


def signed(data: bytes, what: str) -> tuple[dict[str, Any], bytes, bytes]:
    """A signed JSON document, the bytes that were signed, and the signature."""
    tail = re.fullmatch(rb'(.*,\n)  "signature": "([A-Za-z0-9+/]{86}==)"\n}\n', data, re.DOTALL)
    if not tail or base64.b64encode(base64.b64decode(tail[2])) != tail[2]:
        refuse(f"{what} does not end with a signature: it was cut off, damaged or edited")
    return dict(json.loads(data)), tail[1], base64.b64decode(tail[2])


def verified(public: str | None, purpose: bytes, body: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public or "")).verify(signature, LABEL + purpose + b"\0" + body)
    except (InvalidSignature, ValueError):
        return False
    return True


# ---- A backup's content ----------------------------------------------------------------------------------------------


class Tree:
    """The tree of one backup, out of its index and all archives that this refers to: those were compared with their manifests."""

    def __init__(self, repository: Repository, backup: Backup) -> None:
        self.backup = backup
        family = {member.id: member for member in repository.ancestry(backup)}
        self.archives: list[Content] = []
        self.index = repository.content(f"{backup.stem}.index", backup.facts["cipher"], backup.facts["index"])
        ids = Index(self.index).archives
        if not ids or ids[-1] != backup.id or not set(ids) <= set(family):
            refuse(f"the index of {backup.id} refers to archives that it does not build on")
        for member in (family[id_] for id_ in ids):
            content = repository.content(member.archive, member.facts["cipher"], member.facts["archive"])
            packed = member.facts["compression"]["algorithm"] == "Zstd"
            self.archives.append(Frames(content, member.archive) if packed else content)

    def rows(self, lacks: Lacks | None = None) -> Iterator[Row]:
        """Every path once. Not the first reading of a file that changed meanwhile: the next row is a second one."""
        return (row for row in Index(self.index, lacks) if row["state"] != "superseded")

    def lacks(self, globs: Collection[bytes]) -> Lacks:
        """What the backup lacks of these paths; refused if the index is not whole."""
        lacks = Lacks(globs)
        several: dict[bytes, str] = {}  # files with more names than one that are not as they were
        for row in self.rows(lacks):
            if row["state"] and row["links"] > 1:
                several[row["path"]] = row["state"]
            if row["kind"] == "h" and row["link"] in several and not chosen(row["link"], globs):  # the note has the first name alone
                lacks.note(several[row["link"]], row["path"], f"another name of {os.fsdecode(row['link'])}")
        return lacks

    def pieces(self, row: Row) -> Iterator[tuple[int, bytes]]:
        """A file's content as (position, bytes) without its holes. Refused at the end if its SHA-256 is another one."""
        digest, done = hashlib.sha256(), 0
        for archive, position, length in row["parts"] or [[row["archive"], self._behind_headers(row), row["size"]]]:
            for at in range(0, length, PIECE):
                size = min(PIECE, length - at)
                piece = self.archives[archive].read(position + at, size) if archive >= 0 else bytes(size)
                digest.update(piece)
                if archive >= 0:
                    yield done, piece
                done += size
        if digest.hexdigest() != row["sha256"]:
            refuse(f"the content of {row['path']!r} is not what the index says")

    def _behind_headers(self, row: Row) -> int:
        """Where the content of a tar member begins: behind its header, and before that perhaps PAX records with one of their own."""
        archive: Content = self.archives[row["archive"]]
        position: int = row["offset"]
        while (header := archive.read(position, 512))[156:157] == b"x":
            position += 512 + -(-int(header[124:136].rstrip(b"\0 "), 8) // 512) * 512
        return position + 512


# ---- Restoring -------------------------------------------------------------------------------------------------------

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
ACL = b"system.posix_acl_access"
NOT_HERE = (errno.EPERM, errno.EACCES, errno.EINVAL, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS)
"""This file system, or this user, makes no such thing, as vfat makes no links."""
NAMES = {"l": "symbolic links", "p": "fifos", "c": "devices", "b": "devices"}


def group_permissions(acl: bytes) -> int:
    """What an ACL lets the owning group do: u32 version 2, then (u16 tag, u16 permissions, u32 id) each; 4 is the group, 16 the mask."""
    if len(acl) % 8 != 4 or acl[:4] != struct.pack("<I", 2):
        return 0
    found = {tag: permissions for tag, permissions, _ in struct.iter_unpack("<HHI", acl[4:])}
    return int(found.get(4, 0) & found.get(16, 7) & 7)


class Target:
    """An empty folder that is filled. Each step goes through the descriptor of a folder inside, and never through a link."""

    def __init__(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)
        if os.listdir(path):
            refuse(f"{path} is not empty: restore into a new folder, and move from there what you need")
        self.stack = [(b"", os.open(path, FOLDER))]
        self.partial = f".{secrets.token_hex(8)}.partial".encode()
        self.left_out: dict[str, int] = {}
        """How many paths lack what the system refused."""

    def folder(self, path: bytes) -> int:
        """The descriptor of a folder; those on the way are made. Good until another one is asked for."""
        while self.stack[-1][0] and not (path + b"/").startswith(self.stack[-1][0] + b"/"):
            os.close(self.stack.pop()[1])
        above, descriptor = self.stack[-1]
        for name in path[len(above) :].strip(b"/").split(b"/") if path != above else ():
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=descriptor)
            above, descriptor = above + b"/" * bool(above) + name, os.open(name, FOLDER, dir_fd=descriptor)
            self.stack.append((above, descriptor))
        return descriptor

    def file(self, row: Row, pieces: Iterator[tuple[int, bytes]]) -> None:
        """Written under another name, and put in place when its content was found right."""
        folder, name = self.folder(os.path.dirname(row["path"])), os.path.basename(row["path"])
        descriptor = os.open(self.partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        try:
            os.ftruncate(descriptor, row["size"])
            for position, piece in pieces:
                done = 0
                while done < len(piece):
                    done += os.pwrite(descriptor, piece[done:], position + done)
            self.attributes(folder, self.partial, row)
            os.rename(self.partial, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(self.partial, dir_fd=folder)
            raise
        finally:
            os.close(descriptor)

    def link(self, path: bytes, to: bytes) -> bool:
        """Whether the file could have one name more here."""
        source = os.dup(self.folder(os.path.dirname(to)))
        try:
            places = {"src_dir_fd": source, "dst_dir_fd": self.folder(os.path.dirname(path))}
            os.link(os.path.basename(to), os.path.basename(path), follow_symlinks=False, **places)
        except OSError as error:
            return self._lacks("are files of their own instead of hard links", error)
        finally:
            os.close(source)
        return True

    def special(self, row: Row) -> None:
        """A symlink, a fifo, or a device."""
        folder, name = self.folder(os.path.dirname(row["path"])), os.path.basename(row["path"])
        try:
            if row["kind"] == "l":
                os.symlink(row["link"], name, dir_fd=folder)
            elif row["kind"] == "p":
                os.mkfifo(name, 0o600, dir_fd=folder)
            else:
                os.mknod(name, 0o600 | (stat.S_IFCHR if row["kind"] == "c" else stat.S_IFBLK), os.makedev(*row["device"]), dir_fd=folder)
        except OSError as error:
            self._lacks(f"are left out: {NAMES[row['kind']]}", error)
            return
        self.attributes(folder, name, row)

    def attributes(self, folder: int, name: bytes, row: Row) -> None:
        """Owner, extended attributes, mode, time: a new owner takes special modes and capabilities away, so it comes first."""
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        itself = f"/proc/self/fd/{descriptor}"  # leads to this very path, also where it is a symlink
        try:
            given = self._tried("lack their owners", lambda: os.chown(itself, row["uid"], row["gid"]))
            mode = row["mode"] if given else row["mode"] & ~(stat.S_ISUID | stat.S_ISGID)
            if ACL in self._xattrs(itself, row["xattrs"], given):  # then the group's bits of the mode are not the group's, but the mask
                mode = mode & ~0o070 | group_permissions(row["xattrs"][ACL]) << 3
            if row["kind"] != "l":
                self._tried("lack their modes", lambda: os.chmod(itself, mode))
            self._tried("lack their times", lambda: os.utime(itself, ns=(row["mtime_ns"], row["mtime_ns"])))
        finally:
            os.close(descriptor)

    def _xattrs(self, itself: str, wanted: dict[bytes, bytes], given: bool) -> set[bytes]:
        """Which of these extended attributes a path lacks now."""
        lacking, found = set(wanted), []
        with suppress(OSError):  # a file system that has none refuses to list them: then none is in the way
            found = os.listxattr(itself)
        for inherited in found:
            if inherited.startswith("system.posix_acl_"):  # from the folder that holds the target
                self._tried("keep an ACL of the folder above", lambda name=inherited: os.removexattr(itself, name))  # type: ignore[misc]
        for key, value in wanted.items():
            if given or key != b"security.capability":  # those are not for a program of another owner
                with suppress(OSError):
                    os.setxattr(itself, key, value)
                    lacking.remove(key)
        if lacking:
            self._count("lack extended attributes")
        return lacking

    def _tried(self, what: str, call: Callable[[], None]) -> bool:
        try:
            call()
        except OSError:
            self._count(what)
            return False
        return True

    def _lacks(self, what: str, error: OSError) -> bool:
        """Counts what cannot be made here, and raises any other error."""
        if error.errno not in NOT_HERE:
            raise error
        self._count(what)
        return False

    def _count(self, what: str) -> None:
        self.left_out[what] = self.left_out.get(what, 0) + 1


def restore(tree: Tree, target: Target, globs: list[bytes]) -> int:
    """Fill the target with what a glob matches, or with everything; the number of paths. A folder brings all that is in it."""
    folders: dict[bytes, Row] = {}
    several: dict[bytes, Row] = {}  # files with more names than one
    placed: dict[bytes, bytes] = {}  # where the content of each of them is now
    last: list[Row] = []
    needed, count = {b"."}, 0
    for row in tree.rows():
        folders.update({row["path"]: row} if row["kind"] == "d" else {})
        several.update({row["path"]: row} if row["links"] > 1 else {})
        if not chosen(row["path"], globs):
            continue
        needed.update(path for path in upwards(row["path"]) if path in folders)
        count += 1
        if row["kind"] == "f":
            target.file(row, tree.pieces(row))
            placed[row["path"]] = row["path"]
        elif row["kind"] == "h":
            if row["link"] in placed and target.link(row["path"], placed[row["link"]]):
                continue
            # The name it shares was not wanted, or the target allows no link: this one takes its place.
            first = several.get(row["link"]) or refuse(f"the index makes {row['path']!r} a name of {row['link']!r}, which is no file")
            target.file({**first, "path": row["path"]}, tree.pieces(first))
            placed[row["link"]] = row["path"]
        elif row["kind"] == "d":
            target.folder(row["path"])
        else:
            last.append(row)
    for row in last:  # symlinks among them: nothing is written any more that could go through one
        target.special(row)
    for path in sorted(needed - {b"."}, reverse=True):  # what is in a folder before the folder
        target.attributes(target.folder(path), b".", folders[path])
    target.attributes(target.folder(b"."), b".", folders[b"."])
    return count


# ---- Commands --------------------------------------------------------------------------------------------------------


def decrypt(options: argparse.Namespace) -> None:
    content = Sealed(options.file, options.identity or refuse("name an identity file: -i"))
    for position in range(0, content.size, PIECE):
        sys.stdout.buffer.write(content.read(position, min(PIECE, content.size - position)))


def identity(options: argparse.Namespace) -> None:
    key = options.identity or Passphrase(passphrase())
    content = Sealed(options.keyfile, key)
    sys.stdout.buffer.write(content.read(0, content.size))


def passphrase() -> bytes:
    if "BACKUP_PASSPHRASE" in os.environ:
        return os.environb[b"BACKUP_PASSPHRASE"]
    return getpass.getpass("Passphrase: ").encode() if sys.stdin.isatty() else sys.stdin.buffer.readline().rstrip(b"\r\n")


def list_(options: argparse.Namespace) -> None:
    repository = opened_repository(options)
    for backup in repository.backups:
        facts = backup.facts
        if backup.problem:
            print(f"{backup.id}  DOES NOT COUNT: {backup.problem}")
        else:
            parent = f"  on {facts['parent']['id']}" if facts.get("parent") else ""
            partial = "  PARTIAL: not all of its source could be read" if facts.get("partial") else ""
            print(
                f"{backup.id}  {facts['chain']}  {facts['seq']}  {facts['type']}  {facts['snapshotTime']}  "
                f"{facts['counts']['files']} files  {facts['archive']['size']} bytes stored{parent}{partial}"
            )


def verify(options: argparse.Namespace) -> None:
    repository, bad = opened_repository(options), 0
    for backup in [repository.find(options.backup)] if options.backup else repository.backups:
        try:
            tree = Tree(repository, backup) if not backup.problem else refuse(backup.problem)
            lacks = Lacks()
            files = [sum(len(piece) for _, piece in tree.pieces(row)) for row in tree.rows(lacks) if row["kind"] == "f"]
            print(
                f"{backup.id}  good{', but PARTIAL' * bool(backup.facts.get('partial'))}: {len(files)} files, {sum(files)} bytes",
                flush=True,
            )
            lacks.tell(backup)
        except MALFORMED as error:
            bad += 1
            print(f"{backup.id}  BAD: {told(error)}")
    for chain, numbers in missing(repository).items():
        print(f"chain {chain}: no backup has the numbers {numbers}; retention, or somebody else, took them away")
    if bad:
        refuse(f"{bad} backups cannot be restored")


def missing(repository: Repository) -> dict[str, list[int]]:
    seen: dict[str, set[int]] = {}
    for backup in repository.backups:
        if not backup.problem:
            seen.setdefault(backup.facts["chain"], set()).add(backup.facts["seq"])
    return {chain: lost for chain, numbers in seen.items() if (lost := sorted(set(range(min(numbers), max(numbers))) - numbers))}


def restore_(options: argparse.Namespace) -> None:
    repository = opened_repository(options)
    tree = Tree(repository, repository.find(options.backup))
    globs = [os.fsencode(pattern) for pattern in options.include]
    lacks = tree.lacks(globs)  # the index is whole: only now something is written
    target = Target(options.target)
    count = restore(tree, target, globs)
    print(f"{count} paths of backup {tree.backup.id} are in {options.target}", flush=True)
    lacks.tell(tree.backup)
    for what, number in target.left_out.items():
        print(f"{number} paths {what}: the system refused it", file=sys.stderr)
    if not count:
        refuse("nothing matches --include")


def opened_repository(options: argparse.Namespace) -> Repository:
    repository = Repository(options.root, options.identity, options.fingerprint)
    if not options.fingerprint and not (options.identity and repository.key):
        print(f"Nothing proves that this is your repository. Is this its fingerprint? {repository.fingerprint}", file=sys.stderr)
    return repository


def identity_in(path: str) -> Identity:
    with open(path, encoding="utf-8") as file:
        return Identity(file.read())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, arguments in (
        ("identity", identity, ["keyfile"]),
        ("decrypt", decrypt, ["file"]),
        ("list", list_, ["root"]),
        ("verify", verify, ["root", "backup?"]),
        ("restore", restore_, ["root", "backup", "target"]),
    ):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("-i", dest="identity", metavar="IDENTITY", type=identity_in)
        for argument in arguments:
            command.add_argument(argument.rstrip("?"), nargs="?" if argument.endswith("?") else None)
        if "root" in arguments:
            command.add_argument("--fingerprint", help="what the repository must be: SHA-256 of repo.json, or of its last generation")
        if "target" in arguments:
            command.add_argument("--include", action="append", default=[], metavar="GLOB")
    try:
        options = parser.parse_args()
        options.run(options)
    except MALFORMED as error:
        print(f"restore.py: {told(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
