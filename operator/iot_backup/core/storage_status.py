"""What a BackupStorage says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iot_backup.core import orders
from iot_backup.core.conditions import Condition, Json, merged, reconciling, stalled

if TYPE_CHECKING:
    from iot_backup.api.backupstorage import BackupStorage
    from iot_backup.core.pods import Trouble
    from iot_backup.core.probes import Look
    from iot_backup.core.report import ProbeResult


def invalid(status: Json, generation: int, problem: Trouble, now: str) -> Json:
    """The status of a resource whose spec cannot be used."""
    wanted = [Condition("Ready", False, problem.reason, problem.message), stalled(problem.reason, problem.message)]
    return {**status, "observedGeneration": generation, "conditions": merged(status.get("conditions") or (), wanted, generation, now)}


def judged(result: ProbeResult) -> Condition:
    """Ready, from what a probe found."""
    if not result.confirmed:
        return Condition(
            "Ready",
            False,
            "ConfirmRepository",
            f"the store holds a repository with fingerprint {result.fingerprint} that this storage did not create and could not open; "
            "if it is the one you mean, set spec.encryption.fingerprint to it, or give its passphrase in spec.encryption.secretRef",
        )
    if not result.writer_admitted:
        return Condition(
            "Ready",
            False,
            "WriterNotAdmitted",
            f"the repository does not know this cluster's writer key {result.writer}: backups run, but do not count until it is admitted; "
            "give the repository's passphrase in spec.encryption.secretRef, or admit the key from where it is",
        )
    return Condition("Ready", True, "Ready", f"repository {result.repository_id} answers and its key is known")


def good(look_result: ProbeResult | None) -> bool:
    """Whether a probe found all as it should be."""
    return look_result is not None and judged(look_result).status is True


def status(storage: BackupStorage, current: Json, last: Look | None, problem: Trouble | None, now: str) -> Json:
    """The whole status after the newest look; `problem` is what keeps the operator from looking at all."""
    generation = storage.metadata.generation
    fresh: Json = {**current, "observedGeneration": generation, "location": orders.location(storage)}
    about_now = last is not None and last.generation == generation
    if last is not None and about_now and last.verdict.final:
        fresh.update(_facts(last))
        conditions = _ended(last, current)
    elif problem:
        conditions = [Condition("Ready", False, problem.reason, problem.message), *_kept(current, "Isolated")]
    else:
        conditions = _looking(current, last if about_now else None, generation)
    fresh["conditions"] = merged(current.get("conditions") or (), conditions, generation, now)
    return fresh


def _facts(last: Look) -> Json:
    """Fields a look sets. The repository is pinned only by a look that could confirm it."""
    fields: Json = {"lastProbeTime": last.verdict.ended}
    if last.request:
        fields["lastHandledProbeRequest"] = last.request
    report = last.verdict.report
    found = report.probe if report else None
    if found is None:
        return fields
    fields["capabilities"] = {
        "conditionalWrites": found.capabilities.conditional_writes,
        "objectLock": found.capabilities.object_lock,
        "versioning": found.capabilities.versioning,
    }
    if found.confirmed:
        fields.update(repositoryId=found.repository_id, fingerprint=found.fingerprint, recipient=found.recipient)
        fields.update(writer=found.writer, writerAdmitted=found.writer_admitted)
    return fields


def _ended(last: Look, current: Json) -> list[Condition]:
    report = last.verdict.report
    found = report.probe if report and last.verdict.phase == "Completed" else None
    if found is None:
        reason = "ConfirmRepository" if last.verdict.reason == "Untrusted" else last.verdict.reason
        if last.verdict.phase == "Completed":
            return [
                Condition("Ready", False, "ResultMissing", f"probe {last.name} reported nothing about the store"),
                *_kept(current, "Isolated"),
            ]
        return [Condition("Ready", False, reason, last.verdict.message), *_kept(current, "Isolated")]
    return [judged(found), _isolated(found)]


def _isolated(found: ProbeResult) -> Condition:
    if found.isolated is None:
        return Condition("Isolated", None, "NotTried", "whether the credentials reach beyond this namespace's repository was not tried")
    if found.isolated:
        return Condition("Isolated", True, "Isolated", "the credentials reach this namespace's repository and nothing beside it")
    return Condition(
        "Isolated",
        False,
        "CredentialsReachOthers",
        "the credentials can list or read outside this namespace's repository; limit them to it if others share the bucket",
    )


def _looking(current: Json, last: Look | None, generation: int) -> list[Condition]:
    """While a probe runs: what was known stays; what was never known is Unknown, or the trouble the probe's pod has."""
    known = current.get("observedGeneration") == generation and _kept(current, "Ready")
    if known and known[0].status is not None and known[0].reason != "StoreClaimMissing":
        return [*known, *_kept(current, "Isolated")]
    if last and last.verdict.reason not in {"Running", "Starting"}:
        ready = Condition("Ready", False, last.verdict.reason, last.verdict.message)
    else:
        ready = Condition("Ready", None, "Probing", "a worker is looking at the store")
    return [ready, *_kept(current, "Isolated"), reconciling("Probing")]


def _kept(current: Json, type_: Any) -> list[Condition]:
    """The condition as it is, if it is there."""
    words = {"True": True, "False": False, "Unknown": None}
    found = [c for c in current.get("conditions") or () if c.get("type") == type_]
    return [Condition(type_, words[c["status"]], c["reason"], c.get("message", "")) for c in found]
