"""A run that is killed, stopped, or lied to by the store: what counts as a backup restores, and nothing else counts."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from iot_backup.repository.opening import open_to_look
from iot_backup.repository.sweeping import PATIENCE as PATIENCE_OF_SWEEPING
from iot_backup.repository.sweeping import Swept, swept
from tests.minio.proxy import Fault, Harm, Proxy, faulty
from tests.minio.server import Minio
from tests.pipeline.sites import NAMESPACE, Bucket, Site
from tests.pipeline.stored import size_of
from tests.pipeline.worker_process import PATIENCE, Ended, Worker

ARCHIVE, INDEX, MANIFEST = ".full.tar.zst.age", ".index", ".manifest.json"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three parts of an upload."""
    root = tmp_path_factory.mktemp("large")
    (root / "noise").write_bytes(os.urandom(20 << 20))
    (root / "note").write_bytes(b"small")
    return root


@dataclass
class Gate:
    """Holds the first request of a kind back until it is opened."""

    method: str
    part: str
    _harm: Harm | None = None
    _reached: threading.Event = field(default_factory=threading.Event)
    _open: threading.Event = field(default_factory=threading.Event)

    @property
    def reached(self) -> bool:
        return self._reached.is_set()

    def harm(self, method: str, path: str) -> Harm | None:
        if method == self.method and self.part in path and not self.reached:
            self._reached.set()
            self._open.wait(PATIENCE)
            return self._harm
        return None

    def open(self) -> None:
        """Let the request go on to the store."""
        self._open.set()

    def lose(self) -> None:
        """Let nothing of the request reach the store."""
        self._harm = Harm.CLOSE_MID_UPLOAD
        self._open.set()


@contextmanager
def gate(proxy: Proxy, method: str, part: str) -> Iterator[Gate]:
    made, harm = Gate(method, part), proxy.harm

    def waiting(method: str, path: str) -> Harm | None:
        return made.harm(method, path) or harm(method, path)

    proxy.harm = waiting  # type: ignore[method-assign]
    try:
        yield made
    finally:
        made.open()
        proxy.harm = harm  # type: ignore[method-assign]


@pytest.fixture
def proxy(minio: Minio) -> Iterator[Proxy]:
    with faulty(minio) as running:
        yield running


@pytest.fixture
def site(seed: Site, minio: Minio, proxy: Proxy, tmp_path: Path) -> Site:
    """Workers reach the bucket by the proxy."""
    return seed.elsewhere(Bucket(minio, minio.bucket(), endpoint=proxy.endpoint), tmp_path)


def started(site: Site, source: Path) -> Worker:
    return site.start(site.backup_order(), source=source, impatient=True)


def announced(site: Site) -> list[dict[str, object]]:
    """Those that are whole at this moment: one that is being written, or that has gone since it was listed, is none."""
    found = []
    for key in site.place.keys():
        if key.startswith("announce/") and not key.startswith("announce/."):
            with suppress(FileNotFoundError):
                found.append(json.loads(site.place.read(key)))
    return found


def covered(site: Site, before: set[str]) -> bool:
    """Whether everything that was left is named by an announcement, which is there too; but for a freeze, which is there before its backup."""
    left = {key for key in site.place.keys() - before if not key.startswith(("announce/", "holds/"))}
    return left <= {key for record in announced(site) for key in record["objects"]}  # type: ignore[attr-defined]


KILLED_AT = [
    ("PUT", "/announce/", 0),
    ("PUT", "partNumber=2", 1),
    ("POST", "uploadId=", 1),
    ("PUT", INDEX, 1),
    ("PUT", MANIFEST, 1),
]


@pytest.mark.parametrize(("method", "part", "announcements"), KILLED_AT)
def test_a_run_killed_before_its_commit_is_no_backup(
    site: Site, proxy: Proxy, minio: Minio, plant: Path, large: Path, method: str, part: str, announcements: int
) -> None:
    earlier = site.backup(plant)
    before, manifests = site.place.keys(), site.manifests()
    with gate(proxy, method, part) as at:
        worker = started(site, large)
        worker.until(lambda: at.reached, f"{method} {part}")
        worker.send(signal.SIGKILL)
        killed = site.ended(worker)
        at.lose()
    assert (killed.code, killed.report) == (-signal.SIGKILL, None)
    assert site.manifests() == manifests
    assert len(announced(site)) == announcements
    assert covered(site, before)
    site.restores(earlier.archive, plant)
    assert site.backup(large).backup.seq == 2


