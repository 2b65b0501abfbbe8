"""Where everything lies in a repository: keys are built here from checked parts, and nowhere else.

Keys are relative to the repository's root (`ns/<namespace>/` below the store's prefix, `site/<name>/` for a stand-alone site). A listed key counts only if it
parses back to itself; a manifest, a report or a listing never supplies a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from iot_backup.errors import InvalidSpec

REPO = "repo.json"
KEYS = "keys/"
WRITERS = "writers/"
ANNOUNCE = "announce/"
CHAINS = "chains/"
DOOMED = "doomed/"
HOLDS = "holds/"
REMOVED = "removed/"
GENERATIONS = "generations/"

ARCHIVE_SUFFIX = {"Age": "tar.zst.age", "AES256": "tar.zst.aes256", "None": "tar.zst"}
"""By cipher."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_ID = re.compile(r"[0-9a-f]{16}")
_STAMP = "%Y%m%dt%H%M%Sz"
_MANIFEST = re.compile(r"chains/(?P<chain>[^/]+)/(?P<stamp>\d{8}t\d{6}z)-(?P<id>[0-9a-f]{16})\.manifest\.json")
_KEY_FILE = re.compile(r"keys/(?P<digest>[0-9a-f]{16})-(?P<serial>[1-9][0-9]{0,5})\.(?P<way>scrypt|recipients)")
_WRITER = re.compile(r"writers/(?P<id>[0-9a-f]{16})(?:\.(?P<edition>[2-9]|[1-9][0-9]{1,5}))?")
_DOOMED = re.compile(r"doomed/(?P<id>[0-9a-f]{16})")
_HOLD = re.compile(r"holds/(?P<id>[0-9a-f]{16})\.(?P<reason>[a-z]+(?:-[a-z]+)*)")
_REMOVED = re.compile(r"removed/(?P<chain>[^/]+)/(?P<first>[1-9][0-9]{0,18})-(?P<last>[1-9][0-9]{0,18})-(?P<digest>[0-9a-f]{16})")
_WANTED = ".wanted"
LAST = 999_999
"""The highest serial of a key file and edition of an admission that counts."""


def checked(name: str, what: str) -> str:
    """The name itself, if an object key may be built from it: lower case, digits, dots and dashes, at most 63 long."""
    if len(name) > 63 or ".." in name or not _NAME.fullmatch(name):
        raise InvalidSpec(
            f"{what} {name!r} cannot be part of an object key: use at most 63 of a-z, 0-9, '.' and '-', "
            "begin and end with a letter or digit, no '..'"
        )
    return name


def root(namespace: str, scope: str | None = None) -> str:
    """The repository's root below the store's prefix, with a slash at the end. `scope`: "site" for a stand-alone site's."""
    return f"{scope or 'ns'}/{checked(namespace, 'site' if scope else 'namespace')}/"


@dataclass(frozen=True)
class Member:
    """Names every object of one backup."""

    chain: str
    started: datetime
    """UTC, whole seconds."""
    id: str
    """16 hex digits: 64 random bits, new for every attempt."""

    def __post_init__(self) -> None:
        checked(self.chain, "chain")
        if not _ID.fullmatch(self.id):
            raise InvalidSpec(f"archive id {self.id!r} is not 16 hex digits")

    @property
    def stem(self) -> str:
        return f"{CHAINS}{self.chain}/{self.started.astimezone(UTC).strftime(_STAMP)}-{self.id}"

    def archive(self, type_: str, cipher: str) -> str:
        return f"{self.stem}.{type_.lower()}.{ARCHIVE_SUFFIX[cipher]}"

    @property
    def index(self) -> str:
        return f"{self.stem}.index"

    @property
    def state(self) -> str:
        return f"{self.stem}.state"

    @property
    def manifest(self) -> str:
        return f"{self.stem}.manifest.json"

    @property
    def announcement(self) -> str:
        return f"{ANNOUNCE}{self.id}"

    @property
    def doomed(self) -> str:
        """Where retention says that it is about to delete this member."""
        return f"{DOOMED}{self.id}"


def member_of_manifest(key: str) -> Member | None:
    """The member a listed manifest key names; None if the key is not one that we would have built."""
    match = _MANIFEST.fullmatch(key)
    if match is None:
        return None
    try:
        started = datetime.strptime(match["stamp"], _STAMP).replace(tzinfo=UTC)
        member = Member(match["chain"], started, match["id"])
    except (ValueError, InvalidSpec):
        return None
    return member if member.manifest == key else None


def doomed_id(key: str) -> str | None:
    """The backup that a listed marker names; None if it is not one that we would have built."""
    match = _DOOMED.fullmatch(key)
    return match["id"] if match else None


def hold(id_: str, reason: str) -> str:
    """What keeps a backup: pinned, last-good, frozen, damaged."""
    return f"{HOLDS}{id_}.{reason}"


def hold_parts(key: str) -> tuple[str, str] | None:
    """Id and reason of a listed hold; None if it is not one that we would have built."""
    match = _HOLD.fullmatch(key)
    return (match["id"], match["reason"]) if match else None


def removed(chain: str, first: int, last: int, digest: str) -> str:
    """A record of what retention took away: lowest and highest number, and 16 hex of the SHA-256 of its bytes."""
    return f"{REMOVED}{checked(chain, 'chain')}/{first}-{last}-{digest}"


def removed_chain(key: str) -> str | None:
    """The chain that a listed record of a removal is of; None if it is not one that we would have built."""
    match = _REMOVED.fullmatch(key)
    return match["chain"] if match else None


def key_file(recipient_digest: str, serial: int, way: str) -> str:
    """A sealed identity: `recipient_digest` = 16 hex of SHA-256 of the recipient, `way` = scrypt or recipients."""
    return f"{KEYS}{recipient_digest}-{serial}.{way}"


def key_file_parts(key: str) -> tuple[str, int, str] | None:
    """Recipient digest, serial and way of a listed key; None if it is not one that we would have built."""
    match = _KEY_FILE.fullmatch(key)
    return (match["digest"], int(match["serial"]), match["way"]) if match else None


def writer(key_id: str, edition: int = 1) -> str:
    """A writer's admission; an edition above 1 tells anew of its passphrase."""
    return f"{WRITERS}{key_id}" if edition == 1 else f"{WRITERS}{key_id}.{edition}"


def writer_parts(key: str) -> tuple[str, int] | None:
    """Key id and edition of a listed key; None if it is not one that we would have built."""
    match = _WRITER.fullmatch(key)
    return (match["id"], int(match["edition"] or 1)) if match else None


def applicant(key_id: str) -> str:
    """A writer's public key, put there by itself for a person to admit."""
    return f"{WRITERS}{key_id}{_WANTED}"


def applicant_id(key: str) -> str | None:
    """Key id of a listed application; None if the key is another one."""
    id_ = key.removeprefix(WRITERS).removesuffix(_WANTED)
    return id_ if _ID.fullmatch(id_) and applicant(id_) == key else None


def generation(number: int) -> str:
    """A later identity of the repository; the first is in repo.json."""
    return f"{GENERATIONS}{number}"
