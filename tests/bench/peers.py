"""How each tool makes a first backup, one more, and a restore.

In the environment: `$SRC`, `$DEST`, `$OUT` (a folder of the tool's own), `$REPO` (where it stores, below `$OUT` or on S3), `$FLUSH` (the command that
makes what it stored durable; nothing to do for S3), `$KEY`, `$RECIPIENT`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace


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
    wake: str = ""
    """Reads the tool's own files, after the page cache was dropped. Not timed."""
    once: bool = False
    """Takes so long that it runs in the last round only."""
    peer: bool = True
    """One whose failure is told and does not end the benchmark."""

    @property
    def here(self) -> bool:
        return shutil.which(self.program) is not None


OURS = "ours"


def ours(level: int = 1) -> Tool:
    """Through the command that people use: start, opening the repository, commit and fsync included. A restore opens it with an age identity,
    as the pipe does; restic's with its passphrase."""
    add = _manager('key add --recipient "$RECIPIENT"')
    return Tool(
        OURS if level == 1 else f"{OURS}, zstd -{level}",
        "backup-manager",
        _manager("execute bench", level),
        prepare=f"{_manager('execute prepare')} && {add}",
        again=_manager("execute bench --type incremental"),
        restore=_manager('restore bench --target "$DEST" --identity "$KEY"'),
        wake=_manager("execute prepare"),
        peer=False,
    )


def unverified() -> Tool:
    """A restore that does not read the archive whole first: none of the peers does."""
    return replace(ours(), name=f"{OURS}, --no-verify", restore=f"{ours().restore} --no-verify")


def _manager(arguments: str, level: int = 1) -> str:
    launcher = "" if level == 1 else f"BENCH_MODULE=tests.bench.launcher BENCH_LEVEL={level} "
    return f'{launcher}backup-manager {arguments} --config "$OUT/config.yml"'


def pipe(level: int) -> Tool:
    """What a careful person types."""
    return Tool(
        f"tar, zstd -{level}, age",
        "age",
        f'tar cf - -C "$SRC" . | zstd -q -{level} -T2 | age -r "$RECIPIENT" > "$REPO" && $FLUSH',
        restore='age -d -i "$KEY" "$REPO" | zstd -dq | tar xf - -C "$DEST"',
    )


TAR = Tool(
    "GNU tar into a pipe",
    "tar",
    'tar cf - -C "$SRC" . | cat > /dev/null',  # into /dev/null itself it would read no file
    wake="tar --version && cat --version",
)
RESTIC = Tool(
    "restic",
    "restic",
    'cd "$SRC" && restic -q $RESTIC_FLAGS -r "$REPO" backup . && $FLUSH',
    prepare='restic -q $RESTIC_FLAGS -r "$REPO" init',
    again='cd "$SRC" && restic -q $RESTIC_FLAGS -r "$REPO" backup . && $FLUSH',
    restore='restic -q $RESTIC_FLAGS -r "$REPO" restore latest --target "$DEST"',
)
RUSTIC = Tool(
    "rustic",
    "rustic",
    'cd "$SRC" && rustic -r "$REPO" backup --no-progress . && $FLUSH',
    prepare='rustic -r "$REPO" init --no-progress',
    again='cd "$SRC" && rustic -r "$REPO" backup --no-progress . && $FLUSH',
    restore='rustic -r "$REPO" restore --no-progress latest "$DEST"',
)
BORG = Tool(
    "borg",
    "borg",
    'cd "$SRC" && borg create -C zstd,3 "$REPO::first" . && $FLUSH',
    prepare='borg init -e repokey "$REPO"',
    again='cd "$SRC" && borg create -C zstd,3 "$REPO::again-$RANDOM-$RANDOM" . && $FLUSH',
    restore='cd "$DEST" && borg extract "$REPO::first"',
    once=True,
)
PEERS = (RESTIC, RUSTIC, BORG)
ON_S3 = (RESTIC, RUSTIC)
"""Those that speak S3."""


def in_one_round(tool: Tool) -> Tool:
    return replace(tool, once=True)


def first_only(tool: Tool) -> Tool:
    return replace(tool, again="", restore="")


SECRETS = {
    "RESTIC_PASSWORD": "bench",
    "RESTIC_FLAGS": "",
    "RUSTIC_PASSWORD": "bench",
    "RUSTIC_NO_CACHE": "true",
    "BORG_PASSPHRASE": "bench",
    "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    "BACKUP_ENCRYPTION_KEY": "bench, and nothing else",
}


def on_s3(tool: Tool, endpoint: str, bucket: str, ca_file: str) -> dict[str, str]:
    """What `tool` needs in its environment, besides the credentials, to store in a bucket."""
    common = {"FLUSH": "true", "AWS_CA_BUNDLE": ca_file, "SSL_CERT_FILE": ca_file, "AWS_DEFAULT_REGION": "us-east-1"}
    if tool.program == RESTIC.program:
        return {**common, "REPO": f"s3:{endpoint}/{bucket}/restic", "RESTIC_FLAGS": f"--cacert {ca_file}"}
    if tool.program == RUSTIC.program:
        return {
            **common,
            "REPO": "opendal:s3",
            "OPENDAL_BUCKET": bucket,
            "OPENDAL_ENDPOINT": endpoint,
            "OPENDAL_REGION": "us-east-1",
            "OPENDAL_ROOT": "/rustic",
        }
    return common
