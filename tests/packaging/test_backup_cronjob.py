"""k8s/backup-cronjob.yaml is sound by Kubernetes' own schemas, and its config by ours."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from iot_backup import __version__
from iot_backup.standalone import configfile
from tests.packaging.manifests import problems
from tests.packaging.rendering import ROOT

TEXT = (ROOT / "k8s" / "backup-cronjob.yaml").read_text()
OBJECTS = {body["kind"] + "/" + body["metadata"]["name"]: body for body in yaml.safe_load_all(TEXT)}


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_is_valid(name: str) -> None:
    assert problems(OBJECTS[name]) == []


def _container() -> dict[str, Any]:
    found: dict[str, Any] = OBJECTS["CronJob/database-full"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    return found


def test_it_runs_a_job_that_its_config_has_on_what_it_mounts() -> None:
    config, found = configfile.checked(OBJECTS["ConfigMap/backup-config"]["data"]["backup.yml"], "backup.yml", {})
    assert config is not None, found
    (job,) = config.jobs
    assert _container()["args"][:2] == ["execute", job.id]
    mounted = {mount["mountPath"] for mount in _container()["volumeMounts"]}
    assert config.storage.local is not None
    assert {job.source, config.storage.local.path, "/var/lib/iot-backup", "/app/config"} == mounted


def test_it_names_our_image_and_the_keys_that_its_first_lines_make() -> None:
    assert _container()["image"] == f"iot-backup-operator:{__version__}"
    wanted = {each["valueFrom"]["secretKeyRef"]["key"] for each in _container()["env"] if "valueFrom" in each}
    assert set(re.findall(r"--from-literal=([a-z-]+)=", TEXT)) == wanted
