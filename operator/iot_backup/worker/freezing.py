"""A chain whose newest backup looks damaged is frozen before that backup exists: retention must take nothing that may be needed now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from iot_backup import vocabulary
from iot_backup.core import suspicion
from iot_backup.core.report import Warn
from iot_backup.core.suspicion import Figures
from iot_backup.errors import CorruptData, IotBackupError, Untrusted
from iot_backup.repository import holds

if TYPE_CHECKING:
    from iot_backup.core.layout import Member
    from iot_backup.repository.opening import Repository


def frozen(repository: Repository, member: Member, now: Figures, history: Sequence[Figures]) -> tuple[Warn, ...]:
    """What a person should know of the backup `member`, which is not committed yet; its chain is frozen then, if our word counts.

    `history`: as `suspicion.of` wants it. If the freeze cannot be written, its error is raised: nothing would stand between retention and the last
    good backups.
    """
    sight = suspicion.of(now, history, frozen=True)
    before = _is_frozen(repository, member.chain) if sight else None
    if before is False:
        sight = suspicion.of(now, history)  # what was odd before, a person has let go
    if sight is None:
        return ()
    fate = "retention takes nothing of the chain until the hold is released"
    if not before and not _freeze(repository, member, sight):
        fate = "but nothing stops retention: this writer is not admitted, so its word holds nothing"
    return (Warn(reason=vocabulary.SUSPICIOUS, message=f"{sight}. The backup is stored; {fate}"[:1500]),)


def _is_frozen(repository: Repository, chain: str) -> bool | None:
    """Whether the chain is; None if a hold cannot be read."""
    try:
        return any(held.chain == chain and held.reason == holds.FROZEN for held in holds.listed(repository.catalogue))
    except (CorruptData, Untrusted):
        return None


def _freeze(repository: Repository, member: Member, sight: str) -> bool:
    """Whether our holds count: where we are not admitted, neither do our backups in any rule."""
    writer = repository.writer
    if writer is None or not repository.writer_admitted:
        return False
    try:
        holds.placed(repository, writer, holds.Held(member.chain, member.id, holds.FROZEN, sight), member.started)
    except IotBackupError as error:
        raise type(error)(
            f"{sight}, so retention must not take the backups before this one; but the hold that says so could not be written, and this backup "
            f"is not stored without it: {error}"
        ) from error
    return True
