"""A store that shows less than somebody remembers is found out."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from iot_backup.core.spec import Floor
from iot_backup.crypto.signing import WriterKey
from iot_backup.errors import RolledBack
from iot_backup.repository import floor
from iot_backup.repository.catalogue import Entry
from iot_backup.repository.commit import Committed

from .world import World, backed_up, pin


class Chain:
    """Three backups, and a chain of another name beside them."""

    def __init__(self) -> None:
        self.world = World()
        self.trust = pin(self.world.probe())
        repository = self.world.opened(self.trust)
        self.made = [backed_up(repository, "database", hours=hour) for hour in range(3)]
        for hour in range(5):
            backed_up(repository, "other", hours=hour)

    def entries(self) -> list[Entry]:
        return self.world.restoring(self.trust).catalogue.entries()

    def check(self, remembered: Floor | None) -> None:
        floor.check("database", self.entries(), remembered)

    def lose(self, committed: Committed) -> None:
        del self.world.store.objects[committed.manifest.member.manifest]


def remembered(committed: Committed) -> Floor:
    return Floor(seq=committed.manifest.seq, manifest_sha256=committed.manifest_sha256)


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_what_is_remembered_and_there_goes(chain: Chain) -> None:
    for committed in chain.made:
        chain.check(remembered(committed))


def test_without_a_memory_anything_goes(chain: Chain) -> None:
    for committed in chain.made:
        chain.lose(committed)
    chain.check(None)


def test_a_chain_that_ends_before_its_floor_is_rolled_back(chain: Chain) -> None:
    chain.lose(chain.made[2])
    with pytest.raises(RolledBack, match=r"number 2 of 2026-11-23 13:00:00Z as the newest of chain database, and number 3 .* acceptNewest"):
        chain.check(remembered(chain.made[2]))
    chain.check(remembered(chain.made[1]))


def test_a_chain_of_which_nothing_is_left_is_rolled_back_whatever_other_chains_hold(chain: Chain) -> None:
    for committed in chain.made:
        chain.lose(committed)
    with pytest.raises(RolledBack, match="no backup that counts of chain database"):
        chain.check(remembered(chain.made[0]))


def test_what_is_missing_below_the_newest_is_no_rollback(chain: Chain) -> None:
    chain.lose(chain.made[0])
    chain.lose(chain.made[1])
    chain.check(remembered(chain.made[1]))


def test_another_backup_of_the_remembered_number_is_rolled_back(chain: Chain) -> None:
    """As where the newest was removed, and a run without memory made another of its number."""
    chain.lose(chain.made[2])
    again = backed_up(chain.world.opened(chain.trust), "database", hours=9)
    assert again.manifest.seq == 3
    with pytest.raises(
        RolledBack, match=f"another backup than before: .* {again.manifest_sha256}, and was {chain.made[2].manifest_sha256}"
    ):
        chain.check(remembered(chain.made[2]))
    chain.check(remembered(again))


def test_two_runs_that_took_the_same_number_are_both_good(chain: Chain) -> None:
    lost, entry = chain.made[2], chain.world.store.objects[chain.made[2].manifest.member.manifest]
    chain.lose(lost)
    twin = backed_up(chain.world.opened(chain.trust), "database", hours=9)
    chain.world.store.objects[lost.manifest.member.manifest] = entry
    chain.check(remembered(lost))
    chain.check(remembered(twin))


@pytest.mark.parametrize("how", ["damaged", "by a stranger"])
def test_a_manifest_that_does_not_count_does_not_hold_the_floor_up_and_is_named(chain: Chain, how: str) -> None:
    wanted = remembered(chain.made[2])
    if how == "damaged":
        key = chain.made[2].manifest.member.manifest
        body, when = chain.world.store.objects[key]
        chain.world.store.objects[key] = (body.replace(b'"seq": 3', b'"seq": 4'), when)
    else:
        chain.lose(chain.made[2])
        backed_up(replace(chain.world, writer=WriterKey(os.urandom(32))).opened(chain.trust), "database", hours=9)
    why = {"damaged": "no valid signature", "by a stranger": "nobody admitted"}[how]
    with pytest.raises(RolledBack, match=f"number 2 .* 1 of its manifests does not count, for example: .*{why}"):
        chain.check(wanted)
