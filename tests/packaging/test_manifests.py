"""The judge of manifests finds what it must find."""

from __future__ import annotations

from tests.packaging.manifests import problems


def test_a_good_object_has_no_problems() -> None:
    assert problems({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}) == []


def test_a_misspelt_field_a_wrong_type_and_an_unknown_kind_are_found() -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert "dta" in problems({**config, "dta": {}})[0]
    assert "data.k" in problems({**config, "data": {"k": 1}})[0]
    assert problems({**config, "kind": "ConfigMapp"}) == ["ConfigMapp/a: unknown kind"]
