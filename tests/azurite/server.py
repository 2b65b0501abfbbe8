"""Azurite as a process of its own on loopback, over TLS from a private authority."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

from tests.azurite.signing import signed
from tests.cluster.certificates import Authority
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_TIMEOUT = 120.0
"""Seconds; it takes about one where the machine is not busy."""
ACCOUNT = "plant7"


@dataclass
class Azurite:
    """A running server: what a client needs to know, and containers to play in."""

    port: int
    ca_file: Path
    key: str = field(repr=False)
    account: str = ACCOUNT

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.port}/{self.account}"

    @property
    def ca(self) -> str:
        """The authority's certificate, PEM."""
        return self.ca_file.read_text()

    def container(self) -> str:
        """A new, empty container."""
        name = f"test-{secrets.token_hex(6)}"
        headers = signed(self.account, self.key, "PUT", f"/{self.account}/{name}", {"restype": "container"}, datetime.now(UTC))
        request = Request(f"{self.endpoint}/{name}?restype=container", method="PUT", data=b"", headers=headers)
        with urlopen(request, context=ssl.create_default_context(cafile=str(self.ca_file)), timeout=10):
            return name


@contextmanager
def running(program: Path, scratch: Path) -> Iterator[Azurite]:
    """A server on a free port with its data below `scratch`; ended, by its pid, with the block."""
    authority = Authority("test blob store", datetime.now(UTC))
    ca_file, certificate, key_file = scratch / "ca.pem", scratch / "public.crt", scratch / "private.key"
    ca_file.write_bytes(authority.pair.certificate)
    pair = authority.issue("azurite", hosts=["localhost", "127.0.0.1"])
    certificate.write_bytes(pair.certificate)
    key_file.write_bytes(pair.key)
    server = Azurite(free_port(), ca_file, base64.b64encode(secrets.token_bytes(32)).decode())
    log = scratch / "azurite.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                str(program),
                *("--blobHost", "127.0.0.1", "--blobPort", str(server.port), "--location", str(scratch / "data")),
                *("--cert", str(certificate), "--key", str(key_file), "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{server.account}:{server.key}", "HOME": str(scratch)},
        )
    try:
        _wait(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: Azurite, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"Azurite ended with {process.returncode} while starting:\n{log.read_text()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", server.port), 1).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Azurite did not answer within {START_TIMEOUT} s: {error}\n{log.read_text()[-2000:]}") from error
            time.sleep(0.05)
        else:
            return
