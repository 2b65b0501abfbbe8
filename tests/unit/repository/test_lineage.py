"""A backup's parents up to its Full: found, or the missing one named."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from iot_backup.core.manifest import Manifest, Parent
from iot_backup.errors import ChainBroken, CorruptData
from iot_backup.repository.catalogue import Entry
from iot_backup.repository.lineage import Lineage, lineage

from .test_catalogue import signed_by
from .world import World, backed_up, pin


class Chain:
    """A Full and two incrementals, each signed for the one before."""

    def __init__(self) -> None:
        self.world = World("none")
        self.trust = pin(self.world.probe())
        full = backed_up(self.world.opened(self.trust))
        self.members = [full.manifest]
        for number in (1, 2):
            self.add(str(number) * 16)

    def add(self, id_: str, **changes: object) -> None:
        last = self.members[-1]
        sha256 = hashlib.sha256(self.world.store.read(last.member.manifest)).hexdigest()
        facts = {
            "type": "Incremental",
            "id": id_,
            "seq": last.seq + 1,
            "start_time": last.start_time + timedelta(hours=1),
            "parent": Parent(id=last.id, manifest_sha256=sha256),
        }
        self.put(last.model_copy(update={**facts, **changes}))

    def put(self, manifest: Manifest) -> None:
        self.members.append(manifest)
        self.world.store.create(manifest.member.manifest, signed_by(self.world.writer, manifest))

    def followed(self, id_: str = "2" * 16) -> Lineage:
        repository = self.world.restoring(self.trust)
        return lineage(repository.catalogue, repository.find(id_))


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_a_whole_chain_is_followed_to_its_full(chain: Chain) -> None:
    assert chain.followed().whole() == tuple(chain.members)
    assert chain.followed("1" * 16).whole() == tuple(chain.members[:2])
    assert chain.followed(chain.members[0].id).whole() == (chain.members[0],)


def test_a_differential_needs_its_full_alone(chain: Chain) -> None:
    full = chain.members[0]
    sha256 = hashlib.sha256(chain.world.store.read(full.member.manifest)).hexdigest()
    chain.add("3" * 16, type="Differential", parent=Parent(id=full.id, manifest_sha256=sha256))
    assert chain.followed("3" * 16).whole() == (full, chain.members[-1])


@pytest.mark.parametrize("gone", [0, 1])
def test_a_missing_member_is_named(chain: Chain, gone: int) -> None:
    lost = chain.members[gone]
    chain.world.store.delete(lost.member.manifest)
    line = chain.followed()
    assert (line.missing, line.members) == (lost.id, tuple(chain.members[gone + 1 :]))
    with pytest.raises(ChainBroken, match=rf"2222222222222222 builds on {lost.id}.*no longer in the store"):
        line.whole()


def test_a_member_that_does_not_count_is_named(chain: Chain) -> None:
    lost = chain.members[1]
    body, when = chain.world.store.objects[lost.member.manifest]
    chain.world.store.objects[lost.member.manifest] = (body.replace(b'"claim": "data"', b'"claim": "dada"'), when)
    with pytest.raises(ChainBroken, match=f"{lost.id}, which does not count.*no valid signature"):
        chain.followed().whole()


def test_another_manifest_of_the_same_id_is_not_the_parent(chain: Chain) -> None:
    """Signed, well-formed, and not the one that the child was made from."""
    real = chain.members[1]
    chain.world.store.delete(real.member.manifest)
    chain.put(real.model_copy(update={"tool": "another"}))
    with pytest.raises(ChainBroken, match="another manifest of that id"):
        chain.followed().whole()


@pytest.mark.parametrize("changes", [{"seq": 2}, {"seq": 1}, {"chain": "other"}])
def test_a_parent_of_a_place_where_no_parent_is_ends_the_walk(chain: Chain, changes: dict[str, object]) -> None:
    chain.add("3" * 16, **{"seq": 4, **changes})
    chain.add("4" * 16, seq=chain.members[-1].seq if "seq" in changes else 5, chain="database")
    with pytest.raises(ChainBroken, match="nothing of ours builds so"):
        chain.followed("4" * 16).whole()


def test_a_backup_that_does_not_count_has_no_lineage(chain: Chain) -> None:
    repository = chain.world.restoring(chain.trust)
    with pytest.raises(CorruptData, match="the problem"):
        lineage(repository.catalogue, Entry(chain.members[0].member, None, "", CorruptData("the problem")))
