"""Answers on a terminal: tables as wide as it is, and words of state in colour unless NO_COLOR says otherwise. Elsewhere all is plain text."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_LAST = 30
"""Columns for the last column of a table, at least."""
_GOOD, _CARE, _BAD = "green", "yellow", "bold red"
_COLOURS = {
    **dict.fromkeys(("completed", "ok", "keep", "yes", "sent"), _GOOD),
    **dict.fromkeys(("partial", "warning", "would go", "cancelled"), _CARE),
    **dict.fromkeys(("failed", "FAILED", "problem", "removed"), _BAD),
}
"""By the word that is alone in a cell."""


def is_one() -> bool:
    """Whether a person looks at standard output."""
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """`rows`: of clean text. Nothing is cut, ids are to be copied; the last column takes what room is left, over several lines if need be."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, heading in enumerate(headings):
        made.add_column(heading, overflow="fold", no_wrap=number + 1 < len(headings))
    for row in rows:
        made.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    widths = [max((Text(line[column]).cell_len for line in (headings, *rows)), default=0) + 3 for column in range(len(headings) - 1)]
    return _drawn(made, sum(widths) + _LAST)


def fields(lines: Sequence[tuple[str, str]]) -> str:
    """Names and values, one a line."""
    from rich.table import Table
    from rich.text import Text

    made = Table.grid(padding=(0, 3))
    for name, value in lines:
        made.add_row(Text(name, style="bold"), Text(value, style=_COLOURS.get(value, "")))
    width = max((Text(name).cell_len for name, _ in lines), default=0) + 3
    return _drawn(made, width + max((Text(value).cell_len for _, value in lines), default=0) + 3)


def _drawn(what: object, least: int) -> str:
    """`least`: columns that it takes at least; a narrower terminal wraps."""
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    size = os.get_terminal_size(sys.stdout.fileno()).columns
    Console(file=out, force_terminal=True, width=max(size, least), highlight=False, emoji=False).print(what)  # it obeys NO_COLOR by itself
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
