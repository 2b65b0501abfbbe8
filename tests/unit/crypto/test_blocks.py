"""Tags of blocks, by the page that describes them."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from iot_backup.crypto.blocks import SIZE, BlockTags
from iot_backup.crypto.signing import WriterKey
from iot_backup.worker.deltas import DIGEST

WRITER = WriterKey(b"\x17" * 32)


def test_a_tag_is_as_its_page_says() -> None:
    block = os.urandom(65536)
    key = HKDF(hashes.SHA256(), 32, None, b"iot-backup-operator/v1/writer/blocks").derive(WRITER.secret)
    mac = Cipher(algorithms.AES256(key), modes.GCM(bytes(12))).encryptor()
    mac.authenticate_additional_data(block)
    mac.finalize()
    assert BlockTags(WRITER)(block) == mac.tag
    assert len(mac.tag) == SIZE == DIGEST


def test_it_is_the_same_for_the_same_bytes_and_another_for_others() -> None:
    block = os.urandom(1000)
    tags = BlockTags(WRITER)
    assert tags(block) == tags(memoryview(block)) == BlockTags(WRITER)(bytearray(block))
    changed = [bytes(byte ^ (at == place) for at, byte in enumerate(block)) for place in range(0, 1000, 7)]
    others = {tags(block), *map(tags, changed), tags(block[:-1]), tags(block + b"\0"), BlockTags(WriterKey(b"\x18" * 32))(block)}
    assert len(others) == len(changed) + 4
