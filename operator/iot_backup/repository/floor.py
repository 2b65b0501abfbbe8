"""What somebody remembers of a chain, held against what the store shows of it: a pure decision.

Nobody with store credentials alone can forge a backup, but anybody can remove or hide the newest. Whoever goes by the newest one
(a backup that builds on it, a restore of the latest) asks here first. Gaps further down are told by a verification.
"""

from __future__ import annotations

from collections.abc import Sequence

from iot_backup.core import manifest as manifests
from iot_backup.core.spec import Floor
from iot_backup.errors import RolledBack
from iot_backup.repository.catalogue import Entry

_WHAT_TO_DO = (
    "Somebody removed or hid backups, or the store was set back. Find out who, and bring them back from the bucket's versions or a copy; "
    "if the loss is known and accepted, set acceptNewest: true."
)


def check(chain: str, entries: Sequence[Entry], floor: Floor | None) -> None:
    """RolledBack if the chain's newest good backup is older than the remembered one, or the remembered one is another now.

    `entries`: of this chain; those of others are passed over. Without a floor nobody remembers, and anything goes.
    """
    if floor is None:
        return
    ours = [entry for entry in entries if entry.member.chain == chain]
    good = [entry for entry in ours if entry.manifest is not None]
    newest = manifests.newest([entry.manifest for entry in good if entry.manifest])
    if newest is None or newest.seq < floor.seq:
        seen = "no backup that counts" if newest is None else f"number {newest.seq} of {newest.start_time:%Y-%m-%d %H:%M:%SZ} as the newest"
        raise RolledBack(
            f"the store shows {seen} of chain {chain}, and number {floor.seq} was there before. {_WHAT_TO_DO}{_discarded(ours)}"
        )
    # Two runs at once may have taken the same number: one of them is the remembered one.
    same = [entry.manifest_sha256 for entry in good if entry.manifest and entry.manifest.seq == floor.seq]
    if same and floor.manifest_sha256 not in same:
        raise RolledBack(
            f"number {floor.seq} of chain {chain} is another backup than before: its manifest has SHA-256 {same[0]}, and was "
            f"{floor.manifest_sha256}. {_WHAT_TO_DO}{_discarded(ours)}"
        )


def _discarded(entries: Sequence[Entry]) -> str:
    """A sentence on manifests that are there and do not count: one of them may be the missed one."""
    problems = [entry.problem for entry in entries if entry.problem]
    if not problems:
        return ""
    return f" {len(problems)} of its manifests {'does' if len(problems) == 1 else 'do'} not count, for example: {problems[-1]}"
