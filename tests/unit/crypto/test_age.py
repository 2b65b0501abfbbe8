"""age files: the same bytes as age(1) and rage, at every boundary; every damage is noticed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pyrage
import pytest

from iot_backup.crypto import bech32
from iot_backup.crypto.age import Encryptor, PlainReader
from iot_backup.crypto.age_header import MAX_HEADER
from iot_backup.crypto.container import NO_HEADER_SHA256, PassThrough, PassThroughReader, opener, sealer
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.stream import CHUNK, SEALED
from iot_backup.errors import CorruptData, InvalidSpec, KeyMissing, WrongKey

IDENTITY = Identity.generated()
BATCH = 16 * CHUNK
SIZES = sorted({n + d for n in (CHUNK, 2 * CHUNK, BATCH, 2 * BATCH) for d in (-1, 0, 1)} | {0, 1, 3 * CHUNK + 17})


def encrypted(data: bytes, *, step: int | None = None, identity: Identity = IDENTITY) -> bytes:
    """Fed in pieces of `step` bytes into one reused buffer, as the pipeline does."""
    encryptor = Encryptor([identity.recipient])
    step = step or max(len(data), 1)
    out = bytearray(encryptor.room(step) + 7)
    sealed = [encryptor.header]
    for at in range(0, len(data), step):
        end = encryptor.feed(memoryview(data)[at : at + step], out, 7)
        assert end - 7 <= encryptor.room(step)
        sealed.append(bytes(out[7:end]))
    return b"".join([*sealed, encryptor.finish()])


def decrypted(sealed: bytes, identity: Identity = IDENTITY) -> bytes:
    return PlainReader(BytesIO(sealed).read, identity).read()


def header_of(sealed: bytes) -> bytes:
    end = sealed.index(b"\n", sealed.index(b"\n--- ") + 1) + 1
    return sealed[: end + 16]


@pytest.mark.parametrize("size", SIZES)
def test_rage_opens_what_we_seal_and_we_what_rage_seals(size: int) -> None:
    data = os.urandom(size)
    assert pyrage.decrypt(encrypted(data), [pyrage.x25519.Identity.from_str(IDENTITY.text)]) == data
    assert decrypted(pyrage.encrypt(data, [pyrage.x25519.Recipient.from_str(IDENTITY.recipient)])) == data


@pytest.mark.skipif(shutil.which("age") is None, reason="age(1) is not installed (Debian package age)")
@pytest.mark.parametrize("size", SIZES)
def test_age_opens_what_we_seal_and_we_what_age_seals(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    key = tmp_path / "identity"
    key.write_text(f"# a comment\n{IDENTITY.text}\n")
    ours = subprocess.run(["age", "-d", "-i", str(key)], input=encrypted(data), capture_output=True, check=True).stdout
    theirs = subprocess.run(["age", "-r", IDENTITY.recipient], input=data, capture_output=True, check=True).stdout
    assert ours == data
    assert decrypted(theirs) == data


@pytest.mark.parametrize("step", [1000, CHUNK - 1, CHUNK, CHUNK + 1, 100_000])
def test_pieces_fed_do_not_matter(step: int) -> None:
    data = os.urandom(3 * CHUNK + 5)
    assert decrypted(encrypted(data, step=step)) == data


@pytest.mark.parametrize("step", [1, 17, 4096, CHUNK, SEALED, 1 << 20])
def test_pieces_read_do_not_matter(step: int) -> None:
    data = os.urandom(2 * CHUNK + 5)
    source = BytesIO(encrypted(data))
    reader = PlainReader(lambda n: source.read(min(n, step)), IDENTITY)
    buffer = bytearray(999)
    got = bytearray()
    while size := reader.readinto(buffer):
        got += buffer[:size]
    assert got == data
    assert reader.readinto(bytearray(0)) == 0


def test_every_recipient_opens_the_file_alone() -> None:
    people = [Identity.generated() for _ in range(3)]
    encryptor = Encryptor([p.recipient for p in people])
    encryptor.feed(b"hello", bytearray(), 0)
    sealed = encryptor.header + encryptor.finish()
    assert [decrypted(sealed, p) for p in people] == [b"hello"] * 3
    with pytest.raises(WrongKey, match="sealed to other recipients"):
        decrypted(sealed, Identity.generated())


def test_two_files_of_the_same_content_share_nothing() -> None:
    first, second = encrypted(b"x" * 100), encrypted(b"x" * 100)
    lines = [set(header_of(sealed).splitlines()[1:4]) for sealed in (first, second)]
    assert len(lines[0] & lines[1]) == 0
    assert first[-116:] != second[-116:]


def test_header_hash_covers_header_and_nonce() -> None:
    sealed = encrypted(os.urandom(CHUNK + 1))
    digest = hashlib.sha256(header_of(sealed)).hexdigest()
    assert PlainReader(BytesIO(sealed).read, IDENTITY).header_sha256 == digest
    assert PlainReader(BytesIO(sealed).read, IDENTITY, header_sha256=digest).read(1)
    other = encrypted(b"another's file, to the same recipient")
    with pytest.raises(CorruptData, match="manifest"):
        PlainReader(BytesIO(other).read, IDENTITY, header_sha256=digest)


def test_encryptor_tells_the_header_hash_it_wrote() -> None:
    encryptor = Encryptor([IDENTITY.recipient])
    assert encryptor.header_sha256 == PlainReader(BytesIO(encryptor.header + encryptor.finish()).read, IDENTITY).header_sha256


def test_every_flipped_bit_of_a_small_file_is_noticed() -> None:
    sealed = encrypted(b"forty bytes of content, give or take one")
    for at in range(len(sealed)):
        for bit in range(8):
            bad = bytearray(sealed)
            bad[at] ^= 1 << bit
            with pytest.raises((CorruptData, WrongKey)):
                decrypted(bytes(bad))


def test_a_flipped_bit_in_any_chunk_is_noticed_and_named() -> None:
    sealed = encrypted(bytes(3 * CHUNK + 10))
    begin = len(header_of(sealed))
    for chunk in range(4):
        for offset in (0, 9, 25):
            bad = bytearray(sealed)
            bad[begin + chunk * SEALED + offset] ^= 1
            reader = PlainReader(BytesIO(bytes(bad)).read, IDENTITY)
            got = 0
            for _ in range(chunk):
                got += len(reader.read(CHUNK))
            assert got == chunk * CHUNK
            with pytest.raises(CorruptData, match=rf"damaged in chunk {chunk} "):
                reader.read(1)
            with pytest.raises(CorruptData, match="damaged"):
                reader.read(1)


@pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 2 * CHUNK, BATCH, BATCH + CHUNK])
def test_every_truncation_is_noticed(size: int) -> None:
    sealed = encrypted(bytes(size))
    begin = len(header_of(sealed))
    cuts = {
        *range(0, begin + 40, 1 if size == 0 else 13),
        *range(begin, len(sealed), SEALED),
        len(sealed) - 1,
        len(sealed) - 16,
        len(sealed) - 17,
    }
    for cut in sorted(c for c in cuts if 0 <= c < len(sealed)):
        with pytest.raises(CorruptData, match=r"cut off|damaged|not an age"):
            decrypted(sealed[:cut])


def test_a_cut_at_a_chunk_boundary_is_called_a_cut() -> None:
    sealed = encrypted(bytes(3 * CHUNK))
    with pytest.raises(CorruptData, match="cut off after chunk 1 "):
        decrypted(sealed[: len(header_of(sealed)) + 2 * SEALED])


def test_appended_bytes_are_noticed() -> None:
    sealed = encrypted(bytes(CHUNK))
    with pytest.raises(CorruptData, match=r"appended to the encrypted stream after chunk 0 "):
        decrypted(sealed + b"!" * 20)
    with pytest.raises(CorruptData, match=r"damaged|cut"):
        decrypted(encrypted(b"short") + b"!")


def test_swapped_and_repeated_chunks_are_noticed() -> None:
    sealed = encrypted(os.urandom(3 * CHUNK))
    n = len(header_of(sealed))
    a, b, c = (sealed[n + i * SEALED : n + (i + 1) * SEALED] for i in range(3))
    for payload in (b + a + c, a + a + b + c, a + c, b + c):
        with pytest.raises(CorruptData):
            decrypted(sealed[:n] + payload)


def test_an_empty_last_chunk_after_a_full_one_is_refused() -> None:
    encryptor = Encryptor([IDENTITY.recipient])
    chunks = encryptor._chunks
    out = bytearray(SEALED)
    chunks._seal(memoryview(bytes(CHUNK)), memoryview(out), 0)
    with pytest.raises(CorruptData, match="empty chunk"):
        decrypted(encryptor.header + bytes(out) + encryptor.finish())


def test_a_header_without_end_is_not_read_to_the_end_of_the_store() -> None:
    asked = 0

    def endless(size: int) -> bytes:
        nonlocal asked
        asked += size
        return (b"age-encryption.org/v1\n" if asked == size else b"") + b"-> grease\n\n" * (size // 16)

    with pytest.raises(CorruptData, match="does not end"):
        PlainReader(endless, IDENTITY)
    assert asked < 4 * MAX_HEADER


def test_a_foreign_first_line_is_refused_at_once() -> None:
    with pytest.raises(CorruptData, match="first line"):
        decrypted(encrypted(b"x").replace(b"org/v1", b"org/v2"))


@pytest.mark.parametrize(
    ("recipients", "match"),
    [
        ([], "no recipient"),
        (["age1qqqq"], "too short"),
        (["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"], "not an age recipient"),
        ([IDENTITY.recipient.upper()], "plugins"),
        ([IDENTITY.recipient] * 200, "too many"),
        ([IDENTITY.recipient[:-1] + ("q" if IDENTITY.recipient[-1] != "q" else "p")], "checksum"),
        ([bech32.encode("age", bytes(32))], "low order"),
    ],
)
def test_unusable_recipients_are_refused_in_words(recipients: list[str], match: str) -> None:
    with pytest.raises(InvalidSpec, match=match):
        Encryptor(recipients)


def test_an_identity_given_as_recipient_is_not_repeated_in_the_message() -> None:
    with pytest.raises(InvalidSpec) as caught:
        Encryptor([IDENTITY.text])
    assert IDENTITY.text[20:30] not in str(caught.value)


def test_feeding_after_the_end_is_a_defect() -> None:
    encryptor = Encryptor([IDENTITY.recipient])
    encryptor.finish()
    with pytest.raises(ValueError, match="finish"):
        encryptor.feed(b"x", bytearray(SEALED), 0)
    with pytest.raises(ValueError, match="twice"):
        encryptor.finish()


def test_plain_containers_have_the_same_interface() -> None:
    data = os.urandom(100_000)
    plain = sealer(None, "None")
    out = bytearray(plain.room(len(data)) + 3)
    end = plain.feed(data, out, 3)
    stored = plain.header + bytes(out[3:end]) + plain.finish()
    assert stored == data
    assert isinstance(plain, PassThrough)
    reader = opener(BytesIO(stored).read, "None", None, plain.header_sha256)
    assert isinstance(reader, PassThroughReader)
    buffer = bytearray(30_000)
    got = bytearray()
    while size := reader.readinto(buffer):
        got += buffer[:size]
    assert bytes(got) == data
    assert opener(BytesIO(stored).read, "None", None, NO_HEADER_SHA256).read() == data


def test_opener_follows_the_signed_cipher_and_never_another() -> None:
    sealed = encrypted(b"content")
    digest = PlainReader(BytesIO(sealed).read, IDENTITY).header_sha256
    assert opener(BytesIO(sealed).read, "Age", IDENTITY, digest).read() == b"content"
    with pytest.raises(KeyMissing, match="no key was given"):
        opener(BytesIO(sealed).read, "Age", None, digest)
    with pytest.raises(CorruptData, match="plain"):
        opener(BytesIO(sealed).read, "None", None, digest)
    with pytest.raises(CorruptData, match="first line"):
        opener(BytesIO(b"plain").read, "Age", IDENTITY, digest)


def test_memory_stays_small_whatever_the_size(tmp_path: Path) -> None:
    script = (
        "import os, resource, tempfile\n"
        "from iot_backup.crypto.age import Encryptor, PlainReader\n"
        "from iot_backup.crypto.identity import Identity\n"
        "i = Identity.generated(); e = Encryptor([i.recipient]); data = bytes(4 << 20); out = bytearray(e.room(len(data)))\n"
        "f = tempfile.TemporaryFile()\n"
        "f.write(e.header)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for _ in range(16): f.write(memoryview(out)[: e.feed(data, out, 0)])\n"
        "f.write(e.finish()); f.seek(0)\n"
        "r = PlainReader(f.read, i); b = bytearray(1 << 20); n = 0\n"
        "while s := r.readinto(b): n += s\n"
        "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3] / "operator")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, env=environment, text=True)
    match = re.fullmatch(r"(\d+) (\d+)\n", done.stdout)
    assert match is not None
    assert int(match[1]) == 16 * (4 << 20)
    assert int(match[2]) < 16_000, "KiB"
