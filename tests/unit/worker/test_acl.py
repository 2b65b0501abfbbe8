"""POSIX ACLs: their bytes, their text, and what they leave to the owning group."""

from __future__ import annotations

import struct

import pytest

from iot_backup.worker import acl
from tests.pipeline.roundtrip import ACL, DEFAULT_ACL
from tests.pipeline.roundtrip import acl as packed


def test_text_has_one_entry_a_line_with_numbers_for_ids() -> None:
    assert acl.text(ACL) == b"user::rw-\nuser:1234:r--\ngroup::---\ngroup:77:rwx\nmask::r-x\nother::r--\n"
    assert acl.text(DEFAULT_ACL) == b"user::rwx\nuser:1234:rwx\ngroup::r-x\nmask::rwx\nother::---\n"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x02\0\0",
        struct.pack("<I", 3) + ACL[4:],
        ACL[:-1],
        ACL + b"\0",
        struct.pack("<IHHI", 2, 0x40, 7, 0),
        struct.pack("<IHHI", 2, 1, 8, 0),
    ],
)
def test_what_is_no_acl_has_no_text(value: bytes) -> None:
    assert acl.text(value) == b""


@pytest.mark.parametrize(
    ("value", "permissions"),
    [
        (ACL, 0),
        (DEFAULT_ACL, 5),
        (packed(("user", None, 7), ("group", None, 6), ("other", None, 0)), 6),
        (packed(("user", None, 7), ("group", None, 7), ("mask", None, 1), ("other", None, 0)), 1),
        (b"nonsense", 0),
    ],
)
def test_the_owning_group_may_do_what_entry_and_mask_both_allow(value: bytes, permissions: int) -> None:
    assert acl.group_permissions(value) == permissions
