"""Claims and the pods that fill and read them. They run the operator's image, which has python3."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cluster import layout
from tests.e2e.objects import Json
from tests.e2e.platform import Platform
from tests.e2e.waiting import wait_for

FINGERPRINT = (Path(layout.CHECKOUT) / "tests" / "demo" / "scripts" / "fingerprint.py").read_text()
OWNER = 65532
MOUNT = "/data"


def claim(name: str, size: str = "64Mi", storage_class: str | None = None, mode: str = "ReadWriteOnce") -> Json:
    """A PersistentVolumeClaim."""
    spec: Json = {"accessModes": [mode], "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def pod(
    platform: Platform,
    name: str,
    claim_name: str | Sequence[str],
    script: str,
    *arguments: str,
    uid: int = OWNER,
    gid: int | None = None,
    fs_group: int | None = OWNER,
    read_only: bool = False,
    labels: dict[str, str] | None = None,
) -> Json:
    """A pod that runs the Python script with the claim at /data, as `uid`; 0 is root with the usual capabilities, which needs `baseline`.

    Of several claims each is at /data/<its name>.
    """
    mounts = {claim_name: MOUNT} if isinstance(claim_name, str) else {one: f"{MOUNT}/{one}" for one in claim_name}
    gid = uid if gid is None else gid
    security: Json = {"runAsUser": uid, "runAsGroup": gid, "runAsNonRoot": uid != 0, "seccompProfile": {"type": "RuntimeDefault"}}
    if fs_group is not None and uid != 0:
        # Else the kubelet opens every file to the group, each time.
        security.update(fsGroup=fs_group, fsGroupChangePolicy="OnRootMismatch")
    container: Json = {
        "name": "workload",
        "image": platform.operator.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", script, *arguments],
        "volumeMounts": [{"name": f"data-{n}", "mountPath": path, "readOnly": read_only} for n, path in enumerate(mounts.values())],
        "securityContext": {"allowPrivilegeEscalation": False, **({} if uid == 0 else {"capabilities": {"drop": ["ALL"]}})},
    }
    spec: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": security,
        "containers": [container],
        "volumes": [{"name": f"data-{n}", "persistentVolumeClaim": {"claimName": one}} for n, one in enumerate(mounts)],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def run(platform: Platform, claim_name: str, script: str, *arguments: str, deadline: float = 60, **options: Any) -> str:
    """Run the script to its end on the claim and return what it printed; a failure is an AssertionError with its output."""
    name = f"script-{secrets.token_hex(4)}"
    platform.create(pod(platform, name, claim_name, script, *arguments, **options))
    path = f"/api/v1/namespaces/{platform.namespace}/pods/{name}"

    def ended() -> str | None:
        phase = platform.get("Pod", name)["status"].get("phase")
        return phase if phase in {"Succeeded", "Failed"} else None

    try:
        phase = wait_for(ended, deadline, what=f"the script on {claim_name} has ended")
        printed = platform.objects.text(f"{path}/log")
        assert phase == "Succeeded", printed
        return printed
    finally:
        platform.objects.delete("Pod", platform.namespace, name, grace_seconds=0)


def filled(platform: Platform, name: str, script: str, size: str = "64Mi", **options: Any) -> str:
    """Make a claim and let the script fill it; returns the claim's name."""
    platform.apply(claim(name, size))
    run(platform, name, script, **options)
    return name


def fingerprint(platform: Platform, claim_name: str, *mode: str, **options: Any) -> list[str]:
    """A line an entry (tests/demo/scripts/fingerprint.py); two equal lists are two equal trees. `"content"` leaves out owners and ns."""
    return run(platform, claim_name, FINGERPRINT, MOUNT, *mode, **options).splitlines()


def start_workload(
    platform: Platform, name: str, claim_name: str | Sequence[str], script: str = "", *, deadline: float = 60, **options: Any
) -> None:
    """Start a pod that runs the script, says so in its log, and stays; returns once it has."""
    stay = "import signal\nprint('ready', flush=True)\nsignal.pause()\n"
    platform.create(pod(platform, name, claim_name, f"{script}\n{stay}", **options))
    path = f"/api/v1/namespaces/{platform.namespace}/pods/{name}/log"

    def ready() -> bool:
        running = platform.get("Pod", name)["status"].get("phase") == "Running"
        return running and "ready" in platform.objects.text(path)

    wait_for(ready, deadline, what=f"workload {name} has done its work")


def within(platform: Platform, workload: str, script: str, *arguments: str) -> str:
    """Run a Python script inside a workload that stays, and return what it printed."""
    return platform.operator.cluster.run("exec", f"--namespace={platform.namespace}", workload, "--", "python3", "-c", script, *arguments)
