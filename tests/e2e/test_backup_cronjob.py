"""k8s/backup-cronjob.yaml: backup-manager in a CronJob of its own, as the file says, without the operator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.cluster import layout
from tests.e2e import trees, volumes
from tests.e2e.objects import Json
from tests.e2e.platform import Platform

FILE = Path(layout.CHECKOUT) / "k8s" / "backup-cronjob.yaml"
POSTGRES = 999
JOB = "database-full"
KEY = {"name": "backup-secrets", "key": "backup-encryption-key"}


@pytest.fixture(scope="module")
def platform(new_platform: Callable[..., Platform]) -> Platform:
    """A tenant under `restricted` with a database's claim and the Secret that the file's first lines make."""
    platform = new_platform(storage=False)
    volumes.filled(
        platform,
        "postgres-data",
        trees.ODD + "root.chmod(0o700) if os.getuid() == root.stat().st_uid else None\n",
        uid=POSTGRES,
        fs_group=POSTGRES,
    )
    keys = {"backup-encryption-key": "only here: correct horse"}
    platform.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "backup-secrets"}, "stringData": keys})
    for body in yaml.safe_load_all(FILE.read_text()):
        if body["kind"] == "PersistentVolumeClaim":  # the test cluster's disk is small
            body["spec"]["resources"]["requests"]["storage"] = "64Mi"
        if body["kind"] == "CronJob":
            _container(body["spec"]["jobTemplate"])["image"] = platform.operator.image
        kubectl(platform, "apply", "--filename=-", given=yaml.safe_dump(body))
    return platform


def _container(template: Json) -> Json:
    (container,) = template["spec"]["template"]["spec"]["containers"]
    return container  # type: ignore[no-any-return]


def kubectl(platform: Platform, *arguments: str, given: str | None = None) -> str:
    return platform.operator.cluster.run(*arguments, f"--namespace={platform.namespace}", given=given)


@pytest.fixture(scope="module")
def records(platform: Platform) -> list[Json]:
    """Of two runs, started by hand as the file says."""
    found = []
    for number in range(2):
        name = f"{JOB}-now-{number}"
        kubectl(platform, "create", "job", f"--from=cronjob/{JOB}", name)
        kubectl(platform, "wait", "--for=condition=Complete", f"job/{name}", "--timeout=90s")
        found.append(_record(kubectl(platform, "logs", f"job/{name}")))
    return found


def _record(log: str) -> Json:
    """The one document on standard output; progress, on standard error, has lines of its own."""
    lines = [line for line in log.splitlines() if not line.startswith('{"progress"')]
    return json.loads("\n".join(lines))  # type: ignore[no-any-return]


def test_each_run_makes_a_backup(records: list[Json]) -> None:
    assert [(each["job"], each["type"], each["status"]) for each in records] == [(JOB, "full", "completed")] * 2
    assert records[0]["files"] == trees.ODD_FILES
    assert records[0]["id"] != records[1]["id"]


def test_the_second_run_remembers_the_first(records: list[Json]) -> None:
    assert [each["warnings"] for each in records] == [[], []]


def test_the_source_is_left_as_it_was(platform: Platform, records: list[Json]) -> None:
    """The pod's fsGroup gives away what it may write to; the claim is mounted so that it may not."""
    before = [line for line in volumes.fingerprint(platform, "postgres-data", uid=POSTGRES, fs_group=None) if "secret.key" in line]
    assert records
    assert "-rw-------" in before[0]
    assert f"{POSTGRES}:{POSTGRES}" in before[0]


def test_a_restore_brings_everything_back(platform: Platform, records: list[Json]) -> None:
    """A pod like the CronJob's, with an empty claim to restore into."""
    cronjob = next(body for body in yaml.safe_load_all(FILE.read_text()) if body["kind"] == "CronJob")
    template = cronjob["spec"]["jobTemplate"]["spec"]["template"]
    spec, container = template["spec"], template["spec"]["containers"][0]
    platform.apply(volumes.claim("restored"))
    container.update(image=platform.operator.image, args=["restore", JOB, "--target", "/restored/all"])
    container["volumeMounts"].append({"name": "restored", "mountPath": "/restored"})
    spec["volumes"].append({"name": "restored", "persistentVolumeClaim": {"claimName": "restored"}})
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "restore"}, "spec": {"backoffLimit": 0, "template": template}}
    kubectl(platform, "apply", "--filename=-", given=yaml.safe_dump(job))
    kubectl(platform, "wait", "--for=condition=Complete", "job/restore", "--timeout=90s")
    original = volumes.run(platform, "postgres-data", volumes.FINGERPRINT, volumes.MOUNT, uid=POSTGRES, fs_group=None)
    restored = volumes.run(platform, "restored", volumes.FINGERPRINT, f"{volumes.MOUNT}/all", uid=POSTGRES, fs_group=None)
    # The root of a claim is the cluster's own folder.
    assert [line for line in restored.splitlines() if not line.startswith("b'.'")] == [
        line for line in original.splitlines() if not line.startswith("b'.'")
    ]
