"""Files that a store holds, looked at and spoilt."""

from __future__ import annotations

from pathlib import Path


def size_of(path: Path) -> int:
    """Bytes; none of a file that may be gone since it was listed, as an unfinished one is when it gets its name."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def spoil(path: Path) -> None:
    """Flip a bit of the last byte: a fixed value could be what is there already."""
    path.chmod(0o660)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
