"""Sources that cannot be read, or hold nothing: folders of one claim, each backed up by a BackupJob of its own."""

from __future__ import annotations

import pytest

from tests.e2e import volumes
from tests.e2e.failing import Witness, check_store
from tests.e2e.platform import condition

OWNER = 1000
"""Of the files; the worker runs as 65532, since no workload uses the claim."""
FILL = """
import os
for folder in ("good", "mixed", "private", "closed", "empty"):
    os.mkdir(f"/data/{folder}", 0o755)
for name in ("good/a", "mixed/a", "mixed/b", "mixed/locked", "private/x", "private/y", "closed/z"):
    with open(f"/data/{name}", "w") as file:
        file.write(name * 100)
    os.chmod(f"/data/{name}", 0o644)
os.chmod("/data/mixed/locked", 0o600)
os.mkdir("/data/mixed/closed", 0o700)
for name in ("x", "y"):
    os.chmod(f"/data/private/{name}", 0o600)
os.chmod("/data/closed", 0o700)
"""
FAIL: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "private": (
        "AccessDenied",
        77,
        ("user 65532 can read no file of claim data", "2 refused", "x: Permission denied", f"belongs to {OWNER}", "worker.identity: Root"),
    ),
    "closed": ("AccessDenied", 77, ("may not read 'closed'", f"belongs to {OWNER}:", "mode 0700", f"runAsUser: {OWNER}")),
    "missing": ("SourceUnavailable", 66, ("claim data has no folder 'missing'", "correct the path, or create it")),
    "empty": ("EmptySource", 66, ("claim data, folder 'empty', holds no file", "set allowEmpty: true")),
}
"""By folder: reason, exit code, what the message must say."""


@pytest.fixture(scope="module")
def runs(witness: Witness) -> Witness:
    """One run of each, all at once."""
    platform = witness.platform
    volumes.filled(platform, "data", FILL, uid=OWNER, fs_group=OWNER)
    jobs = {
        **{folder: {} for folder in ("good", "mixed", *FAIL)},
        "mixed-allowed": {"allowPartial": True},
        "empty-allowed": {"allowEmpty": True},
    }
    for name, spec in jobs.items():
        job = platform.backup_job(name, "data", **spec)
        job["spec"]["source"]["volume"]["path"] = name.removesuffix("-allowed")
        platform.apply(job)
    platform.backup("good", "good-now")
    witness.completed("Backup", "good-now")
    for name in jobs.keys() - {"good"}:
        platform.backup(name, f"{name}-now")
    return witness


@pytest.mark.parametrize("folder", FAIL)
def test_a_source_without_a_readable_file_is_a_failure_that_says_what_to_do(runs: Witness, folder: str) -> None:
    reason, code, says = FAIL[folder]
    ended = runs.failed("Backup", f"{folder}-now", reason, *says, deadline=90)
    assert ended["status"]["failure"]["exitCode"] == code
    assert ended["status"]["attempts"] == 1, "another attempt would fail the same way"
    assert "archive" not in ended["status"]


def test_a_partial_backup_fails_and_keeps_what_could_be_read(runs: Witness) -> None:
    says = ("2 could not be read", "locked: Permission denied", "give the worker the right to read them, or set allowPartial: true")
    ended = runs.failed("Backup", "mixed-now", "PartialBackup", *says, deadline=90)
    status = ended["status"]
    assert status["files"] == 2
    assert status["warnings"] == 2
    assert [text for text in status["warningMessages"] if text.startswith("FilesUnreadable: 2 could not be read")]
    assert "exitCode" not in status["failure"], "the worker stored it and exited with 0"
    job = runs.platform.wait_condition("BackupJob", "mixed", "Healthy", "False", deadline=10)
    assert "lastSuccessTime" not in job["status"]


def test_allow_partial_lets_it_succeed_and_warns(runs: Witness) -> None:
    body = runs.completed("Backup", "mixed-allowed-now")
    succeeded = condition(body, "Succeeded")
    assert (succeeded["status"], succeeded["reason"]) == ("True", "PartialBackup")
    assert "locked: Permission denied" in succeeded["message"]
    assert runs.event(body, "PartialBackup")["type"] == "Warning"


def test_allow_empty_lets_an_empty_source_succeed(runs: Witness) -> None:
    body = runs.completed("Backup", "empty-allowed-now")
    assert body["status"]["files"] == 0
    assert condition(body, "Succeeded")["reason"] == "Completed"


def test_what_failed_published_nothing(runs: Witness) -> None:
    kept = ("good-now", "mixed-now", "mixed-allowed-now", "empty-allowed-now")
    for folder, (reason, _, _) in FAIL.items():
        runs.failed("Backup", f"{folder}-now", reason, deadline=90)
    archives = sorted(runs.platform.wait_ended("Backup", name)["status"]["archive"] for name in kept)
    assert check_store(runs.platform.keys()) == archives


def test_a_partial_backup_can_be_restored_and_says_what_is_missing(runs: Witness) -> None:
    platform = runs.platform
    runs.failed("Backup", "mixed-now", "PartialBackup", deadline=90)
    platform.restore("partial", {"backupRef": {"name": "mixed-now"}}, {"newClaim": {"name": "back", "size": "64Mi"}})
    platform.restore("earlier", {"backupRef": {"name": "good-now"}}, {"newClaim": {"name": "good-back", "size": "64Mi"}})
    partial = runs.completed("RestoreJob", "partial")
    assert partial["status"]["filesRestored"] == 2
    assert [text for text in partial["status"]["warningMessages"] if text.startswith("FilesMissing: 2 files could not be read")]
    found = volumes.fingerprint(platform, "back", "content", uid=OWNER, fs_group=None)
    assert sorted(line.split()[0] for line in found) == ["b'.'", "b'a'", "b'b'", "b'closed'"]
    assert runs.completed("RestoreJob", "earlier")["status"]["filesRestored"] == 1
    runs.no_secrets()
