"""Errors of the engine name the fields of a cluster's resources; here are the words of the command line and the config for them."""

from __future__ import annotations

from typing import Final

TERMS: Final = (
    ("set spec.encryption.fingerprint of the BackupStorage", "say --trust with its fingerprint"),
    ("set spec.encryption.fingerprint to the new one", "say --trust with the new one"),
    ("set spec.encryption.fingerprint to ", "say --trust "),
    ("set spec.encryption.fingerprint", "say --trust with its fingerprint"),
    ("set spec.encryption.secretRef (a passphrase) or spec.encryption.recipients (age1...)", "set BACKUP_ENCRYPTION_KEY"),
    ("bring an identity in a Secret (spec.identitySecretRef)", "bring an age identity with --identity"),
    ("set the passphrase's Secret, or bring identitySecretRef", "set BACKUP_ENCRYPTION_KEY, or bring an age identity with --identity"),
    ("put one into its Secret", "put one into BACKUP_ENCRYPTION_KEY"),
    ("raise worker.resources.limits.memory by 300Mi", "give this machine or container 300 MB more"),
    ("set acceptNewest: true", "say --accept-newest to `execute` or `restore`"),
    ("set allowEmpty: true", "set allow_empty: true"),
    (
        "A leading / means the folder that was backed up.",
        "`backup-manager show` lists its paths; a leading / means the folder that was backed up.",
    ),
    ("Raise spec.timeout, or find", "Raise timeout_hours of the job, or find"),
    (
        "certificate (PEM) into a Secret, and name it in spec.s3.caBundleSecretRef of the BackupStorage",
        "certificate (PEM) into a file, and name that in AWS_CA_BUNDLE",
    ),
    ("spec.s3.bucket of the BackupStorage", "backup.storage.s3.bucket"),
    ("spec.s3.region of the BackupStorage", "backup.storage.s3.region"),
    ("spec.s3.endpoint of the BackupStorage", "backup.storage.s3.endpoint"),
    ("spec.s3.prefix", "backup.storage.s3.prefix"),
    ("spec.s3.endpoint", "backup.storage.s3.endpoint"),
    ("Set spec.volume.group of the BackupStorage to ", "Run as a member of the group "),
    ("Look at status.archive of the Backups of this storage.", "Look at `backup-manager list`."),
    (" (worker.securityContext.runAsUser)", ""),
    (" (worker.identity: Root)", ""),
)
"""Longer ones first."""


def spoken(message: str) -> str:
    """The message for somebody without a cluster."""
    for theirs, ours in TERMS:
        message = message.replace(theirs, ours)
    return message
