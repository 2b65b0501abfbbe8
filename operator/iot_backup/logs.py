"""Logging of the operator: text for people, JSON for collectors, on standard error."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

_TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_CHATTY = ("kopf", "aiohttp", "asyncio", "kubernetes")
"""Libraries whose info lines tell nothing about backups."""


def configure(level: str, form: str) -> None:
    """Replace the root handlers. `level` is debug, info, warning or error; `form` text or json."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        rename = {"asctime": "time", "levelname": "level", "name": "logger"}
        handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=rename))
    else:
        handler.setFormatter(logging.Formatter(_TEXT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(logging.getLogger().level, logging.WARNING) if level != "debug" else logging.DEBUG)
