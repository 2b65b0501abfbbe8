"""What this machine remembers of one repository: its own writer key, whom it trusts, the newest backup of each chain, and
what a verification found damaged.

    <state folder>/<site>@<storage>/
      writer.key      32 bytes, mode 0600: signs this machine's backups
      memory.json     what is remembered, replaced as a whole
      lock            held while memory.json is replaced
      maintenance     held while retention runs
      restoring       held by each restore, and by retention against all of them
      verifying       the same for verifications
      <chain>.lock    held while a backup of that chain runs
      keys            held while ways into the repository change
      copying_.lock   held while backups are copied there

Lose it, and an encrypted repository is recognised again by its key; nothing else is lost but the next incremental backup.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from iot_backup.core.spec import Floor, Name, Trust, Wire
from iot_backup.errors import AccessDenied, Busy, Cancelled, CorruptData
from iot_backup.standalone import durable

_KEY = "writer.key"
_MEMORY = "memory.json"
_MAINTAINING = "maintenance"
_KEYS = "keys"
_COPYING = "copying_.lock"
RESTORING = "restoring"
VERIFYING = "verifying"
_WHAT = {
    _MAINTAINING: "retention",
    _KEYS: "another change of this repository's keys",
    _COPYING: "a copy into this storage",
    RESTORING: "a restore from this storage",
    VERIFYING: "a verification of this storage",
}
"""Without .lock: no chain's lock has this name."""
_LOOK = 0.1
"""Seconds between two looks at a lock that is waited for."""
_KEY_BYTES = 32
_log = logging.getLogger(__name__)


class Head(Wire):
    """The newest backup of a chain that this machine saw."""

    seq: int = Field(ge=1)
    manifest_sha256: str
    source_bytes: int = Field(default=0, ge=0)
    files: int = Field(default=0, ge=0)
    """What it held: about how much the next one has to read."""

    @property
    def floor(self) -> Floor:
        return Floor(seq=self.seq, manifest_sha256=self.manifest_sha256)


class Memory(Wire):
    """One repository, as it was found."""

    version: Literal[1] = 1
    trust: Trust
    conditional_writes: bool = True
    heads: dict[Name, Head] = Field(default_factory=dict)
    maintained: dict[Name, AwareDatetime] = Field(default_factory=dict)
    """By job when retention last looked after it here, by the store's clock: it removes nothing at first, nor after a leap of time."""
    damaged: dict[str, int] = Field(default_factory=dict)
    """By id the backups that a verification found damaged, and the deepest level at which one did."""

    def with_head(self, chain: str, head: Head) -> Memory:
        """The newer one counts, whoever is first to write it down."""
        known = self.heads.get(chain)
        if known is not None and known.seq > head.seq:
            return self
        return self.model_copy(update={"heads": {**self.heads, chain: head}})

    def told(self, trust: Trust) -> Memory:
        """Trusting another generation of the same repository, or another repository, of which nothing is known."""
        same = trust.repository_id == self.trust.repository_id
        forgotten: dict[str, object] = {"heads": {}, "maintained": {}, "damaged": {}}
        return self.model_copy(update={"trust": trust} | ({} if same else forgotten))

    def verified(self, failed: Mapping[str, int], passed: Mapping[str, int]) -> Memory:
        """After a verification: by id the level at which a backup failed, or passed. What passed less deep than it had failed stays damaged."""
        kept = {id_: level for id_, level in self.damaged.items() if passed.get(id_, 0) < level}
        return self.model_copy(update={"damaged": kept | {id_: max(level, kept.get(id_, 0)) for id_, level in failed.items()}})

    def without_head(self, chain: str) -> Memory:
        """For a loss that is known and accepted."""
        return self.model_copy(update={"heads": {name: head for name, head in self.heads.items() if name != chain}})


