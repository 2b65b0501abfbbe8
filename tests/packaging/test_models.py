"""The models of api/ say what the definitions of crds/ say: fields, types, bounds, defaults, what is required."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from iot_backup.api.backup import Backup
from iot_backup.api.backupjob import BackupJob
from iot_backup.api.backupstorage import BackupStorage
from iot_backup.api.resource import Part, Resource
from iot_backup.api.restorejob import RestoreJob
from tests.packaging.schemas import Schema, definitions, schema

MODELS: dict[str, type[Resource]] = {model.KIND: model for model in (BackupStorage, BackupJob, Backup, RestoreJob)}
BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems", "maxProperties")
HALVES = [(kind, half) for kind in MODELS for half in ("spec", "status")]


@pytest.mark.parametrize(("kind", "half"), HALVES)
def test_fields_types_enums_bounds_and_required_agree(kind: str, half: str) -> None:
    generated = MODELS[kind].model_json_schema(by_alias=True)
    model = _inlined(generated["properties"][half], generated.get("$defs", {}))
    expected = _comparable(schema(kind)["properties"][half])
    assert _comparable(model) == expected


@pytest.mark.parametrize("kind", MODELS)
def test_the_names_of_a_kind_agree(kind: str) -> None:
    assert definitions()[kind]["spec"]["names"]["plural"] == MODELS[kind].PLURAL


@pytest.mark.parametrize(("kind", "half"), HALVES)
def test_defaults_agree(kind: str, half: str) -> None:
    annotation = MODELS[kind].model_fields[half].annotation
    assert annotation is not None
    assert _defaults(schema(kind)["properties"][half], annotation) > 0 or half == "status"


def _inlined(node: Any, named: dict[str, Any]) -> Any:
    """References replaced by what they name; `X or null` is an optional X."""
    if isinstance(node, list):
        return [_inlined(item, named) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    if "$ref" in node:
        node = {**named[node.pop("$ref").removeprefix("#/$defs/")], **node}
    if {"type": "null"} in node.get("anyOf", []):
        (only,) = [choice for choice in node.pop("anyOf") if choice != {"type": "null"}]
        node = {**only, **node}
        if "$ref" in node:
            return _inlined(node, named)
    return {key: _inlined(value, named) for key, value in node.items()}


def _comparable(node: Schema) -> Schema:
    """What both ways of saying it have in common, in one form."""
    result: Schema = {key: node[key] for key in BOUNDS if key in node}
    if "anyOf" in node:
        result["type"] = sorted(choice["type"] for choice in node["anyOf"])
        # In the definition the bounds stand beside the choice, in the model within it.
        for choice in node["anyOf"]:
            result.update({key: choice[key] for key in BOUNDS if key in choice})
    else:
        result["type"] = node["type"]
    choices = node.get("enum") or ([node["const"]] if "const" in node else None)
    if choices:
        result["enum"] = sorted(choices)
    if node.get("format") == "date-time":
        result["format"] = "date-time"
    if "properties" in node:
        result["properties"] = {name: _comparable(child) for name, child in node["properties"].items()}
        result["required"] = sorted(node.get("required", []))
    if "items" in node:
        result["items"] = _comparable(node["items"])
    if isinstance(node.get("additionalProperties"), dict):
        result["additionalProperties"] = _comparable(node["additionalProperties"])
    return result


def _defaults(node: Schema, annotation: Any) -> int:
    """Compare the defaults of every field of a model below `annotation`; how many the definition gives."""
    count = 0
    for model in _models(annotation):
        for field in model.model_fields.values():
            name = field.alias or ""
            child = node["properties"][name]
            if "default" in child:
                read = TypeAdapter(field.rebuild_annotation()).validate_python(child["default"])
                assert field.get_default(call_default_factory=True) == read, name
                count += 1
            elif not field.is_required():
                assert not _says_something(field.get_default(call_default_factory=True)), (
                    f"{name}: the model has a default, the definition has none"
                )
            inner = child.get("items", child)
            if "properties" in inner:
                count += _defaults(inner, field.annotation)
    return count


def _says_something(default: Any) -> bool:
    """Whether a default is more than absence."""
    if isinstance(default, Part):
        return any(_says_something(getattr(default, name)) for name in type(default).model_fields)
    return default not in (None, (), {})


def _models(annotation: Any) -> list[type[Part]]:
    """The models an annotation speaks of: itself, or those inside a union or tuple."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]
