"""The admission policy on the real API server: who makes our objects needs the rights that they amount to (store.md section 7)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.apiserver import ApiServer, Refused
from tests.e2e.waiting import wait_for
from tests.packaging.rendering import NAMESPACE, RELEASE
from tests.packaging.specimens import MINIMAL, body, spec

OPERATOR = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}
SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
ONE_SECRET = {**SECRETS, "resourceNames": ["backup-secrets"]}
KINDS = {
    "apiGroups": ["backup.iot-system.io"],
    "resources": ["backupstorages", "backupjobs", "backups", "restorejobs"],
    "verbs": ["*"],
}
RIGHTS: dict[str, list[dict[str, Any]]] = {
    "everything": [PODS, SECRETS],
    "pods-and-one-secret": [PODS, ONE_SECRET],
    "pods-only": [PODS],
    "secrets-only": [SECRETS],
    "neither": [],
    OPERATOR: [],
    f"system:serviceaccount:elsewhere:{RELEASE}": [],
}
"""Beyond all rights on our kinds."""


@dataclass(frozen=True)
class Place:
    """A namespace in which each user of RIGHTS has just those."""

    namespace: str
    admin: ApiServer
    users: dict[str, ApiServer]

    def create(
        self, user: str, kind: str, changes: dict[str, Any] | None = None, *, name: str = "tried", keep: bool = False
    ) -> dict[str, Any]:
        wanted = body(kind, spec(kind, changes or {}), name=name, namespace=self.namespace)
        return self.users[user].create(wanted, dry_run=not keep)


@pytest.fixture(scope="module")
def place(api: ApiServer, new_namespace: Callable[..., str], kubectl: Any) -> Iterator[Place]:
    """Users, roles and bindings, seen by the API server; and the policy in force."""
    namespace = new_namespace()
    items = [item for number, (user, rules) in enumerate(RIGHTS.items()) for item in _granted(namespace, f"user-{number}", user, rules)]
    kubectl("apply", "--filename=-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    with ExitStack() as stack:
        users = {user: stack.enter_context(closing(api.as_user(user))) for user in RIGHTS}
        place = Place(namespace, api, users)
        wait_for(lambda: all(_bound(place, user) for user in RIGHTS), what="roles and bindings are in force")
        wait_for(lambda: _may(place, "everything"), what="the kinds are served")
        wait_for(lambda: not _may(place, "neither"), what="the policy is in force")
        yield place


@pytest.fixture
def existing(place: Place) -> Iterator[str]:
    """A BackupStorage that somebody with all rights made."""
    place.create("everything", "BackupStorage", name="existing", keep=True)
    yield "existing"
    place.admin.delete("BackupStorage", place.namespace, "existing")


@pytest.mark.parametrize("kind", MINIMAL)
def test_all_rights_make_every_kind(place: Place, kind: str) -> None:
    place.create("everything", kind)


@pytest.mark.parametrize("kind", MINIMAL)
@pytest.mark.parametrize("user", ["secrets-only", "neither"])
def test_without_create_pods_no_kind_is_made(place: Place, user: str, kind: str) -> None:
    with pytest.raises(Refused) as refusal:
        place.create(user, kind)
    assert refusal.value.status == 403
    assert f"user {user} may not create pods in namespace {place.namespace}, and this {kind} amounts to one" in refusal.value.message


@pytest.mark.parametrize("kind", ["BackupJob", "Backup", "RestoreJob"])
def test_create_pods_suffices_where_no_secret_is_named(place: Place, kind: str) -> None:
    place.create("pods-only", kind)


CA = {"s3.caBundleSecretRef": {"name": "private-ca"}}


@pytest.mark.parametrize(
    ("user", "kind", "changes", "hidden"),
    [
        ("pods-only", "BackupStorage", {}, "backup-secrets"),
        ("pods-only", "BackupStorage", {"s3.credentialsSecretRef.name": "theirs"}, "theirs"),
        ("pods-and-one-secret", "BackupStorage", CA, "private-ca"),
        ("pods-and-one-secret", "BackupStorage", {"encryption.secretRef.name": "theirs"}, "theirs"),
        ("pods-and-one-secret", "RestoreJob", {"identitySecretRef": {"name": "theirs", "key": "k"}}, "theirs"),
    ],
)
def test_every_secret_the_spec_names_must_be_readable(place: Place, user: str, kind: str, changes: dict[str, Any], hidden: str) -> None:
    with pytest.raises(Refused) as refusal:
        place.create(user, kind, changes)
    assert refusal.value.status == 403
    assert f"user {user} may not get Secret {hidden} in namespace {place.namespace}, which this {kind} names" in refusal.value.message


def test_a_spec_with_every_reference_stays_within_the_cost_limit(place: Place) -> None:
    place.create("everything", "BackupStorage", {**CA, "s3.credentialsSecretRef.name": "one", "encryption.secretRef.name": "another"})
    place.create("everything", "RestoreJob", {"identitySecretRef": {"name": "third", "key": "k"}})


def test_get_on_just_the_named_secret_suffices(place: Place) -> None:
    place.create("pods-and-one-secret", "BackupStorage")


@pytest.mark.parametrize("user", ["pods-only", "neither"])
def test_a_change_of_the_spec_needs_the_rights_too(place: Place, existing: str, user: str) -> None:
    with pytest.raises(Refused, match=f"user {user} may not"):
        place.users[user].patch("BackupStorage", place.namespace, existing, {"spec": {"s3": {"region": "eu-central-1"}}})


def test_a_change_to_a_secret_one_may_not_read_is_refused(place: Place, existing: str) -> None:
    stolen = {"spec": {"s3": {"credentialsSecretRef": {"name": "theirs"}}}}
    with pytest.raises(Refused, match="may not get Secret theirs"):
        place.users["pods-and-one-secret"].patch("BackupStorage", place.namespace, existing, stolen)
    place.users["everything"].patch("BackupStorage", place.namespace, existing, stolen)


def test_without_any_of_the_rights_one_may_still_annotate_and_delete(place: Place) -> None:
    place.create("everything", "BackupStorage", name="annotated", keep=True)
    annotations = {"backup.iot-system.io/probe-requested-at": "now"}
    changed = place.users["neither"].patch("BackupStorage", place.namespace, "annotated", {"metadata": {"annotations": annotations}})
    assert changed["metadata"]["annotations"] == annotations
    place.users["neither"].delete("BackupStorage", place.namespace, "annotated")


RUN = {"run": {"jobName": "daily-1", "jobUID": "0c3b"}}


def test_nobody_but_the_operator_records_a_run(place: Place) -> None:
    for who in ("everything", f"system:serviceaccount:elsewhere:{RELEASE}"):
        with pytest.raises(Refused, match=r"spec\.run is set by the operator alone"):
            place.create(who, "Backup", RUN)
    with pytest.raises(Refused, match=r"spec\.run is set by the operator alone"):
        place.admin.create(body("Backup", spec("Backup", RUN), namespace=place.namespace), dry_run=True)


def test_the_operator_records_a_run_and_its_owner_may_cancel_it(place: Place) -> None:
    place.create(OPERATOR, "Backup", RUN, name="recorded", keep=True)
    try:
        cancelled = place.users["everything"].patch("Backup", place.namespace, "recorded", {"spec": {"cancel": True}})
        assert cancelled["spec"]["cancel"] is True
    finally:
        place.admin.delete("Backup", place.namespace, "recorded")


def _granted(namespace: str, name: str, user: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    group = "rbac.authorization.k8s.io"
    metadata = {"name": name, "namespace": namespace}
    return [
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [KINDS, *rules]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        },
    ]


def _bound(place: Place, user: str) -> bool:
    """Whether the API server knows of the user's role: without it, the policy's refusal and that of a missing role look alike."""
    try:
        place.users[user].get("BackupStorage", place.namespace, "nobody-made-it")
    except Refused as refusal:
        return refusal.status == 404
    return True


def _may(place: Place, user: str) -> bool:
    try:
        place.create(user, "BackupStorage")
    except Refused:
        return False
    return True
