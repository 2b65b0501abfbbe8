"""The chart rendered with its defaults, under the names that k8s/base and the tests use."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.tools import binary

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "iot-backup-operator"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the definitions are long; libyaml reads them ten times faster
RELEASE = "iot-backup-operator"
NAMESPACE = "iot-backup-system"


class HelmFailed(Exception):
    """Helm refused; the text is what it said."""


def helm(*arguments: str) -> str:
    """Run helm; its standard output. Raises HelmFailed with its complaint."""
    done = subprocess.run([str(binary("helm")), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise HelmFailed(done.stderr + done.stdout)
    return done.stdout


def render(*values: str, json: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The chart's objects; `values` as for --set, `json` as for --set-json."""
    return [document for document in yaml.load_all(_template(values, json), Loader=_Loader) if document]


@cache
def _template(values: tuple[str, ...], json: tuple[str, ...]) -> str:
    sets = [f"--set={value}" for value in values] + [f"--set-json={value}" for value in json]
    return helm("template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", "--kube-version=1.35.0", *sets)
