"""Which backups stay and which may go, and why: a pure decision over everything that a repository holds.

The only part that lets archives go, so whatever is not understood stays. A backup may be removed only if a rule of its own job lets it
go, and no backup that stays builds on it: an index refers to archives of all that it builds on, and its manifest signs its parent's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta, tzinfo

Key = tuple[str, str]
"""Chain and id."""


@dataclass(frozen=True)
class Policy:
    """What a job keeps: whatever one of the rules keeps, stays. Without any rule everything does."""

    days: int | None = None
    """Everything that was made less than so many days before the last but one."""
    keep_last: int | None = None
    """The newest so many."""
    hourly: int | None = None
    """The last one of each of the newest so many hours that have one; the others alike."""
    daily: int | None = None
    weekly: int | None = None
    """Weeks of ISO 8601: from Monday on."""
    monthly: int | None = None
    yearly: int | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) is not None for each in fields(self))


@dataclass(frozen=True)
class Point:
    """One backup whose manifest counts."""

    chain: str
    id: str
    seq: int
    parent: str | None
    job: str
    writer: str
    time: datetime
    """When it began."""
    partial: bool = False
    """Some files could not be read."""
    flaws: tuple[str, ...] = ()
    """Why it counts in no rule, and is removed by none: its time is not to be believed, an object of it is not there, it is suspicious."""
    holds: tuple[str, ...] = ()
    """Why somebody wants it to stay."""

    @property
    def key(self) -> Key:
        return self.chain, self.id


@dataclass(frozen=True)
class Around:
    """What else matters."""

    writer: str
    """Ours: others' backups stay."""
    policies: Mapping[str, Policy]
    """By job; what other jobs made stays."""
    stopped: Mapping[str, str]
    """Chains of which nothing goes, and why."""
    building: Mapping[str, str]
    """Backups that a run in progress builds on: their id, and the run's."""
    gaps: Mapping[str, int]
    """By chain the highest number that no backup has and nothing explains: what is missing may build on anything below it."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of one backup."""

    point: Point
    keep: bool
    reasons: tuple[str, ...]
    """All of them."""


def decided(points: Sequence[Point], around: Around, now: datetime, zone: tzinfo) -> tuple[Verdict, ...]:
    """A verdict for each, in the given order. `points`: all of the repository; `zone`: whose hours, days and weeks count."""
    known = {point.key: point for point in points}
    reasons: dict[Key, list[str]] = {point.key: list(_standing(point, known, around)) for point in points}
    for group in _groups(points, lambda point: (point.chain, point.job, point.writer)):
        policy = around.policies.get(group[0].job) or Policy()
        for key, reason in _by_rules([point for point in group if not reasons_of_flaws(point, known)], policy, now, zone):
            reasons[key].append(reason)
    for key, reason in _newest(points, known):
        reasons[key].append(reason)
    needed = _needed([point for point in points if reasons[point.key]], known)
    for key, reason in needed:
        reasons[key].append(reason)
    return tuple(
        Verdict(point, bool(reasons[point.key]), tuple(dict.fromkeys(reasons[point.key])) or (f"no rule of job {point.job} keeps it",))
        for point in points
    )


def closed(victims: Collection[Key], points: Sequence[Point]) -> set[Key]:
    """Those of the victims that nothing else builds on."""
    known = {point.key: point for point in points}
    needed = {key for key, _ in _needed([point for point in points if point.key not in victims], known)}
    return set(victims) - needed


def reasons_of_flaws(point: Point, known: Mapping[Key, Point]) -> tuple[str, ...]:
    """Why a backup counts in no rule; nothing for a good one."""
    found, last = list(point.flaws), point
    for last in ancestors(point, known):
        found += [f"it builds on {last.id}: {flaw}" for flaw in last.flaws]
    return (*found, *(("what it builds on is missing",) if last.parent is not None else ()))


def ancestors(point: Point, known: Mapping[Key, Point]) -> Iterator[Point]:
    """What a backup builds on, nearest first, as far as it is there."""
    current: Point | None = point
    while current is not None and current.parent is not None:
        above = known.get((current.chain, current.parent))
        current = above if above is not None and above.seq < current.seq else None
        if current is not None:
            yield current


