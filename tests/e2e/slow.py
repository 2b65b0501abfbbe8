"""Runs that last until a test lets them end: a folder with some megabytes that do not compress, and then a file without end.

The file is sparse and takes no room. A worker uploads the first part of its archive and then reads zeros for an hour.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tests.e2e import volumes
from tests.e2e.failing import Witness
from tests.e2e.objects import Json
from tests.e2e.waiting import wait_for

CLAIM = "slow"
KEEPER = "keeper"
MIB = 1 << 20
KILL = """
import contextlib, os
for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if pid not in (1, os.getpid()) and b"--spec-sha256" in open(f"/proc/{pid}/cmdline", "rb").read().split(b"\\0"):
            os.kill(pid, 9)
"""


@dataclass(frozen=True)
class Slow:
    """The claim `slow`, held by a pod that changes it when a test says so."""

    witness: Witness

    def start(self) -> None:
        """Make the claim and start its keeper."""
        self.witness.platform.apply(volumes.claim(CLAIM, "1Gi"))
        volumes.start_workload(self.witness.platform, KEEPER, CLAIM)

    def folder(self, name: str, *, size: int = 1 << 40) -> None:
        """20 MiB of noise, then `size` bytes of zeros."""
        self.keeper(f"import os\nos.mkdir({self._path(name)!r})\nopen({self._path(name, 'a')!r}, 'wb').write(os.urandom(20 << 20))")
        self.keeper(f"open({self._path(name, 'b')!r}, 'wb').truncate({size})")

    def shorten(self, name: str) -> None:
        """The next run of the folder ends soon."""
        self.keeper(f"import os\nos.truncate({self._path(name, 'b')!r}, 5)")

    def job(self, name: str, **spec: Any) -> Json:
        """A BackupJob for a new folder of that name, not applied yet."""
        self.folder(name)
        job = self.witness.platform.backup_job(name, CLAIM, **spec)
        job["spec"]["source"]["volume"]["path"] = name
        return job

    def keeper(self, script: str) -> str:
        return self.exec(KEEPER, script)

    def kill(self, backup: str) -> Json:
        """SIGKILL the worker of the Backup's present attempt, in the middle of its upload; the pod as it was."""
        pod = self.uploading(backup)
        self.exec(pod["metadata"]["name"], KILL)
        return pod

    def uploading(self, backup: str) -> Json:
        """The pod of the Backup's present attempt, once the store holds a part of its archive."""
        pod = self.witness.wait_running(backup)
        chain = self.witness.platform.get("Backup", backup)["spec"]["jobRef"]["name"]
        wait_for(lambda: self._parts(chain), 60, what=f"the upload of {backup} has begun")
        return pod

    def exec(self, pod: str, script: str) -> str:
        """Run Python in a pod, as its own user."""
        cluster, namespace = self.witness.platform.operator.cluster, self.witness.platform.namespace
        return cluster.run("exec", f"--namespace={namespace}", pod, "--", "python3", "-c", script)

    def _parts(self, chain: str) -> int:
        """Parts in the store of the archives of this chain that are under way."""
        platform = self.witness.platform
        client, bucket = platform.bucket.meta.client, platform.bucket.name
        notes = []
        for item in platform.bucket.objects.filter(Prefix=f"{platform.root}announce/"):
            with suppress(client.exceptions.NoSuchKey):  # another run ended, and took its announcement away, since that was listed
                notes.append(json.load(item.get()["Body"]))
        archives = [platform.root + key for note in notes if note["chain"] == chain for key in note["objects"] if ".tar." in key]
        uploads = [u for key in archives for u in client.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", [])]
        return sum(len(client.list_parts(Bucket=bucket, Key=u["Key"], UploadId=u["UploadId"]).get("Parts", [])) for u in uploads)

    @staticmethod
    def _path(*names: str) -> str:
        return "/".join((volumes.MOUNT, *names))
