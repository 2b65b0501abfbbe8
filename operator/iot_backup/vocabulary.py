"""The words the project shares with the cluster and with its users. Constants only; tests hold docs, CRDs and chart to them."""

from __future__ import annotations

from typing import Final

GROUP: Final = "backup.iot-system.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "iot-backup"

OPERATOR: Final = "iot-backup-operator"
"""Field manager, Event component and `app.kubernetes.io/managed-by` of everything the operator makes."""

# Labels on Jobs, their pods and CronJobs.
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
OWNER_KIND: Final = f"{GROUP}/owner-kind"
"""Kind of the resource a Job serves: BackupStorage, BackupJob, Backup or RestoreJob."""
OWNER_NAME: Final = f"{GROUP}/owner-name"
"""Its name, or where that is longer than a label may be, 54 characters of it, a dash and 8 hex of its SHA-256."""
OPERATION: Final = f"{GROUP}/operation"
"""backup, restore or probe."""

# Annotations.
SPEC: Final = f"{GROUP}/spec"
"""On pod templates: the worker's whole order, one JSON document (core/spec.py)."""
RUN_REQUESTED_AT: Final = f"{GROUP}/run-requested-at"
"""On a BackupJob: any new value starts a run; echoed in status.lastHandledRunRequest."""
PROBE_REQUESTED_AT: Final = f"{GROUP}/probe-requested-at"
"""On a BackupStorage: any new value starts a probe."""
ALLOW_ROOT_WORKERS: Final = f"{GROUP}/allow-root-workers"
"""On a Namespace, set by an administrator: "true" admits `worker.identity: Root`."""

REPLACED_BY: Final = f"{GROUP}/replaced-by"
"""On a Job that was ended for another run (concurrencyPolicy: Replace): that run's name."""

# The contract between a Job and its worker (core/spec.py, core/report.py).
WORKER_CONTAINER: Final = "worker"
SPEC_FILE: Final = "/run/iot-backup/spec/spec.json"
REPORT_FILE: Final = "/dev/termination-log"
SECRETS: Final = "/run/secrets/iot-backup"
"""Below it: store/, ca/, encryption/, writer/, identity/, each with the files named in core/spec.py."""
SOURCE: Final = "/source"
TARGET: Final = "/target"
STORE: Final = "/store"
ENV_JOB_NAME: Final = "IOT_BACKUP_JOB_NAME"
ENV_JOB_UID: Final = "IOT_BACKUP_JOB_UID"

WORKER_UID: Final = 65532
"""User, group and group of `volume` stores where nothing else is said."""

# Reasons of warnings in a backup's report.
FILES_SKIPPED: Final = "FilesSkipped"
FILES_VANISHED: Final = "FilesVanished"
FILES_CHANGED: Final = "FilesChanged"
FILES_UNREADABLE: Final = "FilesUnreadable"
FILES_DAMAGED: Final = "FilesDamaged"
FILES_INCOMPLETE: Final = "FilesIncomplete"
BASE_MISSING: Final = "BaseMissing"
"""Nothing to build on: the backup is a Full instead. So are the next three."""
SOURCE_CHANGED: Final = "SourceChanged"
RECIPIENT_CHANGED: Final = "RecipientChanged"
STATE_UNREADABLE: Final = "StateUnreadable"
SUSPICIOUS: Final = "Suspicious"
"""The source looks damaged beside what it was: stored, and retention of the chain stops."""
CONFIGURATION_MISSING: Final = "ConfigurationMissing"
"""Some of what a Configuration takes by default is not there."""
