"""The seed's config over simulated days: its three jobs, a living database and configuration, retention, verification, kills at random moments.

`make test` runs eight days with 24 kills and keeps three days; `make month` forty days with 200 kills, by the seed's own 30 and 90 days.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from iot_backup.core.due import next_slot
from tests.pipeline.manager import PASSPHRASE
from tests.pipeline.plant import Plant, Tree, tree
from tests.pipeline.simulated import dated
from tests.pipeline.worker_process import PATIENCE, ROOT

DAYS = int(os.environ.get("SIMULATED_DAYS", "8"))
KILLS = int(os.environ.get("SIMULATED_KILLS", "24"))
KEPT_DAYS = int(os.environ.get("SIMULATED_RETENTION", "3"))
"""Instead of each job's retention_days; 0: as the seed's config has them."""
SEED = int(os.environ.get("SIMULATED_SEED", "5"))
SEED_CONFIG = ROOT / "tests/unit/standalone/seed-config.yml"
LIVE_DAY = 4
"""The server runs while that day's copy of it is made."""
OUTAGE_DAY = 6
"""The machine is off: no run of that day."""


@dataclass
class Site:
    """The machine: its clock, its commands, and what each backup must bring back."""

    base: Path
    config: dict[str, Any]
    random: random.Random
    now: datetime
    kills: int = 0
    killed: list[str] = field(default_factory=list)
    expected: dict[str, Tree] = field(default_factory=dict)
    """By a backup's id, the tree it was taken from."""
    made: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    """By a backup's id, its job and time."""

    def start(self, *command: str) -> subprocess.Popen[str]:
        ahead = (self.now - datetime.now(UTC)).total_seconds()
        wanted = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}",
            "BACKUP_ENCRYPTION_KEY": PASSPHRASE,
            "STATE_DIR": str(self.base / "state"),
        }
        if cache := os.environ.get("PYTHONPYCACHEPREFIX"):
            wanted["PYTHONPYCACHEPREFIX"] = cache
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.pipeline.simulated",
                str(ahead),
                *command,
                "--config",
                str(self.base / "backup.yml"),
                "--output",
                "json",
            ],
            cwd=ROOT,
            env=wanted,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str, code: int = 0) -> Any:
        process = self.start(*command)
        out, err = process.communicate(timeout=PATIENCE)
        self._date()
        assert process.returncode == code, (command, process.returncode, out, err)
        return json.loads(out) if out else None

    def disturbed(self, kills: int, *command: str) -> Any:
        """Run the command, which is killed so many times before it may end; one that ends first has ended."""
        for _ in range(kills):
            process = self.start(*command)
            time.sleep(self.random.uniform(0.1, 1.4))  # the moment of the kill is the point, not a wait for something
            ended = process.poll() is not None
            process.kill()
            out, err = process.communicate()
            self._date()
            if ended:
                assert process.returncode == 0, (command, out, err)
                return json.loads(out)
            self.killed.append(command[0])
        return self.run(*command)

    def _date(self) -> None:
        dated(self.base / "store", self.now)

    def jobs(self, since: datetime) -> Iterator[tuple[datetime, dict[str, Any]]]:
        """What the config's schedules start from then on for a day, in order."""
        due = []
        for job in self.config["backup"]["jobs"]:
            moment = next_slot(job["schedule"], UTC, since)
            if moment is not None and moment < since + timedelta(days=1):
                due.append((moment, job))
        yield from sorted(due, key=lambda each: each[0])


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """Where a database server's user gets at it."""
    folder = Path(tempfile.mkdtemp(prefix="iot-month-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def lived(base: Path) -> Site:
    """The days went by."""
    plant = Plant(base, SEED)
    config = yaml.safe_load(SEED_CONFIG.read_text())
    # The same file, but for the places: this machine's folders, and no storage on the other side of the world.
    config["backup"]["storage"] = {"local": {**config["backup"]["storage"]["local"], "path": str(base / "store")}}
    for job in config["backup"]["jobs"]:
        job["retention_days"] = KEPT_DAYS or job["retention_days"]
        job["source"] = str(plant.configuration if job["type"] == "configuration" else plant.database)
    config["backup"].pop("notifications")
    (base / "backup.yml").write_text(yaml.safe_dump(config, allow_unicode=True))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    site = Site(base, config, random.Random(SEED), today + timedelta(days=2))
    for day in range(DAYS):
        _day(site, plant, day)
    return site


def _day(site: Site, plant: Plant, day: int) -> None:
    midnight = site.now
    plant.live(day)
    share = (KILLS - len(site.killed)) // (DAYS - day)
    for moment, job in site.jobs(midnight) if day != OUTAGE_DAY else ():
        site.now = moment
        source = Path(job["source"])
        if day == LIVE_DAY and source == plant.database:
            with plant.running():
                record = site.run("execute", job["id"])
            assert any("InconsistentSource" in warning for warning in record["warnings"]), record
            site.made[record["id"]] = job["id"], moment
            continue
        record = site.disturbed(share // 2, "execute", job["id"])
        assert record["status"] == "completed", record
        site.made[record["id"]] = job["id"], moment
        site.expected[record["id"]] = tree(source)
        _restored(site, record["id"])
    site.now = midnight + timedelta(hours=5)
    site.disturbed(max(1, share - 2 * (share // 2)), "retention")
    if day % 7 == 6:
        site.run("verify", "--level", "3")
    site.now = midnight + timedelta(days=1)


def _restored(site: Site, id_: str) -> None:
    target = site.base / "restored"
    site.run("restore", id_, "--target", str(target), "--yes")
    found = tree(target)
    shutil.rmtree(target)
    expected = site.expected[id_]
    assert found == (expected if any(name.startswith("base") for name in expected) else _configuration(expected))


def _configuration(whole: Tree) -> Tree:
    """What a job of type configuration takes of a tree."""
    return {
        name: facts for name, facts in whole.items() if name.split("/")[0] in {"config", "secrets", "k8s", ".env", "docker-compose.yml"}
    }


def test_every_backup_that_is_kept_brings_back_its_days_tree(lived: Site) -> None:
    listed = [record for record in lived.run("list") if record["status"] in ("completed", "partial")]
    assert {record["job"] for record in listed} == {"database-full", "database-incremental", "config-backup"} or DAYS < 7
    for record in listed:
        if record["id"] in lived.expected:
            _restored(lived, record["id"])


def test_no_archive_was_lost(lived: Site) -> None:
    """What is gone, retention took: it was too old, and its job has newer ones."""
    there = {record["id"] for record in lived.run("list")}
    gone = set(lived.made) - there
    days = {job["id"]: timedelta(days=job["retention_days"]) for job in lived.config["backup"]["jobs"]}
    newest = {job: max(moment for other, moment in lived.made.values() if other == job) for job in days if DAYS >= 7}
    for job, moment in (lived.made[id_] for id_ in gone):
        assert lived.now - moment > days[job]
        assert moment < newest[job]
    assert bool(gone) == (max(days.values()).days + 8 < DAYS or min(days.values()).days + 1 < DAYS), gone


def test_what_retention_took_left_nothing(lived: Site) -> None:
    """Objects of backups that are listed, and no others; but for what killed runs left, which their announcements tell of."""
    ids = {record["id"] for record in lived.run("list")}
    announced = {path.name for path in (lived.base / "store").rglob("announce/*")}
    assert list((lived.base / "store").rglob("doomed/*")) == []
    for path in (lived.base / "store").rglob("chains/*/*"):
        id_ = path.name.partition(".")[0].rpartition("-")[2]
        assert path.name.startswith(".") or id_ in ids | announced, path


def test_no_lock_is_stuck_and_all_is_sound(lived: Site) -> None:
    for job in lived.config["backup"]["jobs"]:
        assert lived.run("execute", job["id"])["status"] == "completed"
    lived.run("verify", "--level", "3")


def test_it_was_killed_as_often_as_it_should(lived: Site) -> None:
    while len(lived.killed) < KILLS:  # runs that ended before their kill
        lived.disturbed(KILLS - len(lived.killed), lived.random.choice(["retention", "verify"]))
    assert set(lived.killed) >= {"execute", "retention"}
    test_every_backup_that_is_kept_brings_back_its_days_tree(lived)