@pytest.mark.parametrize(("method", "part"), [("PUT", "partNumber=2"), ("POST", "uploadId=")])
def test_the_parts_of_a_killed_run_go_with_it(site: Site, proxy: Proxy, minio: Minio, large: Path, method: str, part: str) -> None:
    assert isinstance(site.place, Bucket)
    assert site.trust is not None
    before = site.place.keys()
    with gate(proxy, method, part) as at:
        worker = started(site, large)
        worker.until(lambda: at.reached, f"{method} {part}")
        worker.send(signal.SIGKILL)
        site.ended(worker)
        at.lose()
    (run,) = announced(site)
    archive = next(f"backups/east/ns/plant-7/{key}" for key in run["objects"] if key.endswith(ARCHIVE))  # type: ignore[attr-defined]
    assert minio.open_uploads(site.place.bucket, archive) == [archive]
    catalogue = open_to_look(site.store(), NAMESPACE, site.trust).catalogue
    deadline = datetime.fromisoformat(str(run["deadline"]))
    assert swept(catalogue, str(run["writer"]), deadline + PATIENCE_OF_SWEEPING) == Swept((), ())
    assert minio.open_uploads(site.place.bucket, archive) == [archive]
    found = swept(catalogue, str(run["writer"]), deadline + PATIENCE_OF_SWEEPING + timedelta(seconds=1))
    assert found == Swept((str(run["id"]),), ())
    assert minio.open_uploads(site.place.bucket, archive) == []
    assert site.place.keys() == before


@pytest.mark.parametrize(("method", "part"), [("PUT", MANIFEST), ("GET", MANIFEST), ("DELETE", "/announce/")])
def test_a_run_killed_once_its_commit_was_sent_is_a_backup(site: Site, proxy: Proxy, large: Path, method: str, part: str) -> None:
    """Also if the commit reaches the store when its sender is dead."""
    with gate(proxy, method, part) as at:
        worker = started(site, large)
        worker.until(lambda: at.reached, f"{method} {part}")
        worker.send(signal.SIGKILL)
        assert site.ended(worker).report is None
        at.open()
        deadline = time.monotonic() + PATIENCE
        while not site.manifests() and time.monotonic() < deadline:
            time.sleep(0.01)
    (name,) = site.manifests()
    assert method == "DELETE" or announced(site)  # in this order: one that is being deleted cannot be read
    site.restores(json.loads(site.place.read(name))["id"], large)


def struck(site: Site, reached: Callable[[], bool], source: Path) -> tuple[set[str], set[str]]:
    """Kill a run at that moment; keys and manifests as they were before it. The moment is short: a run that got away is one more backup.

    So slow that it cannot commit between a look at it and its end.
    """
    for _ in range(20):
        before, manifests = set(site.place.keys()), set(site.manifests())
        if site.start(site.backup_order(bandwidth_limit=16 << 20), source=source).struck(reached):
            return before, manifests
    raise AssertionError(f"none of 20 runs could be killed at the moment {reached.__name__!r}")


def test_a_run_on_a_volume_killed_at_any_moment_is_a_backup_or_none(volume_site: Site, plant: Path, large: Path) -> None:
    site = volume_site
    earlier = site.backup(plant)
    base = site.place.mount  # type: ignore[attr-defined]

    def partial() -> bool:
        return any(size_of(path) > 4 << 20 for path in base.rglob(".*.partial"))

    def archive() -> bool:
        return len([key for key in site.place.keys() if key.endswith(ARCHIVE)]) > len(site.manifests())

    for reached in (partial, archive):
        before, manifests = struck(site, reached, large)
        new = site.manifests() - manifests
        assert len(new) <= (reached is archive)
        for name in new:
            site.restores(json.loads(site.place.read(name))["id"], large)
        assert new or announced(site)
        hidden = {key for key in site.place.keys() if key.endswith(".partial")}
        assert new or covered(site, before | hidden)
    site.restores(earlier.archive, plant)
    site.restores(site.backup(large).archive, large)


def test_a_run_that_is_stopped_takes_everything_back(site: Site, proxy: Proxy, minio: Minio, plant: Path, large: Path) -> None:
    earlier = site.backup(plant)
    before = site.place.keys()
    with gate(proxy, "PUT", "partNumber=2") as at:
        worker = started(site, large)
        worker.until(lambda: at.reached, "the upload")
        key = announced(site)[0]["objects"][1]  # type: ignore[index]
        worker.send(signal.SIGTERM)
        worker.until(lambda: "asked to stop" in worker.log, "the signal")
        at.open()
        stopped = site.ended(worker)
    assert (stopped.code, stopped.failure.reason, stopped.failure.retryable) == (143, "Cancelled", False)
    assert "nothing was published" in stopped.failure.message
    assert site.place.keys() == before
    assert minio.open_uploads(site.place.bucket, f"backups/east/ns/plant-7/{key}") == []  # type: ignore[attr-defined]
    site.restores(earlier.archive, plant)


def test_a_run_that_is_stopped_while_the_store_is_silent_ends_all_the_same(site: Site, proxy: Proxy, large: Path) -> None:
    with gate(proxy, "PUT", "partNumber=1") as at:
        worker = started(site, large)
        worker.until(lambda: at.reached, "the upload")
        worker.send(signal.SIGTERM)
        stopped = site.ended(worker)
    assert (stopped.code, stopped.failure.reason) == (143, "Cancelled")
    assert site.manifests() == set()
    assert covered(site, {key for key in site.place.keys() if not key.startswith(("announce/", "chains/"))})


