"""docker-compose.backup.yml, its two services run as it says: same command, environment, mounts, user, capabilities. A pod stands in for docker.

Named volumes and folders of the machine are volumes of the pod, which an init container fills; the published port and `restart` have no part in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import layout
from tests.cluster.errors import ClusterError
from tests.e2e import trees
from tests.e2e.objects import Json
from tests.e2e.platform import Platform
from tests.e2e.waiting import wait_for

FILE = Path(layout.CHECKOUT) / "docker-compose.backup.yml"
CONFIG = Path(layout.CHECKOUT) / "config" / "backup.yml"
ENVIRONMENT = {"BACKUP_ENCRYPTION_KEY": "only here: correct horse", "VERIFICATION_SCHEDULE": "* * * * *"}
FOLDERS = {"/var/lib/postgresql/data": 999, "/opt/iot-system": 1000}
"""What is backed up, and whose it is."""
_REFERENCE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def interpolated(value: Any) -> Any:
    """As compose does it: ${NAME}, ${NAME:-default}, ${NAME:?message}."""
    if isinstance(value, dict):
        return {key: interpolated(each) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each) for each in value]
    if not isinstance(value, str):
        return value

    def replaced(found: re.Match[str]) -> str:
        name, how, text = found.groups()
        if name in ENVIRONMENT:
            return ENVIRONMENT[name]
        assert how != "?", f"{name} must be set: {text}"
        return text or ""

    return _REFERENCE.sub(replaced, value)


SERVICES: dict[str, Json] = interpolated(yaml.safe_load(FILE.read_text()))["services"]


def volume_of(source: str) -> str:
    """A name for what stands before the colon."""
    return re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")


def container(name: str, service: Json, image: str) -> Json:
    mounts = []
    for mount in service["volumes"]:
        source, path, *options = mount.split(":")
        mounts.append({"name": volume_of(source), "mountPath": path, "readOnly": "ro" in options})
    mounts += [{"name": f"tmp-{name}", "mountPath": path} for path in service["tmpfs"]]
    uid, gid = service["user"].split(":")
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": service["command"],
        "workingDir": service["working_dir"],
        "env": [{"name": key, "value": str(value)} for key, value in service["environment"].items()],
        "volumeMounts": mounts,
        "securityContext": {
            "runAsUser": int(uid),
            "runAsGroup": int(gid),
            "readOnlyRootFilesystem": service["read_only"],
            "allowPrivilegeEscalation": "no-new-privileges:true" not in service["security_opt"],
            "capabilities": {"drop": service["cap_drop"], "add": service["cap_add"]},
        },
    }


FILL = f"""
import subprocess
{trees.ODD}
for path, uid in {FOLDERS!r}.items():
    subprocess.run(["cp", "-a", "/data/.", path], check=True)
    subprocess.run(["chown", "-hR", f"{{uid}}:{{uid}}", path], check=True)
    os.chmod(path, 0o700)
"""


def pod(image: str) -> Json:
    containers = [container(name, service, image) for name, service in SERVICES.items()]
    names = {mount["name"] for each in containers for mount in each["volumeMounts"]}
    volumes: list[Json] = [{"name": name, "emptyDir": {}} for name in sorted(names - {"config"})]
    fill = {
        "name": "machine",
        "image": image,
        "command": ["python3", "-c", FILL],
        "volumeMounts": [{"name": volume_of(path), "mountPath": path} for path in FOLDERS] + [{"name": "scratch", "mountPath": "/data"}],
        "securityContext": {"runAsUser": 0},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "compose"},
        "spec": {
            "terminationGracePeriodSeconds": 30,
            "automountServiceAccountToken": False,
            "initContainers": [fill],
            "containers": containers,
            "volumes": [*volumes, {"name": "scratch", "emptyDir": {}}, {"name": "config", "configMap": {"name": "config"}}],
        },
    }


@pytest.fixture(scope="module")
def platform(new_platform: Callable[..., Platform]) -> Platform:
    """Compose gives a container capabilities that no pod-security level but the widest does."""
    return new_platform("privileged", storage=False)


@pytest.fixture(scope="module")
def running(platform: Platform) -> Iterator[Callable[..., str]]:
    """Both services are up; runs a command in one of them."""
    kubectl = platform.operator.cluster.run
    below = f"--namespace={platform.namespace}"
    kubectl("create", "configmap", "config", f"--from-file={CONFIG}", below)
    kubectl("apply", "--filename=-", below, given=yaml.safe_dump(pod(platform.operator.image)))
    kubectl("wait", "--for=condition=Ready", "pod/compose", "--timeout=60s", below)
    yield lambda service, *command: kubectl("exec", "compose", f"--container={service}", below, "--", *command)
    kubectl("delete", "pod", "compose", "--wait=false", below)


def manager(running: Callable[..., str], *command: str) -> Any:
    text = running("backup-manager", "/app/backup-manager", *command, "--output", "json")
    return json.loads(text)


def test_the_files_name_the_same_places() -> None:
    config = yaml.safe_load(CONFIG.read_text())["backup"]
    mounted = {mount.split(":")[1] for mount in SERVICES["backup-manager"]["volumes"]}
    assert {job["source"] for job in config["jobs"]} <= mounted
    assert {config["storage"]["local"]["path"], "/app/config", SERVICES["backup-manager"]["environment"]["STATE_DIR"]} <= mounted


def test_every_job_runs_and_the_next_one_builds_on_it(running: Callable[..., str]) -> None:
    for job, became in (("database-full", "full"), ("database-incremental", "incremental"), ("config-backup", "configuration")):
        record = manager(running, "execute", job)
        assert (record["status"], record["type"]) == ("completed", became), record
        assert [warning for warning in record["warnings"] if not warning.startswith("ConfigurationMissing:")] == []


def test_the_manager_is_healthy_and_tells_its_schedules(running: Callable[..., str]) -> None:
    check = SERVICES["backup-manager"]["healthcheck"]["test"]
    assert check[0] == "CMD"
    running("backup-manager", *check[1:])
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9090/metrics').read().decode())"
    assert 'job="database-full"' in running("backup-manager", "python3", "-c", script)


def test_the_verifier_verifies_by_its_schedule(running: Callable[..., str]) -> None:
    """At the next full minute; it can write to no storage."""
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9091/metrics').read().decode())"

    def verified() -> str | None:
        try:
            told = running("backup-verifier", "python3", "-c", script)
        except ClusterError:  # nobody listens yet
            return None
        found = re.search(r"^iot_backup_verification_last_success (\S+)", told, re.MULTILINE)
        return found[1] if found else None

    assert float(wait_for(verified, 120, what="the verifier has verified")) == 1


def test_what_is_lost_comes_back(running: Callable[..., str]) -> None:
    restored = manager(running, "restore", "config-backup", "--target", "/tmp/restored")
    assert restored["files_restored"] > 0
    assert running("backup-manager", "cat", "/tmp/restored/config/broker.conf") == "listener 1883\n"
