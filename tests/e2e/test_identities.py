"""Whose eyes and hands a worker has, on volumes of workloads that are not root, of many owners, and of several users."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from kubernetes.client.exceptions import ApiException

from tests.e2e import trees, volumes
from tests.e2e.conftest import Kubectl
from tests.e2e.objects import Json
from tests.e2e.platform import Platform, condition
from tests.e2e.waiting import wait_for

POSTGRES = 999
MANY_OWNERS = """
import os
os.umask(0)
os.chmod("/data", 0o751)
for number, (uid, gid, mode) in enumerate([(0, 0, 0o600), (999, 999, 0o600), (1000, 1001, 0o640), (65532, 0, 0o4755), (70000, 70000, 0o400)]):
    folder = f"/data/of-{uid}"
    os.mkdir(folder, 0o700)
    with open(f"{folder}/file", "w") as file:
        file.write(f"belongs to {uid}\\n")
    os.symlink("file", f"{folder}/link")
    os.chown(f"{folder}/file", uid, gid)
    os.chown(f"{folder}/link", uid, gid, follow_symlinks=False)
    os.chmod(f"{folder}/file", mode)
    os.chown(folder, uid, gid)
    os.utime(f"{folder}/file", ns=(0, 1_790_000_000 * 10**9 + number))
"""
ROOT = {"identity": "Root"}
SENTENCE = (
    "worker.identity: Root is admitted only in namespaces that an administrator annotated with "
    'backup.iot-system.io/allow-root-workers: "true"'
)


def level(platform: Platform, enforced: str) -> None:
    """Hold the namespace to another pod-security level."""
    labels = {"pod-security.kubernetes.io/enforce": enforced}
    platform.objects.patch("Namespace", None, platform.namespace, {"metadata": {"labels": labels}})
    # The admission looks at a copy of the namespace, which follows.
    wait_for(lambda: _admits_root(platform) == (enforced == "privileged"), what=f"namespace {platform.namespace} is under {enforced}")


def _admits_root(platform: Platform) -> bool:
    tried = volumes.pod(platform, "tried", "any", "", uid=0)
    tried["metadata"]["namespace"] = platform.namespace
    try:
        platform.objects.create(tried, dry_run=True)
    except ApiException as error:
        if error.status != 403:
            raise
        return False
    return True


def pod_of(platform: Platform, run: Json) -> Json:
    """The pod of a run that has ended."""
    (pod,) = platform.list("Pod", f"batch.kubernetes.io/job-name={run['status']['jobName']}")
    return pod


@pytest.fixture(scope="module")
def database(platform: Platform) -> Json:
    """A Backup of a volume that belongs to user 999, mode 0700, files 0600, while that user works on it; no fsGroup anywhere."""
    level(platform, "privileged")
    volumes.filled(platform, "database", f"import os; os.chown('/data', {POSTGRES}, {POSTGRES}); os.chmod('/data', 0o700)", uid=0)
    level(platform, "restricted")
    write = (
        "import os; os.umask(0o077); open('/data/base', 'w').write('rows'); os.mkdir('/data/wal'); open('/data/wal/1', 'w').write('log')"
    )
    labels = {"app": "database", "pod-template-hash": "5d8f"}
    volumes.start_workload(platform, "database-0", "database", write, uid=POSTGRES, fs_group=None, labels=labels)
    platform.apply(platform.backup_job("database", "database", schedule="30 2 * * *"))
    platform.wait_condition("BackupJob", "database", "Ready")
    return platform.completed("Backup", platform.backup("database", "database-1"))


def test_auto_reads_what_only_the_workloads_user_may_read(platform: Platform, database: Json) -> None:
    """Under `restricted`, without touching the files: all of them, no warning."""
    assert (database["status"]["files"], database["status"]["warnings"]) == (2, 0)
    assert database["status"]["sourceOwner"] == {"uid": POSTGRES, "gid": POSTGRES}
    security = pod_of(platform, database)["spec"]["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"], security["runAsNonRoot"]) == (POSTGRES, POSTGRES, True)
    assert "fsGroup" not in security
    found = volumes.within(platform, "database-0", volumes.FINGERPRINT, volumes.MOUNT)
    assert [line.split()[1:3] for line in found.splitlines()[1:]] == [
        ["-rw-------", "999:999"],
        ["drwx------", "999:999"],
        ["-rw-------", "999:999"],
    ]


def test_a_worker_runs_beside_the_workload_that_holds_the_claim(platform: Platform, database: Json) -> None:
    """By the workload's stable labels; those of one revision would not outlive the next rollout."""
    (term,) = pod_of(platform, database)["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"] == {"matchLabels": {"app": "database"}}
    assert term["topologyKey"] == "kubernetes.io/hostname"
    (cron_job,) = platform.list("CronJob", "backup.iot-system.io/owner-name=database")
    assert cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["affinity"]["podAffinity"]