def test_a_volume_run_that_is_stopped_takes_everything_back(volume_site: Site, tmp_path: Path) -> None:
    source = tmp_path / "much"
    source.mkdir()
    (source / "noise").write_bytes(os.urandom(60 << 20))
    site, before = volume_site, volume_site.place.keys()
    worker = site.start(site.backup_order(level=19), source=source)
    worker.until(lambda: bool(announced(site)), "the announcement")
    worker.send(signal.SIGTERM)
    stopped = site.ended(worker)
    assert (stopped.code, stopped.failure.reason) == (143, "Cancelled")
    assert site.place.keys() == before


def test_a_stop_after_the_commit_was_sent_comes_too_late(site: Site, proxy: Proxy, plant: Path) -> None:
    with gate(proxy, "PUT", MANIFEST) as at:
        worker = started(site, plant)
        worker.until(lambda: at.reached, "the commit")
        worker.send(signal.SIGTERM)
        worker.until(lambda: "while the commit is under way" in worker.log, "the signal")
        at.open()
        done = site.ended(worker)
    assert done.code == 0
    assert announced(site) == []
    site.restores(done.archive, plant)


HARMS = [Harm.STORE_THEN_500, Harm.STORE_THEN_CLOSE, Harm.STORE_THEN_STALL]


@pytest.mark.parametrize("harm", HARMS)
def test_a_commit_that_was_stored_and_not_confirmed_is_a_backup(site: Site, proxy: Proxy, plant: Path, harm: Harm) -> None:
    proxy.faults = [Fault(harm, "PUT", MANIFEST)]
    done = site.backup(plant, impatient=True)
    assert proxy.faults[0].hits == 1
    assert done.code == 0
    assert announced(site) == []
    site.restores(done.archive, plant)


def test_a_commit_of_which_nobody_can_tell_is_left_alone(site: Site, proxy: Proxy, plant: Path) -> None:
    proxy.faults = [Fault(Harm.STORE_THEN_CLOSE, "PUT", MANIFEST, 99), Fault(Harm.REFUSE, "GET", MANIFEST, 99)]
    unknown = site.backup(plant, impatient=True).failure
    assert (unknown.reason, unknown.exit_code, unknown.retryable) == ("StorageUnavailable", 69, True)
    assert "nobody can tell" in unknown.message
    proxy.faults = []
    (name,) = site.manifests()
    assert len(announced(site)) == 1
    site.restores(json.loads(site.place.read(name))["id"], plant)


STUMBLES = [
    *((Harm.STORE_THEN_500, 1, part) for part in ("/announce/", "partNumber=1", "partNumber=3", "uploadId=", INDEX)),
    *((Harm.STORE_THEN_CLOSE, 1, part) for part in ("uploadId=", INDEX)),
    *((Harm.REFUSE, 999, part) for part in ("/announce/", "partNumber=3", INDEX)),
]


@pytest.mark.parametrize(("harm", "times", "part"), STUMBLES)
def test_wherever_a_store_stumbles_there_is_a_backup_or_an_error(
    site: Site, proxy: Proxy, plant: Path, large: Path, part: str, harm: Harm, times: int
) -> None:
    """`large` is three parts; what the run says of itself is what the store holds."""
    proxy.faults = [Fault(harm, "POST" if part == "uploadId=" else "PUT", part, times)]
    before = site.place.keys()
    ended = site.backup(large, impatient=True)
    assert proxy.faults[0].hits >= 1
    proxy.faults = []
    if ended.code == 0:
        assert times == 1
        site.restores(ended.archive, large)
        assert announced(site) == []
    else:
        assert (ended.failure.reason, ended.failure.retryable) == ("StorageUnavailable", True)
        assert site.manifests() == set()
        assert covered(site, before)


def test_an_announcement_that_cannot_be_removed_is_told_and_does_no_harm(site: Site, proxy: Proxy, plant: Path) -> None:
    proxy.faults = [Fault(Harm.REFUSE, "DELETE", "/announce/", 999)]
    done = site.backup(plant, impatient=True)
    assert done.code == 0
    assert "does no harm" in done.warnings["AnnouncementLeft"].message
    site.restores(done.archive, plant)


def test_two_runs_at_once_are_two_backups(site: Site, proxy: Proxy, plant: Path, large: Path) -> None:
    """They know nothing of each other: both take the same number, and neither touches the other's objects."""
    with gate(proxy, "PUT", MANIFEST) as at:
        first = site.start(site.backup_order(), source=large)
        first.until(lambda: at.reached, "the first commit")
        second: Ended = site.backup(plant)
        assert len(announced(site)) == 1
        at.open()
        done = site.ended(first)
    assert done.archive != second.archive
    assert done.backup.seq == second.backup.seq == 1
    assert len(site.manifests()) == 2
    site.restores(done.archive, large)
    site.restores(second.archive, plant)
    assert site.backup(plant).backup.seq == 2
