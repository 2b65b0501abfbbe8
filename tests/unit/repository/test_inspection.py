"""What is missing between backups, and what one builds on: without a store."""

from __future__ import annotations

import hashlib

import pytest

from iot_backup.core.manifest import Manifest, Parent
from iot_backup.repository.catalogue import Entry
from iot_backup.repository.inspection import gaps, with_parents

from .world import World, backed_up, pin


@pytest.fixture(scope="module")
def pattern() -> Manifest:
    world = World("none")
    return backed_up(world.opened(pin(world.probe()))).manifest


def numbered(pattern: Manifest, chain: str, *numbers: int) -> list[Manifest]:
    return [pattern.model_copy(update={"chain": chain, "seq": number}) for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [
        ((), {}),
        ((1,), {}),
        ((1, 2, 3), {}),
        ((3, 1, 2, 2), {}),
        ((2,), {"daily": ((1, 1),)}),
        ((1, 4, 5, 9), {"daily": ((2, 3), (6, 8))}),
        ((1, 1 << 62), {"daily": ((2, (1 << 62) - 1),)}),
    ],
)
def test_numbers_that_no_backup_has(pattern: Manifest, numbers: tuple[int, ...], missing: dict[str, object]) -> None:
    assert gaps(numbered(pattern, "daily", *numbers), {}) == missing


def test_each_chain_has_its_own_numbers(pattern: Manifest) -> None:
    assert gaps([*numbered(pattern, "daily", 1, 2), *numbered(pattern, "weekly", 2)], {}) == {"weekly": ((1, 1),)}


def test_what_retention_took_away_is_no_gap_and_explains_no_other(pattern: Manifest) -> None:
    assert gaps(numbered(pattern, "daily", 4, 7), {"daily": {1, 2, 3, 6}, "weekly": {5}}) == {"daily": ((5, 5),)}


def entry(pattern: Manifest, letter: str, parent: str | None) -> Entry:
    named = Parent(id=parent * 16, manifest_sha256=hashlib.sha256(parent.encode()).hexdigest()) if parent else None
    made = pattern.model_copy(update={"id": letter * 16, "parent": named})
    return Entry(made.member, made, hashlib.sha256(letter.encode()).hexdigest())


def test_a_backup_comes_with_all_that_it_builds_on(pattern: Manifest) -> None:
    all_ = [
        entry(pattern, "a", None),
        entry(pattern, "b", "a"),
        entry(pattern, "c", "b"),
        entry(pattern, "d", "a"),
        entry(pattern, "e", "f"),
    ]
    a, b, c, d, e = all_
    for wanted, expected in (([c], (a, b, c)), ([d], (a, d)), ([a], (a,)), ([d, b], (a, b, d)), ([e], (e,)), ([], ())):
        assert with_parents(wanted, all_) == expected


def test_backups_that_build_on_each_other_in_a_circle_end_all_the_same(pattern: Manifest) -> None:
    circle = [entry(pattern, "a", "b"), entry(pattern, "b", "a")]
    assert with_parents(circle[:1], circle) == tuple(circle)
