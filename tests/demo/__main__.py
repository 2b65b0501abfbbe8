"""`make demo`: the main job on a real cluster, as a person would do it, and the proof that it held."""

from __future__ import annotations

import base64
import difflib
import json
import os
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any

from tests.cluster import Cluster, ClusterError, chart, project_image, start
from tests.cluster.cluster import MINIO_BUCKET, MINIO_PASSWORD, MINIO_USER
from tests.demo import outside, terminal

HERE = Path(__file__).parent
EXAMPLES = Path(os.path.relpath(HERE.parents[1] / "examples"))
NAMESPACE = "iot-system"
PASSPHRASE = "demo-only: correct horse battery staple"
LIMIT_SECONDS = 300


class Demo:
    """One run of the story; each method is a step."""

    def __init__(self, cluster: Cluster, image: str) -> None:
        self.cluster = cluster
        self.image = image
        self.facts: list[tuple[str, str]] = []

    def kubectl(self, *arguments: str, given: str | None = None, show: bool = False) -> str:
        """Run kubectl in the demo's namespace; its output, shown with the command if asked."""
        if show:
            terminal.command(f"kubectl {' '.join(arguments)}")
        printed = self.cluster.run("-n", NAMESPACE, *arguments, given=given, timeout=LIMIT_SECONDS + 10)
        if show:
            terminal.output(printed)
        return printed

    def get(self, *what: str) -> dict[str, Any]:
        return dict(json.loads(self.kubectl("get", *what, "-o", "json")))

    def platform(self) -> None:
        """Namespace, secrets, and a workload with a few hundred MB of files."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
        self.forget_earlier_runs()
        scripts = {path.name: path.read_text() for path in (HERE / "scripts").glob("*.py")}
        self.apply(_named("ConfigMap", "demo-scripts", data=scripts))
        secrets = {
            "aws-access-key-id": MINIO_USER,
            "aws-secret-access-key": MINIO_PASSWORD,
            "encryption-passphrase": PASSPHRASE,
        }
        self.apply(_named("Secret", "backup-secrets", stringData=secrets))
        self.apply(_named("Secret", "minio-ca", stringData={"ca.crt": self.cluster.minio_ca.read_text()}))
        manifest = Template((HERE / "manifests" / "historian.yaml").read_text()).substitute(IMAGE=self.image)
        self.kubectl("apply", "-f", "-", given=manifest)
        self.kubectl("rollout", "status", "deployment/historian", f"--timeout={LIMIT_SECONDS}s")
        terminal.output(self.in_workload("du -sh /data; find /data | wc -l | xargs echo entries:"))

    def forget_earlier_runs(self) -> None:
        """A second demo on the same cluster starts from the same point; the archives of the first stay in the bucket."""
        for kind in ("backupjobs", "restorejobs", "backups.backup.iot-system.io"):
            self.kubectl("delete", kind, "--all", "--wait=true")
        self.kubectl("delete", "deployment", "historian", "--ignore-not-found", "--wait=true")
        self.kubectl("wait", "--for=delete", "pod", "-l", "app=historian", "--timeout=60s")
        self.kubectl("delete", "pvc", "historian-data", "--ignore-not-found", "--wait=true")

    def apply(self, body: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", given=json.dumps(body))

    def in_workload(self, script: str) -> str:
        return self.kubectl("exec", "deployment/historian", "--", "sh", "-c", script)

    def fingerprint(self, *mode: str) -> str:
        return self.in_workload(f"python3 /scripts/fingerprint.py /data {' '.join(mode)}")

    def storage(self) -> None:
        self.kubectl("apply", "-f", str(EXAMPLES / "backupstorage-s3.yaml"), show=True)
        self.kubectl("wait", "--for=condition=Ready", "ibs/minio", f"--timeout={LIMIT_SECONDS}s", show=True)
        self.kubectl("get", "ibs", show=True)

    def backup(self) -> str:
        """The BackupJob of examples/, run now; returns the Backup's name."""
        self.kubectl("apply", "-f", str(EXAMPLES / "backupjob.yaml"), show=True)
        self.kubectl("wait", "--for=condition=Ready", "ibj/historian-daily", f"--timeout={LIMIT_SECONDS}s")
        self.kubectl("annotate", "ibj/historian-daily", f"backup.iot-system.io/run-requested-at={time.time_ns()}", show=True)
        name = self.watch("ibk", lambda: self.kubectl("get", "ibk", "-o", "name").strip().rpartition("/")[2])
        self.kubectl("get", "backups", "-o", "wide", show=True)
        self.kubectl("get", "ibj,ibs", show=True)
        return name

    def watch(self, kind: str, find: Any) -> str:
        """Show an object's phase as it goes, until Succeeded is decided; returns its name. Fails unless it is True."""
        deadline = time.monotonic() + LIMIT_SECONDS
        name, last = "", ""
        while time.monotonic() < deadline:
            name = name or find()
            status = self.get(kind, name).get("status", {}) if name else {}
            succeeded = next(
                (c for c in status.get("conditions", []) if c["type"] == "Succeeded"), {"status": "Unknown", "reason": "Pending"}
            )
            row = f"{name:32} {status.get('phase', 'Pending'):10} {succeeded['reason']:20} {status.get('size', '')}"
            if row != last:
                terminal.output(row)
                last = row
            if succeeded["status"] == "True":
                return name
            if succeeded["status"] == "False":
                raise ClusterError(f"{kind}/{name} failed: {succeeded['reason']}: {succeeded.get('message')}")
            time.sleep(0.2)
        raise ClusterError(f"{kind} {name} was not decided within {LIMIT_SECONDS} s; look at it with kubectl describe")

    def read_outside(self, backup: dict[str, Any], expected: str) -> None:
        """age, zstd and tar alone bring the same files."""
        with tempfile.TemporaryDirectory(prefix="iot-backup-demo-") as place:
            folder = Path(place)
            store = outside.bucket(self.cluster.minio_endpoint_host, self.cluster.minio_ca, MINIO_USER, MINIO_PASSWORD, MINIO_BUCKET)
            manifest, archive, key_file = outside.download(store, self.store_root(), backup["status"]["archive"], folder)
            terminal.output(json.dumps(manifest, indent=2, ensure_ascii=False))
            terminal.command("age -d -o identity keys/<recipient>-1.scrypt       # asks for the passphrase")
            outside.open_identity(key_file, PASSPHRASE, folder / "identity")
            terminal.command("age -d -i identity archive | zstd -d | tar x")
            (folder / "tree").mkdir()
            outside.extract(archive, folder / "identity", folder / "tree")
            found = subprocess.run(
                ["python3", str(HERE / "scripts" / "fingerprint.py"), str(folder / "tree"), "content"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        self.compare("stock tools read the same files, modes and links", expected, found)

    def store_root(self) -> str:
        prefix = self.get("ibs", "minio")["spec"]["s3"].get("prefix", "").strip("/")
        return f"{prefix}/ns/{NAMESPACE}/".lstrip("/")

    def compare(self, claim: str, expected: str, found: str) -> None:
        if expected == found:
            terminal.good(f"{claim}: {len(expected.splitlines())} entries")
            return
        terminal.bad(claim)
        terminal.output(
            "\n".join(list(difflib.unified_diff(expected.splitlines(), found.splitlines(), "expected", "found", lineterm="", n=0))[:20])
        )
        raise ClusterError(f"not so: {claim}")

    def disaster(self) -> None:
        self.in_workload("find /data -mindepth 1 -delete")
        terminal.output(self.in_workload("find /data | wc -l | xargs echo entries:"))
        self.kubectl("scale", "deployment/historian", "--replicas=0", show=True)
        self.kubectl("wait", "--for=delete", "pod", "-l", "app=historian", "--timeout=60s")

    def restore(self) -> None:
        self.kubectl("apply", "-f", str(EXAMPLES / "restorejob.yaml"), show=True)
        self.watch("irj", lambda: "historian-restore")
        self.kubectl("get", "irj", "-o", "wide", show=True)

    def back_in_service(self) -> None:
        # The workload must not fill what the restore left out: with an empty claim this would hide a failed restore.
        self.kubectl("set", "env", "deployment/historian", "-c", "historian", "DEMO=restored")
        self.kubectl("scale", "deployment/historian", "--replicas=1", show=True)
        self.kubectl("rollout", "status", "deployment/historian", f"--timeout={LIMIT_SECONDS}s")

    def run(self) -> None:
        with terminal.step("A platform with a few hundred MB of files, in a namespace with pod-security restricted"):
            self.platform()
            before, content = self.fingerprint(), self.fingerprint("content")
            terminal.good(f"fingerprint taken: {len(before.splitlines())} entries")
        with terminal.step("A BackupStorage: a bucket on MinIO, over TLS with a private CA"):
            self.storage()
        with terminal.step("The BackupJob of examples/, run now"):
            name = self.backup()
            backup = self.get("ibk", name)
        with terminal.step("The archive, read back outside the product"):
            self.read_outside(backup, content)
        with terminal.step("The disaster: every file is deleted"):
            self.disaster()
        with terminal.step("A RestoreJob"):
            self.restore()
            self.back_in_service()
        with terminal.step("The proof"):
            self.compare("content, mode, owner, mtime and links are as they were", before, self.fingerprint())
            self.no_secrets()
        self.tell(backup, self.get("irj", "historian-restore"))

    def no_secrets(self) -> None:
        """Nothing secret in any object, Event or log of the run."""
        texts = [self.kubectl("get", "ibs,ibj,ibk,irj,jobs,cronjobs,pods,events", "-o", "yaml")]
        texts += [
            self.kubectl("logs", pod, "--all-containers")
            for pod in self.kubectl("get", "pods", "-l", "backup.iot-system.io/operation", "-o", "name").split()
        ]
        for secret in (PASSPHRASE, MINIO_PASSWORD, base64.b64encode(PASSPHRASE.encode()).decode(), "AGE-SECRET-KEY-"):
            if any(secret in text for text in texts):
                raise ClusterError("a secret shows in an object, an Event or a log")
        terminal.good("no secret in status, Events, logs or arguments")

    def tell(self, backup: dict[str, Any], restore: dict[str, Any]) -> None:
        done, back = backup["status"], restore["status"]
        terminal.summary(
            "Backed up, lost, restored, proven equal",
            [
                ("backup", f"{backup['metadata']['name']} ({_seconds(done):.1f} s)"),
                ("files", f"{done['files']} ({done['sourceBytes'] / 1e6:.0f} MB)"),
                ("stored", f"{done['size']} compressed, encrypted, signed"),
                ("checksum", done["checksum"][:30] + "…"),
                ("restored", f"{back['filesRestored']} files, {back['bytesRestored'] / 1e6:.0f} MB ({_seconds(back):.1f} s)"),
            ],
            [
                "",
                "Go on playing:",
                f"  export KUBECONFIG={self.cluster.kubeconfig}",
                f"  kubectl -n {NAMESPACE} get ibj,ibk,irj,ibs",
                "  kubectl explain backupjob.spec.source",
                f"  kubectl -n {NAMESPACE} annotate ibj/historian-daily backup.iot-system.io/run-requested-at=$(date +%s) --overwrite",
                "  make cluster-down        # leaves nothing behind",
            ],
        )


def _named(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, **fields}


def _seconds(status: dict[str, Any]) -> float:
    return (datetime.fromisoformat(status["completionTime"]) - datetime.fromisoformat(status["startTime"])).total_seconds()


def main() -> int:
    terminal.title("iot-backup-operator: a backup and a restore on a real Kubernetes")
    begun = time.monotonic()
    try:
        with terminal.step("A cluster with the operator, installed by Helm"):
            cluster = start()
            image = project_image.deliver(cluster)
            chart.install(cluster)
        Demo(cluster, image).run()
    except (ClusterError, AssertionError) as error:
        terminal.bad(str(error))
        return 1
    print(f"\nThe whole demo took {time.monotonic() - begun:.0f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