def _standing(point: Point, known: Mapping[Key, Point], around: Around) -> Iterator[str]:
    """What keeps it whatever the rules say."""
    if point.writer != around.writer:
        yield f"not ours (writer {point.writer})"
    elif point.job not in around.policies:
        yield f"not ours (job {point.job})" if point.job else "not ours (no job)"
    elif not around.policies[point.job]:
        yield "no rule"
    if point.chain in around.stopped:
        yield around.stopped[point.chain]
    if point.id in around.building:
        yield f"needed by {around.building[point.id]}, which runs"
    if point.seq < around.gaps.get(point.chain, 0):
        yield f"number {around.gaps[point.chain]} of its chain is missing, and may build on it"
    yield from point.holds
    yield from reasons_of_flaws(point, known)


def _newest(points: Sequence[Point], known: Mapping[Key, Point]) -> Iterator[tuple[Key, str]]:
    """The newest good one of each chain, and of each job and writer in it; a partial one does not stand in for a complete one, nor the other way
    round."""
    good = [point for point in points if not reasons_of_flaws(point, known)]
    for what, group_of in (("chain", lambda p: p.chain), ("job", lambda p: (p.chain, p.job, p.writer))):
        for group in _groups(good, group_of):
            yield max(group, key=_order).key, f"newest of {what}"
            if complete := [point for point in group if not point.partial]:
                yield max(complete, key=_order).key, f"newest good of {what}"
    for group in _groups(points, lambda p: p.chain):
        yield max(group, key=_order).key, "newest of chain"  # also a bad one: numbers never begin anew


def _needed(kept: Iterable[Point], known: Mapping[Key, Point]) -> Iterator[tuple[Key, str]]:
    for point in kept:
        for above in ancestors(point, known):
            yield above.key, f"needed by {point.id}"


def _by_rules(group: Sequence[Point], policy: Policy, now: datetime, zone: tzinfo) -> Iterator[tuple[Key, str]]:
    """What the rules keep of the good backups that one writer made of one job. Complete ones are counted also without the partial ones: none
    takes the place of a complete one."""
    for pool in (group, [point for point in group if not point.partial]):
        newest_first = sorted(pool, key=_order, reverse=True)
        if policy.days is not None:
            yield from ((point.key, f"younger than {policy.days} days") for point in _young(pool, timedelta(days=policy.days), now))
        yield from ((point.key, f"last {number}") for number, point in enumerate(newest_first[: policy.keep_last or 0], 1))
        for rule, name_of in _BUCKETS:
            names = [(name_of(point.time.astimezone(zone)), point) for point in newest_first]
            yield from ((point.key, f"{rule} {name}") for name, point in _last_of_each(names, getattr(policy, rule) or 0))


def _young(pool: Iterable[Point], span: timedelta, now: datetime) -> Iterator[Point]:
    """Those made less than `span` before the last but one.

    Not before the clock's time: a job that stopped loses nothing by waiting. Not before the last one: a single run with a clock that was ahead
    must not make the others old. Nor does a clock that was behind make its own backup old: none is older than those with lower numbers.
    """
    in_order = sorted(pool, key=_order)
    past = sorted(point.time for point in in_order if point.time <= now)
    reference, reached = (past or [now])[-2:][0], datetime.min.replace(tzinfo=UTC)
    for point in in_order:
        reached = max(reached, point.time) if point.time <= now else reached
        if point.time > now or reference - reached < span:
            yield point


_BUCKETS: tuple[tuple[str, Callable[[datetime], str]], ...] = (
    ("hourly", lambda t: t.strftime("%Y-%m-%dT%H%z")),  # an hour that DST repeats is two
    ("daily", lambda t: t.strftime("%Y-%m-%d")),
    ("weekly", lambda t: t.strftime("%G-W%V")),
    ("monthly", lambda t: t.strftime("%Y-%m")),
    ("yearly", lambda t: t.strftime("%Y")),
)


def _last_of_each(newest_first: Sequence[tuple[str, Point]], count: int) -> Iterator[tuple[str, Point]]:
    seen: set[str] = set()
    for name, point in newest_first:
        if name in seen:
            continue
        if len(seen) == count:
            return
        seen.add(name)
        yield name, point


def _order(point: Point) -> tuple[int, datetime, str]:
    return point.seq, point.time, point.id


def _groups(points: Iterable[Point], of: Callable[[Point], object]) -> Iterable[list[Point]]:
    found: dict[object, list[Point]] = {}
    for point in points:
        found.setdefault(of(point), []).append(point)
    return found.values()
