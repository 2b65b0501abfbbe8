"""Every error a person may have to act on, in one tree.

    IotBackupError
    |-- InvalidSpec            64  the request itself is wrong; nothing was touched
    |   `-- NothingMatches     64  a selective restore found no path
    |-- CorruptData            65  stored bytes are not what was signed
    |   |-- StateUnreadable    65  what the last backup left to compare with is not usable: a Full is made
    |   `-- ChainBroken        65  a backup that this one builds on is missing or does not count
    |-- SourceUnavailable      66  what shall be backed up, or written to, is not there or cannot be used
    |   `-- EmptySource        66  there is nothing to back up
    |-- StorageUnavailable     69  the store does not answer, or not clearly; retried
    |   `-- BucketMissing      69  the store answers, the bucket does not exist
    |-- TookTooLong            69  a backup was not done within its timeout, and was not committed; retried
    |-- Internal               70  a defect of ours
    |-- StorageFull            73  no room left in the store
    |-- TargetFull             73  no room left where a restore writes
    |-- Busy                   75  another run stands in the way; retried
    |   `-- ParentGone         75  what this run was based on was taken away meanwhile
    |-- AccessDenied           77  credentials or permissions do not suffice
    |   |-- SecretMissing      77  a Secret, or a key in it, is not there
    |   `-- UntrustedCertificate 77  the store's certificate is not signed by an authority we trust
    |-- WrongKey               77  the key given does not open this repository
    |-- KeyMissing             77  no key is set up, and none was asked to be left out
    |-- Untrusted              77  the repository, or who wrote to it, is not the one we were told to trust
    |   `-- RolledBack         77  the store shows less than somebody remembers
    `-- Cancelled             143  somebody asked the run to stop

A class knows its exit code (sysexits.h where one fits) and whether the same try later may go better. `reason` is the
CamelCase word in conditions, Events and reports. A message says what failed, on what, why, and what to do next; it
never holds a secret.
"""

from __future__ import annotations

from typing import ClassVar


class IotBackupError(Exception):
    """Base of all; never raised itself."""

    exit_code: ClassVar[int] = 70
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def reason(self) -> str:
        """The class's name: what people and machines see in conditions and Events."""
        return type(self).__name__


class InvalidSpec(IotBackupError):
    """The request is wrong. Nothing was touched."""

    exit_code = 64


class NothingMatches(InvalidSpec):
    """No path of the backup matches what a selective restore asked for."""


class CorruptData(IotBackupError):
    """Stored bytes are not the bytes that were signed."""

    exit_code = 65


class ChainBroken(CorruptData):
    """A backup that the wanted one builds on is missing, or does not count."""


class StateUnreadable(CorruptData):
    """What an earlier backup left for the next one to compare with cannot be used. Internal to a backup: it becomes a Full."""


class SourceUnavailable(IotBackupError):
    """The source or the target is not there, or cannot be used."""

    exit_code = 66


class EmptySource(SourceUnavailable):
    """There is nothing to back up, and `allowEmpty` was not set."""


class StorageUnavailable(IotBackupError):
    """The store does not answer, or its answer leaves open what happened."""

    exit_code = 69
    retryable = True


class BucketMissing(StorageUnavailable):
    """The store answers, and says that the bucket does not exist."""


class TookTooLong(IotBackupError):
    """A backup was not done within its timeout. Nothing was committed: others may take it for dead."""

    exit_code = 69
    retryable = True


class Internal(IotBackupError):
    """A defect of ours."""

    exit_code = 70


class StorageFull(IotBackupError):
    """No room is left in the store."""

    exit_code = 73


class TargetFull(IotBackupError):
    """No room is left where the restore writes."""

    exit_code = 73


class Busy(IotBackupError):
    """Another run stands in the way; later it will not."""

    exit_code = 75
    retryable = True


class ParentGone(Busy):
    """What this run was based on was taken away while it ran. The next run takes a Full."""


class AccessDenied(IotBackupError):
    """Credentials or permissions do not suffice."""

    exit_code = 77


class SecretMissing(AccessDenied):
    """A Secret, or a key in it, is not there."""


class UntrustedCertificate(AccessDenied):
    """The store's certificate is not signed by an authority this run trusts."""


class WrongKey(IotBackupError):
    """The key given does not open this repository."""

    exit_code = 77


class KeyMissing(IotBackupError):
    """No key is set up, and none was asked to be left out."""

    exit_code = 77


class Untrusted(IotBackupError):
    """The repository, or who wrote to it, is not the one this run was told to trust."""

    exit_code = 77


class RolledBack(Untrusted):
    """The store shows an older state than somebody remembers."""


class Cancelled(IotBackupError):
    """Somebody asked the run to stop."""

    exit_code = 143


class AlreadyExists(IotBackupError):
    """An object of that key is in the store already. Internal to `storage`: callers turn it into their own answer."""

    exit_code = 75


class NotFound(IotBackupError):
    """No object of that key is in the store. Internal to `storage`: callers turn it into their own answer."""

    exit_code = 65
