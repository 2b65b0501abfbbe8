"""YAML with the line of everything in it, and `${NAME}` from the environment in its values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]
"""Keys and numbers that lead to a value."""

_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")


@dataclass(frozen=True)
class Fault:
    """Something wrong with the text itself."""

    line: int
    path: Path
    message: str


@dataclass
class Document:
    """A file's value, and where its parts are."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    """Of each key and list item, from 1."""
    faults: list[Fault] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Of the value, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parsed(text: str, environ: Mapping[str, str]) -> Document:
    """The document. What is no YAML, a doubled key and a variable that is not set are its faults."""
    document = Document()
    try:
        _read(text, document, environ)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.faults.append(Fault(mark.line + 1 if mark else 1, (), f"is no YAML: {error.problem or error.context}"))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        document.faults.append(Fault(line, (), f"holds a character that no YAML may hold (code {error.character}): remove it"))
    except RecursionError:
        document.faults.append(Fault(1, (), "refers to itself, or is nested too deeply"))
    except (yaml.YAMLError, ValueError) as error:
        document.faults.append(Fault(1, (), f"is no YAML: {error}"))
    return document


def _read(text: str, document: Document, environ: Mapping[str, str]) -> None:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is not None:
            _examine(node, (), document, environ, loader)
            document.value = loader.construct_document(node)
    finally:
        loader.dispose()


def _examine(node: yaml.Node, path: Path, document: Document, environ: Mapping[str, str], loader: yaml.SafeLoader) -> None:
    """Notes lines, and puts the environment's values in place."""
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        _fill_in(node, path, document, environ, loader)
    for key, line, inner in _children(node, path, document):
        document.lines[(*path, key)] = line
        _examine(inner, (*path, key), document, environ, loader)


def _children(node: yaml.Node, path: Path, document: Document) -> Iterator[tuple[str | int, int, yaml.Node]]:
    if isinstance(node, yaml.SequenceNode):
        yield from ((number, inner.start_mark.line + 1, inner) for number, inner in enumerate(node.value))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, inner in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                document.faults.append(Fault(line, (*path, name), "is there twice: remove one"))
            seen.add(name)
            yield name, line, inner


def _fill_in(node: yaml.ScalarNode, path: Path, document: Document, environ: Mapping[str, str], loader: yaml.SafeLoader) -> None:
    def value(match: re.Match[str]) -> str:
        found = environ.get(match["name"]) or match["default"]
        if found is None:
            message = (
                f"refers to the environment variable {match['name']}, which is not set: set it, or write ${{{match['name']}:-default}}"
            )
            document.faults.append(Fault(node.start_mark.line + 1, path, message))
        return found or ""

    filled = _REFERENCE.sub(value, node.value)
    if filled != node.value:
        node.value = filled
        if node.style is None:  # not quoted: what it is, a number or text, follows from what it says
            node.tag = loader.resolve(yaml.ScalarNode, filled, (True, False))  # type: ignore[no-untyped-call]
