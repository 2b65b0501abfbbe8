"""The JSON Schema of config/backup.yml, made from the models that check the file."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from iot_backup.standalone import config

_REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}
"""`${NAME}` or `${NAME:-default}`, which may stand for a value of any type."""


def schema() -> dict[str, Any]:
    """Draft 2020-12. It knows names and types; what only `config check` knows, such as whether a storage is there, it leaves to that."""
    made = config.File.model_json_schema()
    for name, texts in _documentation().items():
        model = made if name == config.File.__name__ else made["$defs"].get(name, {})
        for field, text in texts.items():
            model.get("properties", {}).get(field, {}).setdefault("description", text)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_with_references(made),
        "title": "config/backup.yml of backup-manager",
    }


def _documentation() -> dict[str, dict[str, str]]:
    """Per section and key the sentence below it in the code: pydantic would read the source at each start."""
    classes = [node for node in ast.parse(inspect.getsource(config)).body if isinstance(node, ast.ClassDef)]
    return {each.name: dict(_documented(each)) for each in classes}


def _documented(section: ast.ClassDef) -> list[tuple[str, str]]:
    found = []
    for field, text in zip(section.body, section.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found.append((field.target.id, inspect.cleandoc(str(text.value.value))))
    return found


def _with_references(value: Any) -> Any:
    """Numbers and booleans may be references, too; titles, which only repeat names, go."""
    if isinstance(value, list):
        return [_with_references(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _with_references(each) for name, each in value.items() if not (name == "title" and isinstance(each, str))}
    if kept.get("type") in ("integer", "boolean", "number"):
        around = {name: kept.pop(name) for name in ("description", "default") if name in kept}
        return {"anyOf": [kept, _REFERENCE], **around}
    return kept
