"""A file system of this machine shows everything at once; whatever else it may be is waited for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from iot_backup.storage.mounts import parsed
from iot_backup.storage.staleness import NETWORK, bound

MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
40 22 0:40 / /mnt/nas rw shared:1 - nfs4 nas:/export rw
41 22 0:41 / /mnt/my\\040disk rw - xfs /dev/sdb1 rw
44 22 0:44 / /mnt/b\u00e4ckup rw - nfs4 nas:/export rw
45 22 0:45 / /mnt/\udcff rw - nfs4 nas:/export rw
42 22 0:42 / /mnt/over rw - ext4 /dev/sdc1 rw
43 42 0:43 / /mnt/over rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/var/backups", timedelta()),
        ("/mnt/nas/site", NETWORK),
        ("/mnt/nasty", timedelta()),
        ("/mnt/my disk/site", timedelta()),
        ("/mnt/b\u00e4ckup/site", NETWORK),
        ("/mnt/\udcff/site", NETWORK),
        ("/mnt/over/x", NETWORK),
    ],
)
def test_the_mount_that_holds_the_folder_tells(folder: str, expected: timedelta) -> None:
    assert bound(Path(folder), parsed(MOUNTS)) == expected


def test_without_any_mount_the_longer_time_holds() -> None:
    assert bound(Path("/var"), []) == NETWORK
