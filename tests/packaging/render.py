"""`python -m tests.packaging.render` writes the files of k8s/ anew that follow the chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.packaging.rendering import ROOT, render

K8S = ROOT / "k8s"
WATCHED = "iot-system"
"""The namespace of the overlay `namespaced`."""
OURS_ALONE = ("helm.sh/chart", "app.kubernetes.io/managed-by")
"""Labels that only a release of Helm has."""
RBAC = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
POLICY = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")

Body = dict[str, Any]


def without_helm(body: Body) -> Body:
    """The object as it is without a release: Helm's labels gone, from pod templates too."""
    _forget(body["metadata"])
    if body["kind"] == "Deployment":
        _forget(body["spec"]["template"]["metadata"])
    return body


def files() -> dict[Path, list[Body]]:
    """Each generated file and its objects."""
    base = [without_helm(body) for body in render()]
    namespaced = [without_helm(body) for body in render(f"watchNamespaces={{{WATCHED}}}")]
    return {
        K8S / "base" / "serviceaccount.yaml": _of(base, "ServiceAccount"),
        K8S / "base" / "rbac.yaml": _of(base, *RBAC),
        K8S / "base" / "deployment.yaml": _of(base, "Deployment"),
        K8S / "base" / "admissionpolicy.yaml": _of(base, *POLICY),
        K8S / "overlays" / "namespaced" / "rbac.yaml": [
            body for body in _of(namespaced, "Role", "RoleBinding") if body["metadata"]["namespace"] == WATCHED
        ],
    }


def text(objects: list[Body]) -> str:
    """The objects as a file."""
    return "# Written by `make render` from the chart; change it there.\n" + yaml.dump_all(
        objects, Dumper=_Readable, sort_keys=False, width=140
    )


def main() -> None:
    for path, objects in files().items():
        path.write_text(text(objects))
        print(path.relative_to(ROOT))


class _Readable(yaml.SafeDumper):
    """Lists indented below their key, nothing by reference."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _of(objects: list[Body], *kinds: str) -> list[Body]:
    return [body for body in objects if body["kind"] in kinds]


def _forget(metadata: Body) -> None:
    for label in OURS_ALONE:
        metadata["labels"].pop(label, None)


if __name__ == "__main__":
    main()
