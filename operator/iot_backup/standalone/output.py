"""Answers as text: tables and fields for people, JSON for programs."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from iot_backup.standalone import terminal
from iot_backup.units import format_size


def as_json(value: Any) -> str:
    """One document; names that are no UTF-8 keep Python's surrogate escapes."""
    return json.dumps(value, indent=2)


def with_items(head: Mapping[str, Any], name: str, values: Iterable[Any]) -> Iterator[str]:
    """The text of one object whose last member is a list that need not fit into memory."""
    yield f'{as_json(head).removesuffix(chr(10) + "}")},\n  "{name}": '
    yield from items(values)
    yield "}\n"


def items(values: Iterable[Any]) -> Iterator[str]:
    """The text of a list that need not fit into memory, one item a line."""
    separator = "["
    for value in values:
        yield f"{separator}\n{json.dumps(value)}"
        separator = ","
    yield "[]\n" if separator == "[" else "\n]\n"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns that line up, also where characters are two cells wide."""
    lines = [[clean(cell) for cell in row] for row in (headings, *rows)]
    if terminal.is_one():
        return terminal.table(lines[0], lines[1:])
    widths = [max(_width(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join("   ".join(_padded(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def fields(record: Mapping[str, Any]) -> str:
    """One fact a line; what is empty is left out."""
    lines = []
    for name, value in record.items():
        if isinstance(value, dict):
            value = [f"{key}: {inner}" for key, inner in value.items()]  # noqa: PLW2901
        for each in value if isinstance(value, list) else [value]:
            if each not in (None, ""):
                text = f"{each} ({format_size(each)})" if name.endswith("bytes") and each >= 1024 else str(each)
                lines.append((name, text))
    if terminal.is_one():
        return terminal.fields([(name, clean(text)) for name, text in lines])
    width = max((len(name) for name, _ in lines), default=0)
    return "\n".join(f"{name:{width}}   {clean(text)}" for name, text in lines)


def clean(text: str) -> str:
    """The text without what would move the cursor: names of files may hold anything."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