def test_a_backup_comes_back_to_its_user_in_a_new_claim(platform: Platform, database: Json) -> None:
    before = volumes.within(platform, "database-0", volumes.FINGERPRINT, volumes.MOUNT).splitlines()
    name = platform.restore("as-999", {"backupRef": {"name": "database-1"}}, {"newClaim": {"name": "copy", "size": "64Mi"}})
    body = platform.completed("RestoreJob", name)
    security = pod_of(platform, body)["spec"]["securityContext"]
    assert (security["runAsUser"], security["fsGroup"]) == (POSTGRES, POSTGRES)
    # The folder of a new volume is root's, and stays so: only its group is changed.
    assert volumes.fingerprint(platform, "copy", uid=POSTGRES, fs_group=None)[1:] == before[1:]


def test_a_claim_in_use_is_not_restored_into(platform: Platform, database: Json) -> None:
    name = platform.restore("in-use", {"backupRef": {"name": "database-1"}}, "database")
    body = platform.wait_condition("RestoreJob", name, "Succeeded", "Unknown", reason="TargetInUse")
    assert "database-0" in condition(body, "Succeeded")["message"]
    platform.delete("RestoreJob", name)


@pytest.fixture(scope="module")
def shared(platform: Platform) -> str:
    """A claim that two workloads use under different users."""
    platform.apply(volumes.claim("shared"))
    for uid in (1001, 1002):
        volumes.start_workload(platform, f"user-{uid}", "shared", uid=uid, fs_group=3000)
    return "shared"


def test_two_users_on_one_claim_are_ambiguous(platform: Platform, shared: str) -> None:
    platform.apply(platform.backup_job("shared", "shared"))
    body = platform.wait_condition("BackupJob", "shared", "Ready", "False", reason="AmbiguousIdentity")
    assert condition(body, "Stalled")["status"] == "True"
    message = condition(body, "Ready")["message"]
    assert "1001 (pod user-1001), 1002 (pod user-1002)" in message
    assert "worker.securityContext.runAsUser" in message


def test_the_named_field_settles_it(platform: Platform, shared: str) -> None:
    """What the message says is what helps."""
    platform.apply(platform.backup_job("shared", "shared", worker={"securityContext": {"runAsUser": 1001}}, allowEmpty=True))
    platform.wait_condition("BackupJob", "shared", "Ready")
    run = platform.completed("Backup", platform.backup("shared"))
    assert pod_of(platform, run)["spec"]["securityContext"]["runAsUser"] == 1001


def test_root_is_refused_where_no_administrator_admits_it(platform: Platform) -> None:
    volumes.filled(platform, "refused", trees.SMALL)
    platform.apply(platform.backup_job("refused", "refused", worker=ROOT, schedule="30 2 * * *"))
    body = platform.wait_condition("BackupJob", "refused", "Ready", "False", reason="RootNotAllowed")
    assert condition(body, "Ready")["message"].startswith(SENTENCE)
    assert platform.list("CronJob", "backup.iot-system.io/owner-name=refused") == []
    run = platform.wait_ended("Backup", platform.backup("refused"))
    assert (run["status"]["phase"], run["status"]["failure"]["class"]) == ("Failed", "RootNotAllowed")
    assert platform.list("Job", "backup.iot-system.io/owner-name=refused") == []


@pytest.fixture(scope="module")
def legacy(new_platform: Callable[..., Platform], kubectl: Kubectl) -> Platform:
    """A namespace under `baseline` whose administrator admits root workers, and a tree of many owners in it."""
    platform = new_platform("baseline")
    kubectl("annotate", "namespace", platform.namespace, "backup.iot-system.io/allow-root-workers=true")
    volumes.filled(platform, "legacy", MANY_OWNERS, uid=0)
    platform.apply(platform.backup_job("legacy", "legacy", worker=ROOT, schedule="30 2 * * *"))
    platform.wait_condition("BackupJob", "legacy", "Ready")
    return platform


def test_root_brings_a_tree_of_many_owners_back_exactly(legacy: Platform) -> None:
    before = volumes.fingerprint(legacy, "legacy", uid=0)
    assert len(before) == 16
    run = legacy.completed("Backup", legacy.backup("legacy"))
    assert (run["status"]["files"], run["status"]["warnings"]) == (5, 0)
    target = {"newClaim": {"name": "copy", "size": "64Mi"}}
    body = legacy.completed("RestoreJob", legacy.restore("exact", {"backupRef": {"name": run["metadata"]["name"]}}, target, worker=ROOT))
    assert body["status"]["warnings"] == 0
    assert volumes.fingerprint(legacy, "copy", uid=0) == before


def test_a_root_worker_has_the_capabilities_of_baseline_and_no_more(legacy: Platform) -> None:
    (cron_job,) = legacy.list("CronJob")
    template = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = template["containers"]
    assert container["securityContext"]["capabilities"] == {
        "drop": ["ALL"],
        "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"],
    }
    assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_a_namespace_that_loses_the_permission_suspends_its_root_cron_jobs(legacy: Platform, kubectl: Kubectl) -> None:
    kubectl("annotate", "namespace", legacy.namespace, "backup.iot-system.io/allow-root-workers-")
    legacy.apply(legacy.backup_job("legacy", "legacy", worker=ROOT, schedule="31 2 * * *"))
    legacy.wait_condition("BackupJob", "legacy", "Ready", "False", reason="RootNotAllowed")
    (cron_job,) = legacy.list("CronJob")
    assert cron_job["spec"]["suspend"] is True
