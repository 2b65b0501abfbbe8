"""The kinds the operator works with, and where the API server keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from iot_backup import vocabulary


@dataclass(frozen=True)
class Resource:
    """A kind of object."""

    group: str
    """'' for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of all objects (of a namespace), of one, or of its subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(parts)


def _own(plural: str, kind: str) -> Resource:
    return Resource(vocabulary.GROUP, vocabulary.VERSION, plural, kind)


BACKUP_STORAGES = _own("backupstorages", "BackupStorage")
BACKUP_JOBS = _own("backupjobs", "BackupJob")
BACKUPS = _own("backups", "Backup")
RESTORE_JOBS = _own("restorejobs", "RestoreJob")
JOBS = Resource("batch", "v1", "jobs", "Job")
CRON_JOBS = Resource("batch", "v1", "cronjobs", "CronJob")
PODS = Resource("", "v1", "pods", "Pod")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SECRETS = Resource("", "v1", "secrets", "Secret")
EVENTS = Resource("", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")

OWN = (BACKUP_STORAGES, BACKUP_JOBS, BACKUPS, RESTORE_JOBS)
