"""What each process loads: start-up time and memory of a worker, and what the operator could do with a key or a store."""

from __future__ import annotations

import subprocess
import sys

import pytest

OPERATOR_ONLY = {"kopf", "kubernetes", "aiohttp"}
WORKER_ONLY = {
    "obstore",
    "boto3",
    "botocore",
    "zstandard",
    "cryptography",
    "iot_backup.storage",
    "iot_backup.repository",
    "iot_backup.crypto",
}


def loaded(*modules: str) -> set[str]:
    """Names of all modules in a new interpreter after these were imported."""
    script = f"import sys, {', '.join(modules)}; print('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("operation", ["backup", "restore", "probe"])
def test_a_worker_loads_no_kubernetes(operation: str) -> None:
    assert not loaded("iot_backup.cli", "iot_backup.worker.main", f"iot_backup.worker.{operation}") & OPERATOR_ONLY


@pytest.mark.parametrize("operation", ["backup", "restore"])
def test_backup_and_restore_do_without_boto3(operation: str) -> None:
    assert not loaded(f"iot_backup.worker.{operation}", "iot_backup.storage.s3") & {"boto3", "botocore"}


def test_the_operator_loads_no_store_and_no_key() -> None:
    assert not loaded("iot_backup.cli", "iot_backup.handlers.main") & WORKER_ONLY
