"""The real API server judges objects of ours: what it takes, what it refuses and in which words, what it adds and drops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.apiserver import ApiServer, Refused
from tests.packaging.specimens import ACCEPTED, AS_OF, MINIMAL, REJECTED, Accepted, Rejected, body, spec

Make = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def place(new_namespace: Callable[..., str]) -> str:
    """One namespace for all of them: most objects are only tried, never kept."""
    return new_namespace()


@pytest.fixture
def make(api: ApiServer, place: str) -> Make:
    """Create an object of `kind` with `changes` to the minimal spec."""

    def create(kind: str, changes: dict[str, Any] | None = None, *, name: str = "specimen", dry_run: bool = False) -> dict[str, Any]:
        return api.create(body(kind, spec(kind, changes or {}), name=name, namespace=place), dry_run=dry_run)

    return create


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: f"{case.kind}: {case.what}")
def test_a_good_object_is_accepted_and_loses_nothing(make: Make, case: Accepted) -> None:
    created = make(case.kind, case.changes, dry_run=True)
    assert _contains(created["spec"], spec(case.kind, case.changes))


@pytest.mark.parametrize("case", REJECTED, ids=lambda case: f"{case.kind}: {case.what}")
def test_a_bad_object_is_refused_with_the_fix(make: Make, case: Rejected) -> None:
    with pytest.raises(Refused) as refusal:
        make(case.kind, case.changes, dry_run=True)
    assert refusal.value.status == 422
    assert case.says in refusal.value.message


@pytest.mark.parametrize("kind", MINIMAL)
def test_a_name_that_is_too_long_for_keys_and_jobs_is_refused(make: Make, kind: str) -> None:
    make(kind, name="n" * 63, dry_run=True)
    with pytest.raises(Refused, match="use at most 63 characters"):
        make(kind, name="n" * 64, dry_run=True)


def test_defaults_are_filled_in_by_the_server(make: Make) -> None:
    job = make("BackupJob", dry_run=True)["spec"]
    assert job == {
        **MINIMAL["BackupJob"],
        "source": {"volume": {"claimName": "sensor-data", "path": "", "oneFileSystem": False}},
        "type": "Full",
        "maxChainLength": 30,
        "suspend": False,
        "compression": {"algorithm": "Zstd", "level": 1},
        "allowPartial": False,
        "allowEmpty": False,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 3600,
        "startDeadline": "10m",
        "timeout": "24h",
        "backoffLimit": 2,
        "worker": {"identity": "Auto"},
    }


def test_a_default_within_a_given_part_is_filled_in_too(make: Make) -> None:
    job = make("BackupJob", {"compression": {"level": 3}, "worker": {"priorityClassName": "low"}}, dry_run=True)["spec"]
    assert job["compression"] == {"algorithm": "Zstd", "level": 3}
    assert job["worker"] == {"identity": "Auto", "priorityClassName": "low"}


def test_a_schedule_without_a_type_has_none_of_its_own(make: Make) -> None:
    """It follows spec.type."""
    schedules = [{"name": "nightly", "schedule": "0 2 * * *"}]
    assert make("BackupJob", {"type": "Incremental", "schedules": schedules}, dry_run=True)["spec"]["schedules"] == schedules


def test_a_restore_has_defaults_that_change_nothing_beside_the_backup(make: Make) -> None:
    restore = make("RestoreJob", dry_run=True)["spec"]
    told = {name: restore[name] for name in ("type", "mode", "onConflict", "acceptNewest", "verify")}
    assert told == {"type": "Full", "mode": "Restore", "onConflict": "Overwrite", "acceptNewest": False, "verify": True}


@pytest.mark.parametrize(
    "smuggled",
    [
        {"worker": {"securityContext": {"privileged": True}}},
        {"worker": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}},
        {"worker": {"serviceAccountName": "admin"}},
        {"source": {"volume": {"claimName": "sensor-data", "namespace": "other"}}},
    ],
    ids=str,
)
def test_what_the_schema_does_not_name_is_dropped(make: Make, smuggled: dict[str, Any]) -> None:
    created = make("BackupJob", smuggled, dry_run=True)
    assert not _contains(created["spec"], smuggled)


def test_the_status_is_not_taken_from_who_creates(api: ApiServer, place: str) -> None:
    forged = {**body("Backup", MINIMAL["Backup"], name="forged-status", namespace=place), "status": {"phase": "Completed"}}
    assert "status" not in api.create(forged, dry_run=True)


IMMUTABLE = [
    ("BackupStorage", {}, {"s3": {"bucket": "another"}}, "the bucket cannot change"),
    ("BackupStorage", {}, {"s3": {"prefix": "another"}}, "the prefix cannot change"),
    ("BackupStorage", {}, {"s3": None, "volume": {"claimName": "disk"}}, "cannot move between s3 and volume"),
    ("BackupStorage", {}, {"encryption": {"algorithm": "None", "secretRef": None}}, "the algorithm cannot change"),
    ("Backup", {}, {"jobRef": {"name": "another"}}, "a Backup is one run and cannot change"),
    ("Backup", {}, {"type": "Full"}, "a Backup is one run and cannot change"),
    ("Backup", {"type": "Incremental"}, {"type": "Full"}, "a Backup is one run and cannot change"),
    ("Backup", {}, {"acceptNewest": True}, "a Backup is one run and cannot change"),
    ("Backup", {}, {"run": {"jobName": "j", "jobUID": "u"}}, "a Backup is one run and cannot change"),
    ("Backup", {"cancel": True}, {"cancel": False}, "cancel cannot be taken back"),
    ("RestoreJob", {}, {"backupRef": {"name": "another"}}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", {}, {"target": {"claimName": "another"}}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", {}, {"target": {"allowInUse": True}}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", {}, {"verify": False}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", {}, {"mode": "Plan"}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", {}, {"onConflict": "Mirror"}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", {}, {"acceptNewest": True}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", {}, {"type": "Selective", "include": ["a"]}, "a RestoreJob is one restore and cannot change"),
    (
        "RestoreJob",
        {"type": "Selective", "include": ["a"]},
        {"include": ["a", "b"]},
        "a RestoreJob is one restore and cannot change",
    ),
    ("RestoreJob", {"type": "Selective", "include": ["a"]}, {"exclude": ["b"]}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", AS_OF, {"asOf": "2026-11-24T18:00:01Z"}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", AS_OF, {"asOf": None, "latest": True}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", {}, {"timeout": "1h"}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", {}, {"identitySecretRef": {"name": "k", "key": "k"}}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", {}, {"worker": {"identity": "Root"}}, "a RestoreJob is one restore and cannot change"),
    ("RestoreJob", {"cancel": True}, {"cancel": None}, "cancel cannot be taken back"),
]


@pytest.mark.parametrize(("kind", "first", "then", "says"), IMMUTABLE, ids=lambda value: value if isinstance(value, str) else str(value))
def test_what_cannot_change_says_what_to_do_instead(
    api: ApiServer, make: Make, place: str, kind: str, first: dict[str, Any], then: dict[str, Any], says: str
) -> None:
    make(kind, first, name="fixed")
    try:
        with pytest.raises(Refused, match=says):
            api.patch(kind, place, "fixed", {"spec": then})
    finally:
        api.delete(kind, place, "fixed")


CHANGEABLE: list[tuple[str, dict[str, Any]]] = [
    ("BackupStorage", {"s3": {"endpoint": "https://new.example", "region": "eu-central-1", "credentialsSecretRef": {"name": "rotated"}}}),
    ("BackupStorage", {"encryption": {"fingerprint": "a" * 64}}),
    ("BackupJob", {"type": "Incremental", "maxChainLength": 7, "source": {"volume": {"exclude": ["*.tmp"], "oneFileSystem": True}}}),
    ("BackupJob", {"suspend": True, "schedule": "0 0 * * *", "source": {"volume": {"claimName": "another"}}}),
    ("Backup", {"cancel": True}),
    ("RestoreJob", {"cancel": True}),
]


@pytest.mark.parametrize(("kind", "then"), CHANGEABLE, ids=str)
def test_what_may_change_changes(api: ApiServer, make: Make, place: str, kind: str, then: dict[str, Any]) -> None:
    make(kind, name="changing")
    try:
        changed = api.patch(kind, place, "changing", {"spec": then})
        assert _contains(changed["spec"], then)
        again = api.patch(kind, place, "changing", {"metadata": {"annotations": {"example.com/seen": "yes"}}})
        assert again["metadata"]["generation"] == changed["metadata"]["generation"] == 2
    finally:
        api.delete(kind, place, "changing")


CONDITION = {"type": "Ready", "status": "True", "reason": "Fine", "message": "All is well.", "lastTransitionTime": "2026-01-01T00:00:00Z"}
FULL_STATUS: dict[str, dict[str, Any]] = {
    "BackupStorage": {
        "observedGeneration": 1,
        "conditions": [{**CONDITION, "observedGeneration": 1}],
        "location": "s3://plant-backups/plant-1",
        "repositoryId": "0f1e",
        "fingerprint": "0" * 64,
        "recipient": "age1x",
        "writer": "0123456789abcdef",
        "writerAdmitted": True,
        "capabilities": {"conditionalWrites": True, "objectLock": False, "versioning": False},
        "lastProbeTime": "2026-01-01T00:00:00Z",
        "lastHandledProbeRequest": "1",
    },
    "BackupJob": {
        "observedGeneration": 1,
        "conditions": [CONDITION],
        "schedule": "30 2 * * * Europe/Berlin",
        "lastBackup": {
            "name": "daily-1",
            "type": "Differential",
            "phase": "Completed",
            "startTime": "2026-01-01T00:00:00Z",
            "completionTime": "2026-01-01T00:00:01Z",
            "sizeBytes": 1,
            "size": "1 B",
            "sourceBytes": 2,
            "files": 3,
            "checksum": "sha256:" + "0" * 64,
        },
        "newest": {
            "repositoryId": "0f1e",
            "chain": "daily",
            "seq": 1 << 40,
            "manifestSha256": "0" * 64,
            "completionTime": "2026-01-01T00:00:01Z",
        },
        "lastSuccessTime": "2026-01-01T00:00:01Z",
        "nextRunTime": "2026-01-02T00:00:00Z",
        "consecutiveFailures": 0,
        "lastHandledRunRequest": "now",
    },
    "Backup": {
        "observedGeneration": 1,
        "conditions": [{**CONDITION, "type": "Succeeded"}],
        "phase": "Completed",
        "type": "Incremental",
        "origin": "Manual",
        "startTime": "2026-01-01T00:00:00Z",
        "completionTime": "2026-01-01T00:00:01Z",
        "sizeBytes": 1 << 40,
        "size": "1.0 TiB",
        "sourceBytes": 2,
        "files": 3,
        "warnings": 1,
        "warningMessages": ["one"],
        "checksum": "sha256:" + "0" * 64,
        "archive": "0123456789abcdef",
        "chain": "daily",
        "parent": "0123456789abcdef",
        "seq": 1 << 40,
        "manifestSha256": "0" * 64,
        "repositoryId": "0f1e",
        "storageRef": {"name": "primary"},
        "snapshotTime": "2026-01-01T00:00:00Z",
        "sourceOwner": {"uid": 999, "gid": 999},
        "jobName": "daily-1",
        "attempts": 1,
        "failure": {"class": "StorageUnavailable", "message": "m", "exitCode": 69},
    },
    "RestoreJob": {
        "observedGeneration": 1,
        "conditions": [{**CONDITION, "type": "Succeeded"}],
        "phase": "Completed",
        "target": "sensor-data",
        "resolved": {
            "storage": "primary",
            "archive": "0123456789abcdef",
            "chain": "daily",
            "backup": "daily-1",
            "snapshotTime": "2026-01-01T00:00:00Z",
            "checksum": "sha256:" + "0" * 64,
        },
        "startTime": "2026-01-01T00:00:00Z",
        "completionTime": "2026-01-01T00:00:01Z",
        "filesRestored": 3,
        "bytesRestored": 2,
        "size": "2 B",
        "kept": 1,
        "deleted": 0,
        "plan": {
            "members": 2,
            "files": 3,
            "bytes": 1 << 40,
            "size": "1.0 TiB",
            "add": 1,
            "change": 2,
            "same": 3,
            "keep": 4,
            "delete": 5,
            "readBytes": 6,
            "spaceNeeded": 7,
            "spaceFree": 8,
            "missing": ["0123456789abcdef"],
            "seconds": 9,
        },
        "warnings": 0,
        "warningMessages": [],
        "jobName": "r-1",
        "attempts": 1,
        "failure": {"class": "Internal", "message": "m", "exitCode": 70},
    },
}


@pytest.mark.parametrize("kind", MINIMAL)
def test_a_whole_status_is_kept_and_read_back(api: ApiServer, make: Make, place: str, kind: str) -> None:
    make(kind, name="status")
    try:
        stored = api.patch_status(kind, place, "status", FULL_STATUS[kind])
        assert stored["status"] == FULL_STATUS[kind]
        assert stored["metadata"]["generation"] == 1
    finally:
        api.delete(kind, place, "status")


def test_explain_reads_like_documentation(kubectl: Any, installed: None) -> None:
    text = " ".join(kubectl("explain", "backupjob.spec.source.volume").split())
    assert "The files of a PersistentVolumeClaim" in text
    assert "Name of the PersistentVolumeClaim. Example: sensor-data." in text
    assert "-required-" in text


@pytest.mark.parametrize(
    ("kind", "short", "columns"),
    [
        ("BackupStorage", "ibs", ["NAME", "LOCATION", "ENCRYPTION", "READY", "REASON", "AGE"]),
        ("BackupJob", "ibj", ["NAME", "TYPE", "SCHEDULE", "LAST SUCCESS", "NEXT", "READY", "HEALTHY", "AGE"]),
        ("Backup", "ibk", ["NAME", "JOB", "TYPE", "PHASE", "SIZE", "FILES", "AGE"]),
        ("RestoreJob", "irj", ["NAME", "BACKUP", "TARGET", "PHASE", "FILES", "SIZE", "AGE"]),
    ],
)
def test_the_short_name_lists_what_a_person_asks(
    api: ApiServer, make: Make, kubectl: Any, place: str, kind: str, short: str, columns: list[str]
) -> None:
    make(kind, name="listed")
    try:
        header = kubectl("get", short, "--namespace", place).splitlines()[0]
        assert [column.strip() for column in header.split("  ") if column.strip()] == columns
    finally:
        api.delete(kind, place, "listed")


def test_the_category_lists_all_kinds(api: ApiServer, make: Make, kubectl: Any, place: str) -> None:
    for kind in MINIMAL:
        make(kind, name="together")
    try:
        assert len(kubectl("get", "iot-backup", "--namespace", place, "--output=name").split()) == len(MINIMAL)
    finally:
        for kind in MINIMAL:
            api.delete(kind, place, "together")


def _contains(whole: Any, part: Any) -> bool:
    """Whether `whole` has everything that `part` says."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and _contains(whole[key], value) for key, value in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(_contains, whole, part))
    return bool(whole == part)
