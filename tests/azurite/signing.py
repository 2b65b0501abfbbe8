"""A request to Azure's Blob Storage, signed with the account's key: for what obstore does not do, such as making a container."""

from __future__ import annotations

import base64
import hashlib
import hmac
from email.utils import format_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

VERSION = "2021-12-02"


def signed(account: str, key: str, method: str, path: str, query: Mapping[str, str], now: datetime) -> dict[str, str]:
    """The headers of a request without a body. `path`: as in the address, with the account where that has it."""
    date = format_datetime(now, usegmt=True)
    resource = "".join([f"/{account}{path}", *(f"\n{name}:{value}" for name, value in sorted(query.items()))])
    empty = "\n" * 11  # the standard headers between the method and Azure's own
    text = f"{method}\n{empty}x-ms-date:{date}\nx-ms-version:{VERSION}\n{resource}"
    signature = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
    return {
        "x-ms-date": date,
        "x-ms-version": VERSION,
        "Authorization": f"SharedKey {account}:{signature}",
        "Content-Type": "",
    }
