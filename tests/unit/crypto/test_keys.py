"""Identities, passphrases, signatures, writer keys."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

from iot_backup.crypto import passphrase as passphrases
from iot_backup.crypto import x25519
from iot_backup.crypto.age_header import Stanza, b64
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.sealing import opened, sealed_by, sealed_to
from iot_backup.crypto.signing import Purpose, SigningKey, WriterKey, key_id, verified
from iot_backup.errors import CorruptData, Internal, InvalidSpec, KeyMissing, WrongKey

SECRET = b"correct horse battery staple"


@pytest.fixture(scope="module")
def key_file() -> bytes:
    """One file of full work factor for all tests: it costs a second."""
    return sealed_by(Passphrase(SECRET), b"content")


def test_identities_are_those_of_age() -> None:
    identity = Identity.generated()
    theirs = pyrage.x25519.Identity.from_str(identity.text)
    assert str(theirs.to_public()) == identity.recipient
    assert Identity.parsed(f"# created: today\n# public key: {identity.recipient}\n{identity.text}\n") == identity


@pytest.mark.parametrize(
    "text",
    ["", "age1qqq", "AGE-SECRET-KEY-1QQQQ", "AGE-SECRET-KEY-1" + "Q" * 58, "AGE-PLUGIN-YUBIKEY-1QQQ"],
)
def test_bad_identities_are_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        Identity.parsed(text)
    assert "QQQQ" not in str(caught.value)


def test_of_several_identities_in_one_text_the_first_is_the_identity_and_each_opens_what_was_sealed_to_it() -> None:
    made = [Identity.generated() for _ in range(3)]
    identity = Identity.parsed("".join(f"# one\n{one.text}\n" for one in made))
    assert identity.alone == made[0]
    assert identity.recipients == tuple(one.recipient for one in made)
    assert identity.root.public == made[0].root.public
    for one in made:
        assert opened(sealed_to([Identity.generated().recipient, one.recipient], b"x"), identity) == b"x"
    with pytest.raises(WrongKey, match="sealed to other recipients"):
        opened(sealed_to([Identity.generated().recipient], b"x"), identity)
    with pytest.raises(InvalidSpec, match="65 of them"):
        Identity.parsed(f"{made[0].text}\n" * 65)
    with pytest.raises(InvalidSpec, match="cannot be read"):
        Identity.parsed(f"{made[0].text}\nAGE-SECRET-KEY-1QQQQ\n")


def test_secrets_do_not_show_in_representations() -> None:
    identity, writer = Identity.parsed(f"{Identity.generated().text}\n" * 2), WriterKey(os.urandom(32))
    shown = repr((identity, identity.root, writer, writer.signing, Passphrase(SECRET)))
    for secret in (identity.text, repr(identity.secret), repr(writer.secret), SECRET.decode()):
        assert secret not in shown


def test_root_and_writer_keys_are_fixed_for_ever() -> None:
    """A change here would make every existing repository untrusted."""
    identity, writer = Identity(bytes(range(32))), WriterKey(bytes(range(32)))
    assert identity.root.public.hex() == ROOT
    assert writer.signing.public.hex() == WRITER
    assert writer.id == key_id(writer.signing.public) == WRITER_ID
    assert writer.passphrase_tag(SECRET) == TAG


ROOT = "0f6efe027ee90d1901da584ab3ccdb7b8bc3e87414a02777d1dfb3ec654a341f"
WRITER = "3437cdb5199bce079fda544fbe1a41fa6f6fd687e091f37e3905caf299c631b5"
WRITER_ID = "219cc5bdb6fee9fb"
TAG = "3e838e42fabf667213e06e36a967f449805b9884aa7771447f78ca0429c3835b"


def test_signatures_hold_for_one_key_one_purpose_and_one_message() -> None:
    key, other = SigningKey(os.urandom(32)), SigningKey(os.urandom(32))
    signature = key.sign(Purpose.MANIFEST, b"message")
    assert verified(key.public, Purpose.MANIFEST, b"message", signature)
    assert not verified(key.public, Purpose.WRITER, b"message", signature)
    assert not verified(key.public, Purpose.MANIFEST, b"messagf", signature)
    assert not verified(other.public, Purpose.MANIFEST, b"message", signature)
    assert not verified(key.public, Purpose.MANIFEST, b"message", signature[:-1])
    assert not verified(b"short", Purpose.MANIFEST, b"message", signature)
    for at in range(len(signature)):
        bad = bytearray(signature)
        bad[at] ^= 1
        assert not verified(key.public, Purpose.MANIFEST, b"message", bytes(bad))


def test_the_passphrase_tag_depends_on_writer_and_passphrase() -> None:
    writer, other = WriterKey(os.urandom(32)), WriterKey(os.urandom(32))
    tags = {writer.passphrase_tag(SECRET), writer.passphrase_tag(SECRET + b"!"), other.passphrase_tag(SECRET)}
    assert len(tags) == 3


def test_a_writer_key_of_another_length_is_refused() -> None:
    with pytest.raises(KeyMissing, match="31 bytes"):
        WriterKey(bytes(31))


def test_rage_and_we_open_our_key_file(key_file: bytes) -> None:
    assert pyrage.passphrase.decrypt(key_file, SECRET.decode()) == b"content"
    assert opened(key_file, Passphrase(SECRET)) == b"content"


@pytest.mark.skipif(shutil.which("age") is None, reason="age(1) is not installed (Debian package age)")
def test_age_opens_our_key_file_when_a_person_types_the_passphrase(key_file: bytes, tmp_path: Path) -> None:
    sealed, plain = tmp_path / "key.scrypt", tmp_path / "identity"
    sealed.write_bytes(key_file)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("age", ["age", "-d", "-o", str(plain), str(sealed)])
    shown = b""
    while b"passphrase" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, SECRET + b"\n")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)
    assert plain.read_bytes() == b"content"


def test_another_passphrase_is_a_wrong_key(key_file: bytes) -> None:
    with pytest.raises(WrongKey, match="another one"):
        opened(key_file, Passphrase(SECRET + b" "))


def test_passphrase_and_identity_files_are_told_apart(key_file: bytes) -> None:
    identity = Identity.generated()
    with pytest.raises(WrongKey, match="identity was given"):
        opened(key_file, identity)
    with pytest.raises(WrongKey, match="passphrase was given"):
        opened(sealed_to([identity.recipient], b"x"), Passphrase(SECRET))
    assert opened(sealed_to([identity.recipient], b"x" * 70_000), identity) == b"x" * 70_000


def test_a_passphrase_stanza_beside_another_is_malformed_for_either_key() -> None:
    identity = Identity.generated()
    stanzas = [Stanza(("scrypt", b64(bytes(16)), "10"), bytes(32)), x25519.wrapped(identity.recipient, bytes(16))]
    for key in (identity, Passphrase(SECRET)):
        with pytest.raises(CorruptData, match="alone"):
            key.unwrap(stanzas)


@pytest.mark.parametrize("factor", ["19", "22", "0", "018", "+18", "99999999999"])
def test_work_beyond_ours_is_refused_without_being_done(factor: str) -> None:
    stanza = Stanza(("scrypt", b64(bytes(16)), factor), bytes(32))
    with pytest.raises(CorruptData, match="work"):
        Passphrase(SECRET).unwrap([stanza])


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b" two words ", b" two words "),
        ("päss".encode(), "päss".encode()),
    ],
)
def test_one_newline_at_the_end_of_a_passphrase_file_does_not_count(raw: bytes, clean: bytes) -> None:
    assert Passphrase.cleaned(raw).text == clean


@pytest.mark.parametrize("raw", [b"", b"\n", b"  \n", b"a\nb", b"a\n\n", b"a\0b"])
def test_passphrases_nobody_could_type_are_refused(raw: bytes) -> None:
    with pytest.raises(KeyMissing):
        Passphrase.cleaned(raw)


def test_scrypt_leaves_no_memory_in_the_worker(key_file: bytes, tmp_path: Path) -> None:
    sealed = tmp_path / "key"
    sealed.write_bytes(key_file)
    script = (
        "import resource, sys\n"
        "from iot_backup.crypto.passphrase import Passphrase\n"
        "from iot_backup.crypto.sealing import opened\n"
        "sealed = open(sys.argv[1], 'rb').read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        f"assert opened(sealed, Passphrase({SECRET!r})) == b'content'\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "operator")}
    done = subprocess.run([sys.executable, "-c", script, str(sealed)], capture_output=True, check=True, env=environment, text=True)
    ours, childs = (int(word) for word in done.stdout.split())
    assert ours < 8_000, "KiB"
    assert 250_000 < childs < 300_000, "KiB: what the pod's limit must leave room for"


def test_too_little_memory_is_said_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text("raise MemoryError\n")
    monkeypatch.setattr(passphrases, "_CHILD", child)
    with pytest.raises(Internal, match=r"raise worker.resources.limits.memory"):
        Passphrase(SECRET).wrapped(bytes(16))
