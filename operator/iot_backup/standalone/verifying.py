"""Whether what is stored can be restored: which backups are looked at, and what is said of them. Looking is `worker.verify`'s matter."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iot_backup.errors import AccessDenied, CorruptData, SourceUnavailable
from iot_backup.standalone import catalogue, records, sites, wording
from iot_backup.standalone.catalogue import Key, Opened
from iot_backup.standalone.config import Backup
from iot_backup.standalone.machine import Machine
from iot_backup.standalone.state import VERIFYING
from iot_backup.worker.flow import Stop
from iot_backup.worker.verify import EVERYTHING, Level, Verification, Verified, Wish, verify

_TELL = "`hold add ID --reason damaged` tells all machines"


@dataclass(frozen=True)
class Asked:
    """How deep to look, and at how much."""

    level: int
    percent: float
    key: Key
    scratch: Path | None = None
    """Where level 4 restores into; None: a temporary folder."""


@dataclass(frozen=True)
class Answer:
    """What was found in all repositories that were looked at."""

    found: tuple[Verification, ...]
    notes: tuple[str, ...] = ()
    """What becomes of the backups that are damaged."""
    absent: tuple[SourceUnavailable, ...] = ()
    """Storages without the repository that jobs of the config should have there."""

    @property
    def ok(self) -> bool:
        """Of what was found."""
        return all(each.ok for each in self.found)

    @property
    def exit_code(self) -> int:
        if not self.ok:
            return CorruptData.exit_code
        return SourceUnavailable.exit_code if self.absent else 0

    @property
    def backups(self) -> Sequence[Verified]:
        return [backup for each in self.found for backup in each.backups]

    @property
    def problems(self) -> list[str]:
        """Of no single backup."""
        own = [f"{problem.reason}: {wording.spoken(problem.message)}" for each in self.found for problem in each.problems]
        gone = [
            f"Missing: chain {chain} has no number {first}{f' to {last}' if last != first else ''}: somebody took those backups away"
            for each in self.found
            for chain, gaps in each.missing.items()
            for first, last in gaps
        ]
        return own + gone + [records.spoken(error) for error in self.absent]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": not self.exit_code, "backups": [_plain(backup) for backup in self.backups], "problems": self.problems}

    def rows(self) -> list[tuple[str, ...]]:
        """For people."""
        return [
            (
                each.member.id,
                each.member.chain,
                (each.type or "").lower(),
                _result(each),
                str(each.files),
                "retention took it meanwhile" if each.removed else "; ".join(_problems(each)),
            )
            for each in self.backups
        ]


@dataclass(frozen=True)
class _Meant:
    """What to look at in one repository. All of it where neither is said."""

    there: Opened
    ids: Collection[str] = ()
    chains: Collection[str] = ()


def verified(config: Backup, wanted: str | None, asked: Asked, machine: Machine, stop: Stop) -> Answer:
    """Look at one backup, a job's backups or all. Nothing in a storage is changed; this machine remembers what is damaged. What
    `worker.verify.verify` raises.

    SourceUnavailable where there is no backup at all: nothing proves that it can be restored.
    """
    found: list[Verification] = []
    notes: list[str] = []
    absent: list[SourceUnavailable] = []
    for meant in _wanted(config, wanted, asked, machine, stop):
        if isinstance(meant, SourceUnavailable):
            absent.append(meant)
            continue
        there = meant.there
        with tempfile.TemporaryDirectory(prefix="iot-backup-verify-", dir=asked.scratch) as scratch:
            wish = Wish(
                level=Level(asked.level),
                ids=meant.ids,
                chains=meant.chains,
                percent=asked.percent,
                scratch=Path(scratch),
                floors={chain: head.floor for chain, head in there.memory.heads.items()} if there.memory else {},
                stop=stop,
            )
            found.append(verify(there.repository, wish))
        notes += _remembered(there, found[-1], asked, machine)
    answer = Answer(tuple(found), tuple(notes), tuple(absent))
    if not answer.backups and answer.ok:
        raise SourceUnavailable(
            "no storage of the config holds a backup: there is nothing to verify. Is the storage mounted, and backup.site right?"
        )
    return answer


def _remembered(there: Opened, found: Verification, asked: Asked, machine: Machine) -> Iterator[str]:
    """Keep in mind what is damaged, and what is not any more; a sentence where somebody must know of it."""
    failed = {each.member.id: int(each.level) for each in found.backups if each.damaged}
    # A sample proves that something is damaged, and not that all is well.
    passed = {
        each.member.id: asked.level if asked.percent >= EVERYTHING else Level.METADATA
        for each in found.backups
        if each.ok and not each.removed
    }
    known = there.memory
    if known is None or known.trust.repository_id != there.trust.repository_id:
        if failed:
            yield (
                f"damaged in storage {there.site.storage}: {', '.join(failed)}. This machine's state folder does not know that repository, so nothing of "
                f"it is remembered; on a machine that backs up there, {_TELL}"
            )
        return
    if failed:
        yield (
            f"damaged in storage {there.site.storage}: {', '.join(failed)}. On this machine no backup builds on them any more, and they count in no "
            f"rule of retention; {_TELL}"
        )
    if failed or known.verified({}, passed) != known:
        try:
            machine.state_of(there.site).remember(lambda memory: (memory or known).verified(failed, passed))
        except (AccessDenied, CorruptData) as error:
            yield f"this could not be remembered: {records.spoken(error)}"


def _wanted(config: Backup, wanted: str | None, asked: Asked, machine: Machine, stop: Stop) -> Iterator[_Meant | SourceUnavailable]:
    """What is meant of each repository, or that a storage lacks one. Retention of this machine is kept away until the next one is asked for."""
    sealed = asked.level >= Level.CONTENT
    if wanted is None:
        for site in sites.all_of(config, machine.environ):
            with machine.state_of(site).reading(VERIFYING, stop.is_set):
                there = catalogue.opened(site, machine, asked.key, sealed=sealed)
                if there is not None:
                    yield _Meant(there)
                elif missed := catalogue.missed(config, site, machine):
                    yield missed
    elif any(job.id == wanted for job in config.jobs):
        job = sites.job(config, wanted)
        site = sites.of_job(config, job, machine.environ)
        with machine.state_of(site).reading(VERIFYING, stop.is_set):
            there = catalogue.opened(site, machine, asked.key, sealed=sealed)
            ids, chains = catalogue.of_job(config, there, job, machine) if there else ([], set())
            if there is None or not ids:
                raise SourceUnavailable(f"job {wanted} has no backup in storage {site.storage}: there is nothing to verify")
            yield _Meant(there, ids, chains)
    else:
        there, manifest = catalogue.chosen(config, wanted, None, machine, asked.key)
        with machine.state_of(there.site).reading(VERIFYING, stop.is_set):
            yield _Meant(catalogue.unsealed(there, machine, asked.key) if sealed else there, [manifest.id])


def _result(backup: Verified) -> str:
    return ("removed" if backup.removed else "ok") if backup.ok else "FAILED"


def _plain(backup: Verified) -> dict[str, Any]:
    return {
        "id": backup.member.id,
        "chain": backup.member.chain,
        "type": backup.type.lower() if backup.type else None,
        "level": int(backup.level),
        "ok": backup.ok,
        "removed": backup.removed,
        "files": backup.files,
        "bytes": backup.bytes,
        "problems": _problems(backup),
    }


def _problems(backup: Verified) -> list[str]:
    return [f"{problem.reason}: {wording.spoken(problem.message)}" for problem in backup.problems]
