"""Accounts with few rights. MinIO makes them by its admin API, whose bodies are sealed with the caller's secret key."""

from __future__ import annotations

import json
import os
import secrets
import ssl
import urllib.request
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

if TYPE_CHECKING:
    from tests.minio.server import Minio

ARGON2ID_AES_GCM = b"\x00"


def allow(*actions: str, resource: str = "*", **condition: Any) -> dict[str, Any]:
    """One statement of a policy; `resource` is a bucket or bucket/key pattern, `condition` e.g. StringLike={"s3:prefix": [...]}."""
    found: dict[str, Any] = {"Effect": "Allow", "Action": [f"s3:{action}" for action in actions], "Resource": [f"arn:aws:s3:::{resource}"]}
    return found | ({"Condition": condition} if condition else {})


def only_below(bucket: str, root: str) -> list[dict[str, Any]]:
    """What the documentation recommends: one repository's root and nothing else."""
    return [
        allow("PutObject", "GetObject", resource=f"{bucket}/{root}*"),
        allow("DeleteObject", resource=f"{bucket}/{root}announce/*"),
        allow("ListBucket", resource=bucket, StringLike={"s3:prefix": [f"{root}*"]}),
    ]


def create(server: Minio, *statements: dict[str, Any]) -> tuple[str, str]:
    """A new account's access key and secret key."""
    access_key, secret_key = f"user-{secrets.token_hex(6)}", secrets.token_urlsafe(24)
    policy = {"Version": "2012-10-17", "Statement": list(statements)}
    body = _sealed(server.secret_key, json.dumps({"accessKey": access_key, "secretKey": secret_key, "policy": policy}).encode())
    _put(server, "/minio/admin/v3/add-service-account", body)
    return access_key, secret_key


def _put(server: Minio, path: str, body: bytes) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    request = AWSRequest("PUT", server.endpoint + path, data=body, headers={"Content-Type": "application/octet-stream"})
    S3SigV4Auth(Credentials(server.access_key, server.secret_key), "s3", "us-east-1").add_auth(request)
    context = ssl.create_default_context(cafile=str(server.ca_file))
    sent = urllib.request.Request(request.url, data=body, headers=dict(request.headers), method="PUT")
    with urllib.request.urlopen(sent, context=context, timeout=10) as answer:
        assert answer.status == 200


def _sealed(password: str, data: bytes) -> bytes:
    """The admin API's container: salt, cipher, nonce, then one final chunk of an AES-256-GCM stream."""
    salt, nonce = os.urandom(32), os.urandom(8)
    key = Argon2id(salt=salt, length=32, iterations=1, lanes=4, memory_cost=64 * 1024).derive(password.encode())
    cipher = AESGCM(key)
    tag = cipher.encrypt(nonce + (0).to_bytes(4, "little"), b"", None)
    return salt + ARGON2ID_AES_GCM + nonce + cipher.encrypt(nonce + (1).to_bytes(4, "little"), data, b"\x80" + tag)
