"""Claims and paths in sentences, and where a site's repository lies."""

from __future__ import annotations

import pytest

from iot_backup.core import layout, spec
from iot_backup.core.wording import is_path, place
from iot_backup.errors import InvalidSpec


@pytest.mark.parametrize(
    ("claim", "spoken", "path"), [("historian-data", "claim historian-data", False), ("/var/lib/x", "/var/lib/x", True)]
)
def test_a_claim_is_called_one_and_a_path_speaks_for_itself(claim: str, spoken: str, path: bool) -> None:
    assert (place(claim), is_path(claim)) == (spoken, path)


@pytest.mark.parametrize(("scope", "root"), [(None, "ns/plant-7/"), ("site", "site/plant-7/")])
def test_a_site_and_a_namespace_of_one_name_lie_apart(scope: str | None, root: str) -> None:
    assert layout.root("plant-7", scope) == root


def test_a_site_that_cannot_be_part_of_a_key_is_called_a_site() -> None:
    with pytest.raises(InvalidSpec, match="site 'Plant 7' cannot be part of an object key"):
        layout.root("Plant 7", "site")


def test_orders_of_a_cluster_say_nothing_of_scopes() -> None:
    secret = spec.SecretSource(secret="writer", key="key", file="writer/key")
    store = spec.VolumeTarget(claim="nas")
    repository = spec.Repository(storage="main", namespace="plant-7", store=store, encryption=spec.Encryption(), writer_key=secret)
    assert "scope" not in spec.encode(spec.ProbeOrder(repository=repository))
