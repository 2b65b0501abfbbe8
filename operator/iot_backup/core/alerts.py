"""Who is told what: a pure decision over the last runs, what was told before, and the clock.

A job that fails is told once, again when it fails for another reason, and while it goes on failing once a day; that it works again is told
once. A run that found the source suspicious is told once. A slot that passed without any run is told once. What a scheduled verification or
retention found is told as a failing job is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

FAILURE, RECOVERY, MISSED, SUSPICIOUS, VERIFICATION, RETENTION = "failure", "recovery", "missed", "suspicious", "verification", "retention"
KINDS = (FAILURE, RECOVERY, MISSED, SUSPICIOUS, VERIFICATION, RETENTION)
AGAIN = timedelta(days=1)
"""Between two messages about one and the same trouble."""
_GOOD = "completed"
_SUSPICIOUS = "Suspicious"
_NO_TROUBLE = ("Busy",)
"""Reasons of failures that are none: another run was at work."""


@dataclass(frozen=True)
class Run:
    """One that ended."""

    job: str
    status: str
    """As a record has it."""
    end: datetime
    error: str = ""
    """`Reason: sentence`."""
    id: str = ""
    """Of the backup, if it left one."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Message:
    """One thing to tell."""

    kind: str
    """One of KINDS."""
    subject: str
    body: str
    time: datetime


@dataclass(frozen=True)
class Trouble:
    """What was told of something that does not work."""

    reason: str
    since: datetime
    told: datetime


@dataclass(frozen=True)
class Told:
    """What was told so far."""

    trouble: Mapping[str, Trouble] = field(default_factory=dict)
    """By job, `verification`, or `retention of <job>`."""
    suspicious: Mapping[str, str] = field(default_factory=dict)
    """By job the backup that was told last."""
    missed: Mapping[str, datetime] = field(default_factory=dict)
    """By job the slot that was told last."""
    known: Mapping[str, datetime] = field(default_factory=dict)
    """By job with a schedule, since when."""


def of_runs(runs: Mapping[str, Sequence[Run]], told: Told, now: datetime) -> tuple[list[Message], Told]:
    """By job its runs, oldest first."""
    messages: list[Message] = []
    trouble, suspicious = dict(told.trouble), dict(told.suspicious)
    for job, ended in runs.items():
        counted = [run for run in ended if _counts(run)]
        if not counted:
            continue
        last = counted[-1]
        sight = next((warning for warning in last.warnings if warning.startswith(_SUSPICIOUS)), None)
        if sight and suspicious.get(job) != last.id:
            suspicious[job] = last.id
            messages.append(Message(SUSPICIOUS, f"backup of {job} is suspicious", _suspicion(last, sight), last.end))
        _judge(job, last, counted, trouble, messages, now)
    return messages, replace(told, trouble=trouble, suspicious=suspicious)


def of_verification(ok: bool, problems: Sequence[str], end: datetime, told: Told, now: datetime) -> tuple[list[Message], Told]:
    """Of one scheduled verification."""
    trouble = dict(told.trouble)
    before = trouble.pop(VERIFICATION, None)
    if ok:
        body = f"All backups can be restored again; there was trouble since {_spoken(before.since)}." if before else ""
        messages = [Message(RECOVERY, "backups can be verified again", body, end)] if before else []
        return messages, replace(told, trouble=trouble)
    reason = problems[0].partition(":")[0] if problems else "unknown"
    if before and before.reason == reason and _lately(before.told, now):
        return [], told
    trouble[VERIFICATION] = Trouble(reason, before.since if before else end, now)
    body = "Not all backups can be restored:\n" + "".join(f"  {problem}\n" for problem in problems[:20])
    body += "What to do: run `backup-manager verify`, and make new full backups of the jobs it names while you look for the cause."
    return [Message(VERIFICATION, "backups failed their verification", body, end)], replace(told, trouble=trouble)


