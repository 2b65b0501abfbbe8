"""Manifests of what the cluster holds from the start; `render` fills in what differs between clusters."""

from __future__ import annotations

from pathlib import Path
from string import Template


def render(name: str, **values: str) -> str:
    """Return the manifest, every ${placeholder} replaced; one without a value is an error."""
    return Template((Path(__file__).parent / f"{name}.yaml").read_text()).substitute(values)
