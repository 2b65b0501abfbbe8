"""`make bench-cluster`: seconds from create to done on the real cluster, each beside the floor, an empty Job on the same claim.

Three interleaved rounds, medians. "Done" of a floor Job is its pod's end and, beside it, the Job's Complete; "done" of ours is the
condition Succeeded=True. Times are those at which a watch on this machine saw the fact.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from pathlib import Path
from string import Template
from typing import Any

from tests.bench.observing import Observer, condition, ended
from tests.cluster import Cluster, chart, project_image, start
from tests.cluster.cluster import MINIO_BUCKET, MINIO_ENDPOINT, MINIO_PASSWORD, MINIO_USER

NAMESPACE = "iot-bench"
ROUNDS = 3
HERE = Path(__file__).parent
CLAIMS = {"small": ("small", "1Gi"), "gig": ("gig", "3Gi"), **{f"into-{n}": ("empty", "3Gi") for n in range(ROUNDS)}}

BARS = [
    ("small claim, repeated: create -> Succeeded", "small", "<= floor"),
    ("1 GB, first backup of a chain", "gig", "<= 6.5 s where the floor is 3.1 s"),
    ("1 GB, restore into another claim", "restore", "<= 5.0 s where the floor is 3.1 s"),
    ("floor: create -> pod's end", "floor-pod", ""),
    ("floor: create -> Job Complete", "floor-job", ""),
    ("reaction: Backup seen -> Job seen", "reaction", "<= 0.2 s"),
    ("pod's end seen -> status seen", "told", "<= 0.3 s"),
    ("worker start -> reading the source", "start", "<= 0.7 s"),
    ("operator RSS, idle (MB)", "operator-rss", "<= 110"),
    ("worker peak, backup of 1 GB (MB)", "backup-peak", "<= 120"),
    ("worker peak, restore of 1 GB (MB)", "restore-peak", "<= 120"),
]


class Bench:
    def __init__(self, cluster: Cluster, image: str) -> None:
        self.cluster, self.image = cluster, image
        self.figures: dict[str, list[float]] = {}

    def kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        return self.cluster.run("-n", NAMESPACE, *arguments, given=given, check=check, timeout=600)

    def apply(self, *bodies: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(bodies)}))

    def add(self, figure: str, value: float) -> None:
        self.figures.setdefault(figure, []).append(value)

    def prepare(self) -> None:
        self.cluster.run("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=true", timeout=300)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.cluster.run("apply", "-f", "-", given=json.dumps(_object("Namespace", NAMESPACE, "v1", labels=labels)))
        secret = {"aws-access-key-id": MINIO_USER, "aws-secret-access-key": MINIO_PASSWORD, "passphrase": "bench-only"}
        self.apply(
            _object("Secret", "store", "v1", stringData=secret),
            _object("Secret", "minio-ca", "v1", stringData={"ca.crt": self.cluster.minio_ca.read_text()}),
        )
        for claim, (content, size) in CLAIMS.items():
            manifest = Template((HERE / "manifests" / "claim.yaml").read_text())
            self.kubectl("apply", "-f", "-", given=manifest.substitute(CLAIM=claim, SIZE=size, IMAGE=self.image, CONTENT=content))
        for claim in CLAIMS:
            self.kubectl("wait", "--for=condition=Complete", f"job/fill-{claim}", "--timeout=300s")
        s3 = {
            "bucket": MINIO_BUCKET,
            "prefix": f"bench-{time.time_ns()}",
            "endpoint": MINIO_ENDPOINT,
            "pathStyle": True,
            "credentialsSecretRef": {"name": "store"},
            "caBundleSecretRef": {"name": "minio-ca"},
        }
        encryption = {"secretRef": {"name": "store", "key": "passphrase"}}
        self.apply(_ours("BackupStorage", "minio", {"s3": s3, "encryption": encryption}))
        self.kubectl("wait", "--for=condition=Ready", "ibs/minio", "--timeout=120s")
        self.apply(*(self.job(name, claim) for name, claim in [("small", "small"), *((f"gig-{n}", "gig") for n in range(ROUNDS))]))
        self.kubectl("wait", "--for=condition=Ready", "ibj", "--all", "--timeout=60s")

    def job(self, name: str, claim: str) -> dict[str, Any]:
        # Workers as the files' owner: nobody mounts these claims, so there is no workload to learn it from.
        worker = {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000}}
        return _ours("BackupJob", name, {"storageRef": {"name": "minio"}, "source": {"volume": {"claimName": claim}}, "worker": worker})

    def floor(self, observer: Observer, number: int) -> None:
        manifest = Template((HERE / "manifests" / "floor.yaml").read_text())
        begun = time.monotonic()
        self.kubectl("create", "-f", "-", given=manifest.substitute(NAME=f"floor-{number}", CLAIM="small", IMAGE=self.image))
        self.add("floor-pod", observer.when("pods", f"floor-{number}-", "ended") - begun)
        self.add("floor-job", observer.when("jobs", f"floor-{number}", "Complete=True") - begun)

    def backup(self, observer: Observer, figure: str, name: str, job: str) -> None:
        begun = time.monotonic()
        self.kubectl("create", "-f", "-", given=json.dumps(_ours("Backup", name, {"jobRef": {"name": job}})))
        self.add(figure, observer.when("ibk", name, "Succeeded=True") - begun)
        self.add("reaction", observer.when("jobs", name, "seen") - observer.when("ibk", name, "seen"))
        self.add("told", observer.when("ibk", name, "Succeeded=True") - observer.when("pods", f"{name}-", "ended"))
        self.read_log(name, f"{figure}-peak" if figure != "gig" else "backup-peak")

    def restore(self, observer: Observer, number: int) -> None:
        name = f"restore-{number}"
        spec = {
            "backupRef": {"name": f"gig-{number}"},
            "target": {"claimName": f"into-{number}"},
            "worker": {"securityContext": {"runAsUser": 1000, "runAsGroup": 1000}},
        }
        begun = time.monotonic()
        self.kubectl("create", "-f", "-", given=json.dumps(_ours("RestoreJob", name, spec)))
        self.add("restore", observer.when("irj", name, "Succeeded=True") - begun)
        job = json.loads(self.kubectl("get", "irj", name, "-o", "json"))["status"]["jobName"]
        self.read_log(job, "restore-peak")

    def read_log(self, job: str, peak: str) -> None:
        """What the worker says of itself."""
        log = self.kubectl("logs", f"job/{job}")
        if found := re.search(r"reading claim \S+, ([\d.]+) s after", log):
            self.add("start", float(found[1]))
        if found := re.search(r"peak memory (\d+) MB", log):
            self.add(peak, float(found[1]))

    def operator_rss(self) -> None:
        """The largest resident process of the operator's pod, from its own /proc."""
        script = "cat /proc/[0-9]*/status"
        text = self.cluster.run("-n", chart.NAMESPACE, "exec", f"deployment/{chart.NAME}", "--", "sh", "-c", script)
        self.add("operator-rss", max(int(kb) for kb in re.findall(r"VmRSS:\s+(\d+) kB", text)) * 1024 / 1e6)

    def run(self) -> None:
        self.prepare()
        kinds = {"pods": ended, "jobs": condition("Complete"), "ibk": condition("Succeeded"), "irj": condition("Succeeded")}
        observer = Observer(self.cluster, NAMESPACE, kinds)
        try:
            self.backup(observer, "warm-up", "warm-up", "small")
            for number in range(ROUNDS):
                self.floor(observer, number)
                self.backup(observer, "small", f"small-{number}", "small")
                self.backup(observer, "gig", f"gig-{number}", f"gig-{number}")
                self.restore(observer, number)
        finally:
            observer.close()
        self.operator_rss()

    def tell(self) -> None:
        print(f"\n{'figure':46} {'median':>8}   {'all':28} bar")
        for text, figure, bar in BARS:
            values = self.figures.get(figure, [])
            if values:
                row = ", ".join(f"{value:.2f}" for value in values[:6])
                print(f"{text:46} {statistics.median(values):8.2f}   {row:28} {bar}")
        print("\nFor reference (peers' figures, same kind of machine): K8up 10.1 / 20.1 / 10.1 s, VolSync 5.0 / 14.9 / 7.0 s, floor 3.1 s.")


def _object(kind: str, name: str, api_version: str, *, labels: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": labels or {}}, **fields}


def _ours(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return _object(kind, name, "backup.iot-system.io/v1alpha1", spec=spec)


def main() -> int:
    cluster = start()
    image = project_image.deliver(cluster)
    chart.install(cluster)
    bench = Bench(cluster, image)
    bench.run()
    bench.tell()
    cluster.run("delete", "namespace", NAMESPACE, "--wait=false")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
