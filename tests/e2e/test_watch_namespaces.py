"""The operator limited to some namespaces: all it does there works without a right beyond them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.cluster import chart
from tests.e2e import trees, volumes
from tests.e2e.conftest import Kubectl
from tests.e2e.deployment import Operator
from tests.e2e.platform import Platform
from tests.e2e.waiting import wait_for

PASSPHRASE = {"secretRef": {"name": "backup-secrets", "key": "encryption-passphrase"}}


@pytest.fixture(scope="module")
def tenants(operator: Operator, new_platform: Callable[..., Platform]) -> Iterator[tuple[Platform, Platform]]:
    """One that is watched and one that is not; afterwards the operator watches all again."""
    watched, other = new_platform(storage=False), new_platform(storage=False)
    operator.note_logs()
    try:
        chart.install(operator.cluster, f"watchNamespaces={{{watched.namespace}}}")
        operator.wait_ready()
        yield watched, other
    finally:
        operator.note_logs()
        chart.install(operator.cluster)
        operator.wait_ready()


@pytest.fixture(scope="module")
def watched(tenants: tuple[Platform, Platform]) -> Platform:
    """With both kinds of stores and a BackupJob into each."""
    platform, other = tenants
    for tenant in (other, platform):
        tenant.apply(tenant.storage())
    disk = {"volume": {"claimName": "store"}, "encryption": PASSPHRASE}
    platform.apply(volumes.claim("store"), {"kind": "BackupStorage", "metadata": {"name": "disk"}, "spec": disk})
    volumes.filled(platform, "sensor", trees.SMALL)
    for storage in ("minio", "disk"):
        platform.wait_condition("BackupStorage", storage, "Ready")
        platform.apply(platform.backup_job(f"to-{storage}", "sensor", storage=storage, schedule="30 2 * * *"))
        platform.wait_condition("BackupJob", f"to-{storage}", "Ready")
    return platform


def test_it_has_no_right_beyond_its_namespaces(tenants: tuple[Platform, Platform], kubectl: Kubectl) -> None:
    account = f"--as=system:serviceaccount:{chart.NAMESPACE}:{chart.NAME}"
    watched, other = tenants

    def may(*what: str) -> bool:
        return kubectl("auth", "can-i", *what, account, check=False).strip() == "yes"

    assert may("create", "jobs.batch", "-n", watched.namespace)
    assert not may("create", "jobs.batch", "-n", other.namespace)
    assert not may("list", "pods", "-A")
    assert not may("get", "persistentvolumes")
    assert not may("get", "secrets", "-n", watched.namespace)
    bindings = kubectl(
        "get", "clusterrolebindings", "-o", "jsonpath={range .items[*]}{.metadata.name} {.subjects[*].namespace}{'\\n'}{end}"
    )
    assert [line for line in bindings.splitlines() if chart.NAMESPACE in line] == []


@pytest.mark.parametrize("storage", ["minio", "disk"])
def test_backups_and_restores_work_there(watched: Platform, storage: str) -> None:
    run = watched.completed("Backup", watched.backup(f"to-{storage}"))
    assert run["status"]["files"] == 1
    target = {"newClaim": {"name": f"from-{storage}", "size": "64Mi"}}
    source = {"backupRef": {"name": run["metadata"]["name"]}}
    body = watched.completed("RestoreJob", watched.restore(f"from-{storage}", source, target))
    assert body["status"]["filesRestored"] == 1


def test_a_job_made_from_a_cron_job_is_adopted_there(watched: Platform, kubectl: Kubectl) -> None:
    kubectl("create", "job", "by-hand", "--from=cronjob/to-minio", "-n", watched.namespace)
    wait_for(lambda: watched.objects.get("Backup", watched.namespace, "by-hand"), what="the Job is adopted")
    watched.completed("Backup", "by-hand")


def test_other_namespaces_are_left_alone(watched: Platform, tenants: tuple[Platform, Platform]) -> None:
    """Its storage was applied before those that are Ready by now, and nobody has looked at it."""
    other = tenants[1]
    assert "status" not in other.get("BackupStorage", "minio")
    assert other.list("Job") == []


def test_it_is_alive_by_an_echo_from_a_namespace_it_watches(watched: Platform, operator: Operator, kubectl: Kubectl) -> None:
    leases = kubectl("get", "leases", "-n", watched.namespace, "-o", "name")
    assert leases.strip() == f"lease.coordination.k8s.io/{chart.NAME}-heartbeat"
    assert "heartbeat-age-seconds" in operator.serves(8080, "healthz")
