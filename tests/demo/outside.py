"""Reads a backup without a line of ours: the bucket by boto3, then `age`, `zstd` and `tar`."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

PASSPHRASE_SECONDS = 60.0
"""age derives the key of a passphrase in about a second; a machine under load may take longer."""


def bucket(endpoint: str, ca: Path, access_key: str, secret_key: str, name: str) -> Any:
    """The bucket as boto3 sees it."""
    session = boto3.session.Session(aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name="us-east-1")
    config = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required", retries={"max_attempts": 2})
    return session.resource("s3", endpoint_url=endpoint, verify=str(ca), config=config).Bucket(name)


def download(store: Any, root: str, archive: str, folder: Path) -> tuple[dict[str, Any], Path, Path]:
    """Manifest (decoded), archive and key file of the member with this id, in `folder`; the archive's SHA-256 is compared."""
    keys = [item.key for item in store.objects.filter(Prefix=root)]
    manifest_key = next(key for key in keys if key.endswith(f"-{archive}.manifest.json"))
    archive_key = next(key for key in keys if f"-{archive}." in key and ".tar.zst" in key)
    key_file = next(key for key in keys if key.startswith(f"{root}keys/") and key.endswith(".scrypt"))
    store.download_file(manifest_key, str(folder / "manifest.json"))
    store.download_file(archive_key, str(folder / "archive.tar.zst.age"))
    store.download_file(key_file, str(folder / "identity.age"))
    manifest = json.loads((folder / "manifest.json").read_text())
    with (folder / "archive.tar.zst.age").open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != manifest["archive"]["sha256"]:
        raise AssertionError(f"the archive's SHA-256 is {found}, its manifest says {manifest['archive']['sha256']}")
    return manifest, folder / "archive.tar.zst.age", folder / "identity.age"


def open_identity(key_file: Path, passphrase: str, target: Path) -> None:
    """`age -d -o target key_file`, answering its question for the passphrase on a terminal as a person would."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp("age", ["age", "-d", "-o", str(target), str(key_file)])
    deadline = time.monotonic() + PASSPHRASE_SECONDS
    seen, answered = b"", False
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                piece = os.read(terminal, 4096)
            except OSError:  # the terminal closes with its last process
                break
            if not piece:
                break
            seen += piece
        if not answered and b"passphrase" in seen:
            os.write(terminal, passphrase.encode() + b"\n")
            answered = True
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise AssertionError(f"age could not open the key file: {seen.decode(errors='replace').strip()}")


def extract(archive: Path, identity: Path, target: Path) -> None:
    """`age -d -i identity archive | zstd -d | tar x`."""
    line = f"set -o pipefail; age -d -i '{identity}' '{archive}' | zstd -d | tar x -p --numeric-owner -C '{target}'"
    subprocess.run(["bash", "-c", line], check=True)
