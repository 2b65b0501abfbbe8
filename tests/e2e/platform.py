"""One tenant as tests see it: a namespace with its Secrets, its claims and a BackupStorage on MinIO under a prefix of its own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from iot_backup import vocabulary
from tests.cluster.cluster import MINIO_BUCKET, MINIO_ENDPOINT, MINIO_PASSWORD, MINIO_USER
from tests.demo import outside
from tests.e2e.deployment import Operator
from tests.e2e.objects import OURS, Json, Objects
from tests.e2e.waiting import wait_for

PASSPHRASE = "e2e-only: correct horse battery staple"
STORAGE = "minio"


@dataclass(frozen=True)
class Platform:
    """Everything happens in `namespace`."""

    operator: Operator
    namespace: str
    prefix: str = field(default_factory=lambda: f"e2e-{secrets.token_hex(4)}")
    """Of the storage `minio`, in the bucket."""

    @property
    def objects(self) -> Objects:
        return self.operator.objects

    # Objects

    def apply(self, *bodies: Json) -> None:
        """Server-side apply, each in this namespace; of ours `apiVersion` may be left out."""
        for body in bodies:
            self.objects.apply(self._placed(body))

    def create(self, body: Json) -> Json:
        return self.objects.create(self._placed(body))

    def get(self, kind: str, name: str) -> Json:
        found = self.objects.get(kind, self.namespace, name)
        assert found is not None, f"{kind} {name} is not in {self.namespace}"
        return found

    def list(self, kind: str, labels: str = "") -> list[Json]:
        return self.objects.list(kind, self.namespace, labels)

    def patch(self, kind: str, name: str, patch: Json) -> Json:
        return self.objects.patch(kind, self.namespace, name, patch)

    def annotate(self, kind: str, name: str, **annotations: str) -> None:
        """`run_requested_at="1"` sets backup.iot-system.io/run-requested-at."""
        told = {f"{vocabulary.GROUP}/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.patch(kind, name, {"metadata": {"annotations": told}})

    def delete(self, kind: str, name: str, deadline: float = 60) -> None:
        """Return once it is gone."""
        self.objects.delete(kind, self.namespace, name)
        wait_for(lambda: self.objects.get(kind, self.namespace, name) is None, deadline, what=f"{kind} {name} is gone")

    def events(self, name: str, kind: str | None = None) -> list[Json]:
        """Events about the object of that name, in the order they were told: their timestamps have whole seconds only."""
        found = [e for e in self.list("Event") if e["involvedObject"]["name"] == name]
        return sorted(
            (e for e in found if kind in (None, e["involvedObject"]["kind"])), key=lambda e: int(e["metadata"]["resourceVersion"])
        )

    # Conditions

    def wait_condition(
        self, kind: str, name: str, type_: str, status: str = "True", *, reason: str | None = None, deadline: float = 60
    ) -> Json:
        """The object, once its condition has this status (and reason), for its present generation."""

        def met() -> Json | None:
            body = self.objects.get(kind, self.namespace, name)
            found = condition(body or {}, type_)
            current = bool(body) and found.get("observedGeneration") == body["metadata"]["generation"] if body else False
            seen.update(found)
            return body if current and found.get("status") == status and reason in (None, found.get("reason")) else None

        seen: Json = {}
        try:
            return wait_for(met, deadline)  # type: ignore[return-value]
        except AssertionError:
            wanted = f"{type_}={status}" + (f", reason {reason}" if reason else "")
            raise AssertionError(f"{kind} {name}: no {wanted} within {deadline:g} s; last seen: {seen or 'nothing'}") from None

    def wait_ended(self, kind: str, name: str, deadline: float = 90) -> Json:
        """The Backup or RestoreJob once it is decided, however it went."""

        def decided() -> Json | None:
            body = self.objects.get(kind, self.namespace, name)
            return body if condition(body or {}, "Succeeded").get("status") in {"True", "False"} else None

        return wait_for(decided, deadline, what=f"{kind} {name} has ended")  # type: ignore[return-value]

    def completed(self, kind: str, name: str, deadline: float = 90) -> Json:
        """The same, and it went well."""
        body = self.wait_ended(kind, name, deadline)
        assert body["status"]["phase"] == "Completed", f"{kind} {name}: {condition(body, 'Succeeded')}"
        return body

    # Storage, jobs, runs

    def secrets(self) -> None:
        """`backup-secrets` (credentials and passphrase) and `minio-ca`."""
        keys = {"aws-access-key-id": MINIO_USER, "aws-secret-access-key": MINIO_PASSWORD, "encryption-passphrase": PASSPHRASE}
        self.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "backup-secrets"}, "stringData": keys},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "minio-ca"},
                "stringData": {"ca.crt": self.operator.cluster.minio_ca.read_text()},
            },
        )

    def storage(self, name: str = STORAGE, *, prefix: str | None = None, s3: Json | None = None, encryption: Json | None = None) -> Json:
        """A BackupStorage on MinIO, not applied yet; `s3` and `encryption` replace single fields or all of it."""
        spec = {
            "bucket": MINIO_BUCKET,
            "prefix": self.prefix if prefix is None else prefix,
            "endpoint": MINIO_ENDPOINT,
            "pathStyle": True,
            "credentialsSecretRef": {"name": "backup-secrets"},
            "caBundleSecretRef": {"name": "minio-ca"},
            **(s3 or {}),
        }
        passphrase = {"secretRef": {"name": "backup-secrets", "key": "encryption-passphrase"}}
        return {"kind": "BackupStorage", "metadata": {"name": name}, "spec": {"s3": spec, "encryption": encryption or passphrase}}

    def backup_job(self, name: str, claim: str, storage: str = STORAGE, **spec: Any) -> Json:
        """A BackupJob for the whole claim, not applied yet; fields of `spec` in camelCase."""
        fields = {"storageRef": {"name": storage}, "source": {"volume": {"claimName": claim}}, **spec}
        return {"kind": "BackupJob", "metadata": {"name": name}, "spec": fields}

    def backup(self, job: str, name: str | None = None, **spec: Any) -> str:
        """Create a Backup by hand; returns its name. Fields of `spec` in camelCase."""
        name = name or f"{job}-{secrets.token_hex(4)}"
        self.create({"kind": "Backup", "metadata": {"name": name}, "spec": {"jobRef": {"name": job}, **spec}})
        return name

    def restore(self, name: str, source: Json, target: str | Json, **spec: Any) -> str:
        """Create a RestoreJob from {"backupRef": …} and the like into a claim's name or a whole target; returns its name."""
        where = {"claimName": target} if isinstance(target, str) else target
        self.create({"kind": "RestoreJob", "metadata": {"name": name}, "spec": {**source, "target": where, **spec}})
        return name

    # Bytes

    @property
    def bucket(self) -> Any:
        """The bucket by boto3, from this machine."""
        cluster = self.operator.cluster
        return outside.bucket(cluster.minio_endpoint_host, cluster.minio_ca, MINIO_USER, MINIO_PASSWORD, MINIO_BUCKET)

    @property
    def root(self) -> str:
        """What all keys of this namespace's repository begin with."""
        return f"{self.prefix}/ns/{self.namespace}/"

    def keys(self, below: str = "") -> list[str]:
        """Keys in the repository, relative to its root."""
        return [item.key.removeprefix(self.root) for item in self.bucket.objects.filter(Prefix=self.root + below)]

    def end(self) -> None:
        """Remove what lies in the bucket. The namespace is removed by whoever made it."""
        self.bucket.objects.filter(Prefix=f"{self.prefix}/").delete()

    def _placed(self, body: Json) -> Json:
        version = {"apiVersion": vocabulary.API_VERSION} if body["kind"] in OURS else {}
        return {**version, **body, "metadata": {"namespace": self.namespace, **body["metadata"]}}


def condition(body: Json, type_: str) -> Json:
    """The condition of that type, or {}."""
    return next((c for c in body.get("status", {}).get("conditions", []) if c["type"] == type_), {})
