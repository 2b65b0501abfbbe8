"""BackupStorage: found, probed, told."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from iot_backup.core.report import Failure

from .kubelet import FINGERPRINT, RECIPIENT, probe_result

if TYPE_CHECKING:
    from .conftest import World

REQUESTED = "backup.iot-system.io/probe-requested-at"


def _failing(reason: str, exit_code: int = 77, message: str = "it cannot be used") -> Failure:
    return Failure(reason=reason, message=message, exit_code=exit_code)


def _probes(world: World) -> list[str]:
    return [r.name for r in world.cluster.log if (r.verb, r.resource) == ("create", "jobs")]


def test_a_new_storage_is_probed_and_becomes_ready(world: World) -> None:
    world.storage()
    status = world.condition("backupstorages", "s3", "Ready", "True", "Ready")["status"]
    assert status["location"] == "s3://backups/plant"
    assert (status["fingerprint"], status["recipient"], status["repositoryId"]) == (FINGERPRINT, RECIPIENT, "5b8c")
    assert (status["writer"], status["writerAdmitted"]) == ("0123456789abcdef", True)
    assert status["capabilities"]["conditionalWrites"] is True
    world.condition("backupstorages", "s3", "Isolated", "True")
    world.until(lambda: world.told("s3") == ["Ready"])


def test_the_writer_key_is_made_once_and_never_changed(world: World) -> None:
    world.ready_storage()
    secret = world.cluster.get("secrets", "s3-writer-key")
    assert secret is not None
    assert (len(base64.b64decode(secret["data"]["key"])), secret["immutable"]) == (32, True)
    assert "ownerReferences" not in secret["metadata"]
    world.cluster.delete("backupstorages", "s3")
    world.ready_storage()
    assert world.cluster.get("secrets", "s3-writer-key") == secret


def test_the_probe_job_is_short_tried_once_and_may_open_the_identity(world: World) -> None:
    world.kubelet.answer_probes = False
    world.storage()
    job = world.until(lambda: world.cluster.list("jobs"))[0]
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (0, 300)
    order = world.kubelet.order(job)
    assert (order.kind, order.create, order.fingerprint) == ("probe", True, None)
    assert order.repository.encryption.passphrase.secret == "backup-secrets"
    world.condition("backupstorages", "s3", "Ready", "Unknown", "Probing")
    world.condition("backupstorages", "s3", "Reconciling", "True")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (_failing("AccessDenied"), "AccessDenied"),
        (_failing("SecretMissing"), "SecretMissing"),
        (_failing("BucketMissing", 69), "BucketMissing"),
        (_failing("UntrustedCertificate"), "UntrustedCertificate"),
        (_failing("WrongKey"), "WrongKey"),
        (_failing("KeyMissing"), "KeyMissing"),
        (_failing("Untrusted"), "ConfirmRepository"),
    ],
)
def test_what_the_probe_fails_with_is_the_storages_reason(world: World, failure: Failure, reason: str) -> None:
    world.kubelet.probe = lambda _: failure
    world.storage()
    body = world.condition("backupstorages", "s3", "Ready", "False", reason)
    assert body["status"]["conditions"][0]["message"] == "it cannot be used"
    assert "fingerprint" not in body["status"]
    world.until(lambda: world.told("s3") == [reason])


def test_an_unconfirmed_repository_is_shown_but_not_pinned(world: World) -> None:
    world.kubelet.probe = lambda _: probe_result(confirmed=False)
    world.storage()
    body = world.condition("backupstorages", "s3", "Ready", "False", "ConfirmRepository")
    assert FINGERPRINT in body["status"]["conditions"][0]["message"]
    assert "fingerprint" not in body["status"]


def test_an_unadmitted_writer_is_not_ready_but_may_run(world: World) -> None:
    world.kubelet.probe = lambda _: probe_result(writer_admitted=False)
    world.storage()
    world.condition("backupstorages", "s3", "Ready", "False", "WriterNotAdmitted")
    world.claim()
    world.backup_job()
    world.backup("now")
    world.job("now")


def test_credentials_that_reach_further_are_told(world: World) -> None:
    world.kubelet.probe = lambda _: probe_result(isolated=False)
    world.storage()
    world.condition("backupstorages", "s3", "Isolated", "False", "CredentialsReachOthers")
    world.condition("backupstorages", "s3", "Ready", "True")


def test_a_failed_probe_is_repeated_after_a_while(world: World) -> None:
    world.kubelet.probe = lambda _: _failing("AccessDenied")
    world.storage()
    world.condition("backupstorages", "s3", "Ready", "False", "AccessDenied")
    world.kubelet.probe = lambda _: probe_result()
    world.touch("backupstorages", "s3")
    assert len(_probes(world)) == 1
    world.shift = timedelta(seconds=16)
    world.touch("backupstorages", "s3")
    world.condition("backupstorages", "s3", "Ready", "True")
    world.until(lambda: len(world.cluster.list("jobs")) == 1, "the older probe goes")


def test_a_ready_storage_is_probed_hourly_and_stays_ready_meanwhile(world: World) -> None:
    world.ready_storage()
    world.shift = timedelta(minutes=61)
    world.kubelet.answer_probes = False
    world.touch("backupstorages", "s3")
    world.until(lambda: len(_probes(world)) == 2)
    job = world.until(lambda: [j for j in world.cluster.list("jobs") if "status" not in j])[0]
    order = world.kubelet.order(job)
    assert (order.fingerprint, order.create) == (FINGERPRINT, False)
    world.condition("backupstorages", "s3", "Ready", "True")


def test_the_annotation_asks_for_a_probe_and_is_echoed(world: World) -> None:
    world.ready_storage()
    world.cluster.patch("backupstorages", "s3", {"metadata": {"annotations": {REQUESTED: "now"}}})
    world.until(lambda: (world.cluster.get("backupstorages", "s3") or {})["status"].get("lastHandledProbeRequest") == "now")
    assert len(_probes(world)) == 2


def test_a_changed_spec_is_probed_at_once(world: World) -> None:
    world.kubelet.probe = lambda job: (
        probe_result() if world.kubelet.order(job).repository.store.region == "eu-west-1" else _failing("AccessDenied")
    )
    world.storage()
    world.condition("backupstorages", "s3", "Ready", "False", "AccessDenied")
    world.cluster.patch("backupstorages", "s3", {"spec": {"s3": {"region": "eu-west-1"}}})
    body = world.condition("backupstorages", "s3", "Ready", "True")
    assert body["status"]["observedGeneration"] == 2


def test_a_volume_store_without_its_claim_is_told_and_probed_when_it_comes(world: World) -> None:
    spec = {"volume": {"claimName": "store", "group": 3000}, "encryption": {"algorithm": "None"}}
    world.cluster.create("backupstorages", {"metadata": {"name": "local"}, "spec": spec})
    world.condition("backupstorages", "local", "Ready", "False", "StoreClaimMissing")
    world.claim("store")
    world.condition("backupstorages", "local", "Ready", "True")
    pod = world.cluster.list("jobs")[0]["spec"]["template"]["spec"]
    assert pod["securityContext"]["supplementalGroups"] == [3000]
    assert (pod["securityContext"]["fsGroup"], pod["securityContext"]["fsGroupChangePolicy"]) == (3000, "OnRootMismatch")


def test_a_spec_that_cannot_be_read_stalls_the_storage(world: World) -> None:
    world.storage(s3={"bucket": "backups", "credentialsSecretRef": {"name": "x"}}, volume={"claimName": "store"})
    body = world.condition("backupstorages", "s3", "Ready", "False", "InvalidSpec")
    assert {"type": "Stalled", "status": "True"}.items() <= next(c for c in body["status"]["conditions"] if c["type"] == "Stalled").items()


def test_a_probe_whose_pod_does_not_start_is_told(world: World) -> None:
    world.kubelet.answer_probes = False
    world.storage()
    job = world.until(lambda: world.cluster.list("jobs"))[0]
    pod = world.kubelet.pod(job)
    world.kubelet.status(
        pod, {"containerStatuses": [{"name": "worker", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}]}
    )
    world.condition("backupstorages", "s3", "Ready", "False", "ImagePullFailed")


def test_a_refused_writer_key_is_told(idle: World) -> None:
    from .apiserver import Refusal

    idle.cluster.refuse.append(("create", "secrets", Refusal(403, "Forbidden", "secrets is forbidden")))
    idle.start()
    idle.storage()
    idle.condition("backupstorages", "s3", "Ready", "False", "ProbeRejected")
