"""Which storages a job is copied to, and the config as one of them shows it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from iot_backup.core import spec
from iot_backup.errors import InvalidSpec, StorageUnavailable
from iot_backup.standalone import checking, copies, sites
from iot_backup.standalone.config import Backup, Job, LocalStorage, S3Storage, Storages
from iot_backup.standalone.machine import Machine
from iot_backup.standalone.state import Head, Memory
from iot_backup.worker.cancelling import Cancel

STORAGES = Storages.model_validate({"local": LocalStorage(path="/store"), "s3": S3Storage(bucket="b")})
TRUST = spec.Trust(repository_id="0" * 32, fingerprint="0" * 64)
FULL = Job(id="full", source="/data")
INCREMENT = Job(id="increment", type="incremental", source="/data", storage=("local",))
ELSEWHERE = Job(id="elsewhere", source="/data", destination="/usb")
REVERSED = Job(id="reversed", source="/other", storage=("s3", "local"))


def config(*jobs: Job) -> Backup:
    return Backup(storage=STORAGES, jobs=jobs)


@pytest.mark.parametrize(
    ("job", "primary", "further"),
    [
        (FULL, "local", ["s3"]),
        (INCREMENT, "local", []),
        (ELSEWHERE, "/usb", []),
        (REVERSED, "s3", ["local"]),
        (FULL.model_copy(update={"storage": ("local", "local", "s3", "s3")}), "local", ["s3"]),
    ],
)
def test_the_first_storage_is_written_to_and_the_others_are_copied_to(job: Job, primary: str, further: list[str]) -> None:
    backup = config(job)
    assert sites.of_job(backup, job, {}).storage == primary
    assert [site.storage for site in sites.copies_of(backup, job, {})] == further


def test_a_copy_shows_the_jobs_that_are_copied_there_in_their_own_chains() -> None:
    both = INCREMENT.model_copy(update={"storage": None})
    seen = copies.viewed(config(FULL, both, INCREMENT.model_copy(update={"id": "here"}), ELSEWHERE), "s3", {})
    assert [(job.id, job.storage, job.chain) for job in seen.jobs] == [("full", ("s3",), "full"), ("increment", ("s3",), "full")]
    assert copies.viewed(config(FULL), None, {}) == config(FULL)


def test_a_storage_that_no_job_has_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(InvalidSpec, match="did you mean 's3'"):
        copies.viewed(config(FULL), "s4", {})
    with pytest.raises(InvalidSpec, match="there are: local"):
        copies.viewed(config(INCREMENT), "azure", {})


def test_a_storage_that_is_one_jobs_own_and_another_ones_copy_is_told() -> None:
    found = " ".join(checking.summary(config(FULL, REVERSED), {}).warnings)
    assert "storage s3 is where job reversed writes to, and where job full copies to" in found
    assert "is where job" not in " ".join(checking.summary(config(FULL, INCREMENT), {}).warnings)


@pytest.mark.parametrize(
    ("primary", "copy", "sentence"),
    [
        (3, 3, None),
        (None, 3, None),
        (3, 2, "storage s3 lags: chain full is at number 3, and the copy has it up to number 2"),
        (3, None, "storage s3 lags: chain full is at number 3, and the copy has nothing of it that this machine knows of"),
    ],
)
def test_a_copy_that_is_behind_is_said_to_lag(tmp_path: Path, primary: int | None, copy: int | None, sentence: str | None) -> None:
    backup, machine = config(FULL), Machine(tmp_path, {})
    places = (sites.of_job(backup, FULL, {}), *sites.copies_of(backup, FULL, {}))
    for site, seq in zip(places, (primary, copy), strict=True):
        if seq is not None:
            memory = Memory(trust=TRUST).with_head("full", Head(seq=seq, manifest_sha256="0" * 64))
            machine.state_of(site).remember(lambda _, memory=memory: memory)  # type: ignore[misc]
    assert copies.lags(backup, "s3", machine) == ([sentence] if sentence else [])


def test_a_copy_in_which_nothing_moves_is_given_up() -> None:
    ended = threading.Event()

    def hang() -> None:
        ended.wait()

    try:
        stalled = copies.Pace(Cancel(), time.monotonic())
        assert isinstance(copies.watched(hang, stalled, 0.3), StorageUnavailable)
        assert stalled.given_up
    finally:
        ended.set()


def test_a_copy_that_moves_slowly_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a time of its own: in the machine's, a thread that gets no turn for a while looks like a copy that stands still."""
    now, waits = [0.0], threading.Event()
    monkeypatch.setattr(copies, "time", SimpleNamespace(monotonic=lambda: now[0]))
    slow = copies.Pace(Cancel(), 0.0)

    def moving() -> None:
        for _ in range(20):
            waits.wait(copies._LOOK / 2)
            now[0] += 0.2
            slow.step(1)

    assert copies.watched(moving, slow, 0.3) is None