def of_retention(job: str, problems: Sequence[str], end: datetime, told: Told, now: datetime) -> tuple[list[Message], Told]:
    """Of what retention found after a job's run. A frozen chain is not told again: the run that froze it was."""
    trouble, what = dict(told.trouble), f"{RETENTION} of {job}"
    before = trouble.pop(what, None)
    found = [problem for problem in problems if ": frozen because of " not in problem]
    if not found:
        body = f"Nothing stands in its way any more; there was trouble since {_spoken(before.since)}." if before else ""
        return [Message(RECOVERY, f"{what} works again", body, end)] if before else [], replace(told, trouble=trouble)
    reason = next((word for word in found[0].split(": ") if word.isalnum() and word[0].isupper()), found[0])
    if before and before.reason == reason and _lately(before.told, now):
        return [], told
    trouble[what] = Trouble(reason, before.since if before else end, now)
    body = "Backups stay that its rules let go, or something is missing:\n" + "".join(f"  {problem}\n" for problem in found[:20])
    body += f"What to do: `backup-manager retention {job}` says more; docs/backup-manager.md has a table of these."
    return [Message(RETENTION, f"{what} needs somebody", body, end)], replace(told, trouble=trouble)


def of_slots(
    slots: Mapping[str, datetime], runs: Mapping[str, Sequence[Run]], told: Told, now: datetime, grace: timedelta
) -> tuple[list[Message], Told]:
    """`slots`: by job its last slot that has come; `grace`: how long after it a run may end. Runs that were stopped do not count as any."""
    messages, missed = [], dict(told.missed)
    known = {job: told.known.get(job, now) for job in slots}
    for job, slot in slots.items():
        ended = runs.get(job, ())
        ran = any(slot <= run.end <= now and _counts(run) for run in ended)
        new = not any(_counts(run) for run in ended) and slot <= known[job]
        if ran or new or now < slot + grace or missed.get(job) == slot:
            continue
        missed[job] = slot
        messages.append(Message(MISSED, f"backup of {job} was missed", _miss(slot, ended), now))
    return messages, replace(told, missed=missed, known=known)


def wanted(messages: Sequence[Message], kinds: Collection[str]) -> list[Message]:
    """Those that somebody wants to hear of."""
    return [message for message in messages if message.kind in kinds]


def _judge(job: str, last: Run, counted: Sequence[Run], trouble: dict[str, Trouble], messages: list[Message], now: datetime) -> None:
    before = trouble.get(job)
    if last.status == _GOOD:
        if before is not None:
            del trouble[job]
            body = f"Backup {last.id} is complete. There was trouble since {_spoken(before.since)}."
            messages.append(Message(RECOVERY, f"backup of {job} works again", body, last.end))
        return
    reason = _reason(last)
    if before and before.reason == reason and (_lately(before.told, now) or last.end <= before.told <= now):
        return
    since = before.since if before else last.end
    trouble[job] = Trouble(reason, since, now)
    subject = f"backup of {job} is incomplete" if last.status == "partial" else f"backup of {job} failed"
    messages.append(Message(FAILURE, subject, _failure(last, counted, since), last.end))


def _failure(last: Run, counted: Sequence[Run], since: datetime) -> str:
    what = last.error or "; ".join(last.warnings) or "some files could not be read"
    good = next((run for run in reversed(counted) if run.status == _GOOD), None)
    newest = (
        f"The newest complete backup is {good.id} of {_spoken(good.end)}."
        if good
        else "There is no complete backup of it that this machine knows of."
    )
    again = f"It has not worked since {_spoken(since)}. " if since != last.end else ""
    return f"{what}\n\n{again}{newest}\nWhat to do: mend what the sentence above names, then `backup-manager execute {last.job}`; `backup-manager doctor` looks at the rest."


def _miss(slot: datetime, ended: Sequence[Run]) -> str:
    stopped = [run for run in ended if run.end >= slot and not _counts(run)]
    since = f"the last of {len(stopped)} runs since was stopped at {_spoken(stopped[-1].end)}" if stopped else "no run has ended since"
    return f"It was due at {_spoken(slot)}, and {since}. What to do: see whether the machine was off, or a run hangs (`backup-manager doctor`)."


def _suspicion(last: Run, sight: str) -> str:
    return (
        f"{sight}\n\nBackup {last.id} is stored, and the ones before it are held: retention of its chain stops until somebody has looked.\n"
        f"What to do: compare with `backup-manager diff`, restore an older backup if the source was damaged."
    )


def _counts(run: Run) -> bool:
    return run.status != "cancelled" and _reason(run) not in _NO_TROUBLE


def _lately(told: datetime, now: datetime) -> bool:
    """Told within a day; not by a clock that was ahead."""
    return abs(now - told) < AGAIN


def _reason(run: Run) -> str:
    return run.error.partition(":")[0] if run.error else run.status


def _spoken(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M %Z")
