"""The probe: what a store can do, and how the repository in it stands."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from iot_backup.core import spec
from iot_backup.core.report import ProbeResult, Warn
from iot_backup.repository import clocks, creation
from iot_backup.repository.writers import Keys
from iot_backup.storage.capabilities import probe_capabilities, probe_isolation
from iot_backup.storage.opening import open_store
from iot_backup.storage.secret_values import Secrets
from iot_backup.worker import keys


def probe(order: spec.ProbeOrder, secrets: Secrets) -> tuple[ProbeResult, tuple[Warn, ...]]:
    """Look at the store, create the repository if there is none, admit our writer if we may. Everything `errors` knows."""
    run_keys = Keys(keys.writer(order.repository, secrets), keys.passphrase(order.repository, secrets))
    store = open_store(order.repository, secrets)
    probe_id = os.urandom(8).hex()
    capabilities = probe_capabilities(store, probe_id)
    now = datetime.now(UTC)
    clock = clocks.compared(now, store.now())
    standing = creation.probe(store, order, run_keys, clock.time(now), os.urandom)
    result = ProbeResult(
        repository_id=standing.record.repository_id,
        fingerprint=standing.fingerprint,
        recipient=standing.record.recipient,
        created=standing.created,
        confirmed=standing.confirmed,
        writer=standing.writer,
        writer_admitted=standing.writer_admitted,
        capabilities=capabilities,
        isolated=probe_isolation(store, probe_id),
        clock_skew_seconds=clock.skew.total_seconds(),
    )
    return result, (clock.warning,) if clock.warning else ()
