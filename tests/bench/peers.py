"""How each tool makes a first backup, one more, and a restore. `$SRC`, `$OUT` (an empty folder), `$DEST`, `$KEY`, `$RECIPIENT` are in the environment."""

from __future__ import annotations

import shutil
from dataclasses import dataclass


@dataclass(frozen=True)
class Tool:
    """Shell commands; an empty one means that the tool has no such thing."""

    name: str
    program: str
    """What must be on the PATH."""
    first: str
    prepare: str = ""
    """Not timed."""
    again: str = ""
    restore: str = ""
    how: str = ""
    """To get it."""

    @property
    def here(self) -> bool:
        return shutil.which(self.program) is not None


def pipe(level: int) -> Tool:
    """What a careful person types."""
    return Tool(
        f"tar, zstd -{level}, age",
        "age",
        f'tar cf - -C "$SRC" . | zstd -q -{level} -T2 | age -r "$RECIPIENT" > "$OUT/o" && sync -f "$OUT"',
        restore='age -d -i "$KEY" "$OUT/o" | zstd -dq | tar xf - -C "$DEST"',
    )


RESTIC = Tool(
    "restic",
    "restic",
    'cd "$SRC" && restic -q -r "$OUT/r" backup . && sync -f "$OUT"',
    prepare='restic -q -r "$OUT/r" init',
    again='cd "$SRC" && restic -q -r "$OUT/r" backup . && sync -f "$OUT"',
    restore='restic -q -r "$OUT/r" restore latest --target "$DEST"',
    how="the package restic of Debian, Ubuntu and others.",
)
RUSTIC = Tool(
    "rustic",
    "rustic",
    'cd "$SRC" && rustic -r "$OUT/r" backup --no-progress . && sync -f "$OUT"',
    prepare='rustic -r "$OUT/r" init',
    again='cd "$SRC" && rustic -r "$OUT/r" backup --no-progress . && sync -f "$OUT"',
    restore='rustic -r "$OUT/r" restore --no-progress latest "$DEST"',
    how="its releases on GitHub have a static binary; put it on the PATH.",
)
BORG = Tool(
    "borg",
    "borg",
    'cd "$SRC" && borg create -C zstd,3 "$OUT/r::a" . && sync -f "$OUT"',
    prepare='borg init -e repokey "$OUT/r"',
    again='cd "$SRC" && borg create -C zstd,3 "$OUT/r::{now:%Y%m%d%H%M%S%f}" . && sync -f "$OUT"',
    restore='cd "$DEST" && borg extract "$OUT/r::a"',
    how="the package borgbackup of Debian, Ubuntu and others.",
)


def ours(level: int = 1) -> Tool:
    """Through the command that people use: start, opening the repository, commit and fsync included. A restore opens it with an age identity,
    as the pipe does; restic's with its passphrase."""
    add = _manager('key add --recipient "$RECIPIENT"')
    return Tool(
        "ours" if level == 1 else f"ours, zstd -{level}",
        "backup-manager",
        _manager("execute bench", level),
        prepare=f"{_manager('execute prepare')} && {add}",
        again=_manager("execute bench --type incremental"),
        restore=_manager('restore bench --target "$DEST" --identity "$KEY"'),
    )


def _manager(arguments: str, level: int = 1) -> str:
    launcher = "" if level == 1 else f"BENCH_MODULE=tests.bench.launcher BENCH_LEVEL={level} "
    return f'{launcher}backup-manager {arguments} --config "$OUT/config.yml"'


SECRETS = {
    "RESTIC_PASSWORD": "bench",
    "RUSTIC_PASSWORD": "bench",
    "RUSTIC_NO_CACHE": "true",
    "BORG_PASSPHRASE": "bench",
    "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    "BACKUP_ENCRYPTION_KEY": "bench, and nothing else",
}
