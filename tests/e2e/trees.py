"""Scripts that fill claims, run by helper pods at /data."""

from __future__ import annotations

ODD = """
import os, pathlib
os.umask(0o022)
root = pathlib.Path("/data")
(root / "config").mkdir(mode=0o750)
(root / "config" / "broker.conf").write_text("listener 1883\\n")
(root / "config" / "secret.key").write_text("only for its owner\\n")
(root / "config" / "secret.key").chmod(0o600)
(root / "config" / "current").symlink_to("broker.conf")
(root / "dangling").symlink_to("nowhere/at/all")
(root / "empty").mkdir(mode=0o700)
(root / "zero").touch()
os.utime(root / "zero", ns=(0, 981_173_106 * 10**9 + 1))
(root / "first").write_text("one file, two names\\n")
os.link(root / "first", root / "second")
(root / "tool").write_text("#!/bin/sh\\n")
(root / "tool").chmod(0o2755)
(root / "Straße 传感器").write_text("names in any language\\n")
(root / ("long-" + "x" * 200)).write_text("longer than a tar header\\n")
os.close(os.open(b"/data/not \\xff utf-8", os.O_CREAT | os.O_WRONLY, 0o604))
os.mkfifo(root / "pipe")
(root / "noise.bin").write_bytes(os.urandom(3 << 20))
os.utime(root / "config", ns=(0, 1_790_000_000 * 10**9 + 5))
"""
"""What tools like to lose; belongs to whoever runs the script."""
ODD_FILES = 10
"""Regular files of it, a second name of the same not counted."""

SMALL = "open('/data/value', 'w').write('21.5')"

CLEAR = """
import pathlib, shutil
for entry in pathlib.Path("/data").iterdir():
    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
"""


def large(gigabytes: int) -> str:
    """A file that takes no room and yet a while to read: zeros."""
    return f"open('/data/large', 'wb').truncate({gigabytes} << 30)"
