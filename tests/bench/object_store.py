"""MinIO over TLS, and the client that makes its buckets, in a process of their own: what measures stays small (measuring.Cost.peak)."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.cluster import tools

START_TIMEOUT = 60.0
"""Seconds."""


@dataclass(frozen=True)
class ObjectStore:
    """A running server."""

    endpoint: str
    access_key: str
    secret_key: str
    ca_file: Path
    data: Path
    """What it stores, a folder for each bucket."""
    _pipe: Connection

    def bucket(self) -> str:
        """A new, empty bucket."""
        self._pipe.send(None)
        name: str = self._pipe.recv()
        return name


@contextmanager
def running(scratch: Path) -> Iterator[ObjectStore]:
    """A server that ends with the block. Raises ClusterError where there is no MinIO to be had."""
    binary = tools.binary("minio")
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, binary, scratch))
    process.start()
    there.close()
    try:
        if not here.poll(START_TIMEOUT):
            raise RuntimeError(f"MinIO did not start within {START_TIMEOUT:.0f} s")
        endpoint, access_key, secret_key, ca_file, data = here.recv()
        yield ObjectStore(endpoint, access_key, secret_key, ca_file, data, here)
    finally:
        here.close()  # which the other end takes as its own end
        process.join()


def _serve(pipe: Connection, binary: Path, scratch: Path) -> None:
    from tests.minio.server import running as minio

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a person's Ctrl-C reaches all; the pipe's end tells when
    with minio(binary, scratch) as server, suppress(EOFError, OSError):
        pipe.send((server.endpoint, server.access_key, server.secret_key, server.ca_file, server.data))
        while True:
            pipe.recv()
            pipe.send(server.bucket())
