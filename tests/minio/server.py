"""MinIO as a process of its own on loopback, over TLS from a private authority."""

from __future__ import annotations

import os
import secrets
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.cluster.certificates import Authority
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

START_TIMEOUT = 120.0
"""Seconds; it takes about one where the machine is not busy."""
REGION = "us-east-1"
IO_TIMEOUT = 10.0
"""Seconds a control call may take."""


@dataclass
class Minio:
    """A running server: what a client needs to know, and buckets to play in."""

    endpoint: str
    port: int
    pid: int
    ca_file: Path
    access_key: str
    secret_key: str
    data: Path
    """What it stores; the disk the server believes to have."""
    _client: Any = field(default=None, repr=False)

    @property
    def ca(self) -> str:
        """The authority's certificate, PEM."""
        return self.ca_file.read_text()

    def client(self) -> Any:
        """A boto3 client with all rights: the second opinion of the tests."""
        if self._client is None:
            self._client = client(self.endpoint, self.access_key, self.secret_key, self.ca_file)
        return self._client

    def bucket(self, *, object_lock: bool = False) -> str:
        """A new, empty bucket."""
        name = f"test-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name, ObjectLockEnabledForBucket=object_lock)
        return name

    def keys(self, bucket: str) -> set[str]:
        """Every key, as boto3 sees it."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {entry["Key"] for page in pages for entry in page.get("Contents", [])}

    def body(self, bucket: str, key: str) -> bytes:
        return self.client().get_object(Bucket=bucket, Key=key)["Body"].read()

    def open_uploads(self, bucket: str, prefix: str = "") -> list[str]:
        """Keys with an unfinished multipart upload. MinIO lists them by the exact key only."""
        answer = self.client().list_multipart_uploads(Bucket=bucket, Prefix=prefix)
        return [upload["Key"] for upload in answer.get("Uploads", [])]


def client(endpoint: str, access_key: str, secret_key: str, ca_file: Path) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        verify=str(ca_file),
        config=Config(s3={"addressing_style": "path"}, connect_timeout=IO_TIMEOUT, read_timeout=IO_TIMEOUT),
    )


@contextmanager
def running(binary: Path, scratch: Path, *, data: Path | None = None, environment: Mapping[str, str] | None = None) -> Iterator[Minio]:
    """A server on a free port with its data below `scratch` (or in `data`); ended, by its pid, with the block."""
    certificates = scratch / "certs"
    certificates.mkdir(parents=True)
    authority = Authority("test object store", datetime.now(UTC))
    ca_file = scratch / "ca.pem"
    ca_file.write_bytes(authority.pair.certificate)
    pair = authority.issue("minio", hosts=["localhost", "127.0.0.1", "s3.localhost", "*.s3.localhost"])
    (certificates / "public.crt").write_bytes(pair.certificate)
    (certificates / "private.key").write_bytes(pair.key)
    access_key, secret_key = f"root-{secrets.token_hex(4)}", secrets.token_urlsafe(24)
    port = free_port()
    folder = data or scratch / "data"
    folder.mkdir(exist_ok=True)
    log = scratch / "minio.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(binary), "server", "--quiet", "--address", f"127.0.0.1:{port}", "--certs-dir", str(certificates), str(folder)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "MINIO_ROOT_USER": access_key,
                "MINIO_ROOT_PASSWORD": secret_key,
                "MINIO_DOMAIN": "s3.localhost",
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
                "HOME": str(scratch),
                **(environment or {}),
            },
        )
    try:
        server = Minio(f"https://127.0.0.1:{port}", port, process.pid, ca_file, access_key, secret_key, folder)
        _wait(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: Minio, process: subprocess.Popen[bytes], log: Path) -> None:
    context = ssl.create_default_context(cafile=str(server.ca_file))
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"MinIO ended with {process.returncode} while starting:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{server.endpoint}/minio/health/cluster", context=context, timeout=1):
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"MinIO did not answer within {START_TIMEOUT} s: {error}\n{log.read_text()[-2000:]}") from error
        time.sleep(0.05)