class State:
    """One repository's folder. Nothing is made before something is to be kept."""

    def __init__(self, base: Path, label: str) -> None:
        self.folder = base / label

    def memory(self) -> Memory | None:
        """What is remembered; None for a repository never seen. AccessDenied; CorruptData for a file that is not ours."""
        file = self.folder / _MEMORY
        try:
            return Memory.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused(error) from error
        except ValidationError as error:
            raise CorruptData(
                f"{file} cannot be read: it was damaged, or written by a newer version. Bring it back from a copy; without it the repository must "
                "prove itself by its key again."
            ) from error

    def remember(self, change: Callable[[Memory | None], Memory]) -> Memory:
        """Replace what is remembered by what `change` makes of it, durably. Runs of other chains may do so at the same time."""
        with self._held("lock", fcntl.LOCK_EX):
            memory = change(self.memory())
            self._replace(_MEMORY, memory.model_dump_json(by_alias=True, exclude_none=True, indent=2).encode() + b"\n")
        return memory

    @property
    def has_writer_key(self) -> bool:
        """Whether this machine ever wrote to the repository. AccessDenied where nobody lets us look."""
        try:
            (self.folder / _KEY).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._refused(error) from error
        return True

    def writer_key(self) -> bytes:
        """This machine's key for the repository, made at the first call and never again. AccessDenied, CorruptData."""
        with self._held("lock", fcntl.LOCK_EX):
            try:
                key = (self.folder / _KEY).read_bytes()
            except FileNotFoundError:
                key = secrets.token_bytes(_KEY_BYTES)
                self._replace(_KEY, key)
        if len(key) != _KEY_BYTES:
            raise CorruptData(
                f"{self.folder / _KEY} is no writer key: it has {len(key)} bytes, not {_KEY_BYTES}. Bring it back from a copy, or remove it."
            )
        return key

    @contextmanager
    def alone(self, chain: str) -> Iterator[None]:
        """Hold the chain for one run. Busy if another process of this machine has it; one that died has nothing any more."""
        with self._held(f"{chain}.lock", fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

    @contextmanager
    def maintaining(self) -> Iterator[None]:
        """Hold what removes backups. Busy if another process of this machine has it. Backups run meanwhile."""
        with self._held(_MAINTAINING, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

    @contextmanager
    def changing_keys(self) -> Iterator[None]:
        """Hold the ways in: two who take one away at once leave none. Busy if another process of this machine has them."""
        with self._held(_KEYS, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

    @contextmanager
    def reading(self, what: str, stopped: Callable[[], bool]) -> Iterator[None]:
        """Keep retention of this machine away from what is read, after waiting for one that runs. `what`: RESTORING or VERIFYING. Cancelled.

        Where the folder is not there, or not ours to use, nothing is held: whoever wants a backup back gets it without.
        """
        with ExitStack() as held:
            while self.folder.is_dir():
                try:
                    held.enter_context(self._held(what, fcntl.LOCK_SH | fcntl.LOCK_NB))
                except Busy:
                    _log.info("waiting for retention, which is running in %s", self.folder)
                except AccessDenied as error:
                    _log.info("retention is not kept away: %s", error)
                    break
                else:
                    break
                time.sleep(_LOOK)
                if stopped():
                    raise Cancelled(f"stopped while waiting for retention, which is running in {self.folder}; nothing was read")
            yield

    @contextmanager
    def unread(self) -> Iterator[None]:
        """Hold what is about to be removed against whoever reads it. Busy if a restore or a verification of this machine does."""
        with self._held(RESTORING, fcntl.LOCK_EX | fcntl.LOCK_NB), self._held(VERIFYING, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

    @contextmanager
    def copying(self) -> Iterator[None]:
        """Hold the storage for one copy into it; no chain is called so. Busy if another process of this machine has it."""
        with self._held(_COPYING, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

    @contextmanager
    def _held(self, name: str, how: int) -> Iterator[None]:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._refused(error) from error
        try:
            try:
                fcntl.flock(descriptor, how)
            except BlockingIOError as error:
                what = _WHAT.get(name, f"a backup of chain {name.removesuffix('.lock')}")
                raise Busy(f"{what} is running on this machine already. Run it again when that has ended.") from error
            yield
        finally:
            os.close(descriptor)

    def _replace(self, name: str, content: bytes) -> None:
        """The old file or the new one, whenever the machine stops."""
        try:
            durable.replace(self.folder / name, content)
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> AccessDenied:
        return AccessDenied(
            f"the state folder {self.folder} cannot be used: {error.strerror}. It holds this machine's writer key and what it remembers: give user "
            f"{os.geteuid()} a folder that outlives the run, by --state-dir or STATE_DIR."
        )
