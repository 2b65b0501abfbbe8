"""Judges a manifest by Kubernetes' own schemas, without a cluster."""

from __future__ import annotations

import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the package warns of its own imports
    import kubernetes_validate

KUBERNETES = "1.35"


def problems(body: dict[str, Any]) -> list[str]:
    """What is wrong with an object of a built-in kind; empty if nothing is."""
    where = f"{body.get('kind')}/{body.get('metadata', {}).get('name')}"
    try:
        kubernetes_validate.validate(body, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        return [f"{where}: unknown kind"]
    except kubernetes_validate.ValidationError as error:
        return [f"{where}: {'.'.join(map(str, error.path))}: {error.message}"]
    return []
