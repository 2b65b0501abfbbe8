"""k8s/ installs what the chart installs, object by object; only Helm's own labels and annotations are missing."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.tools import binary
from tests.packaging.render import K8S, WATCHED, files, text, without_helm
from tests.packaging.rendering import NAMESPACE, ROOT, render

Body = dict[str, Any]


def build(folder: Path) -> list[Body]:
    """What kustomize makes of a folder."""
    done = subprocess.run([str(binary("kubectl")), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return list(yaml.safe_load_all(done.stdout))


def keyed(objects: list[Body]) -> dict[tuple[str, str, str], Body]:
    """Objects by kind, namespace and name; variables by name, since a patch may reorder them."""
    for body in objects:
        if body["kind"] == "Deployment":
            body["spec"]["template"]["spec"]["containers"][0]["env"].sort(key=lambda entry: entry["name"])
    return {(body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"]): body for body in objects}


def charted(*values: str) -> dict[tuple[str, str, str], Body]:
    """The chart's objects as they are without a release."""
    objects = [without_helm(body) for body in render(*values)]
    for body in objects:
        if body["kind"] == "CustomResourceDefinition":
            body["metadata"] = {"name": body["metadata"]["name"]}
    return keyed(objects)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_generated_files_are_as_make_render_writes_them(path: Path) -> None:
    assert path.read_text() == text(files()[path])


@pytest.mark.parametrize(
    ("folder", "values"),
    [(K8S / "base", ()), (K8S / "overlays" / "namespaced", (f"watchNamespaces={{{WATCHED}}}",))],
    ids=["base", "namespaced"],
)
def test_kustomize_and_chart_install_the_same_objects(folder: Path, values: tuple[str, ...]) -> None:
    built, chart = keyed(build(folder)), charted(*values)
    assert built.pop(("Namespace", "", NAMESPACE))
    assert set(built) == set(chart)
    for key, body in chart.items():
        assert built[key] == body, key


def test_workers_run_the_image_that_an_install_names(tmp_path: Path) -> None:
    base = yaml.safe_load((K8S / "base" / "kustomization.yaml").read_text())
    base["resources"] = [str(name) for name in base["resources"] if name.endswith(".yaml")]
    base["images"] = [{"name": "iot-backup-operator", "newName": "registry.example.com/backup", "newTag": "9"}]
    for name in base["resources"]:
        (tmp_path / name).write_text((K8S / "base" / name).read_text())
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(base))
    (deployment,) = [body for body in build(tmp_path) if body["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example.com/backup:9"
    assert {"name": "IOT_BACKUP_WORKER_IMAGE", "value": container["image"]} in container["env"]
