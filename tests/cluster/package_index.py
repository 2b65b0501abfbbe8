"""The machine's own way to the Python package index, as a container build can use it.

A build that runs in a container knows neither this machine's pip configuration nor its certificate
authorities. Both are mounted for the time of the build, so that no layer and no file of the project
holds them, and the Dockerfile stays one that builds anywhere.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INSIDE = "/run/iot-backup-build"
"""Where the build sees what is mounted."""
FILES = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")
"""In pip's order: the later one wins, the environment wins over all."""
IRRELEVANT = {"config-file", "no-index-cache", "cache-dir", "target", "prefix", "root", "user", "require-virtualenv"}


def mounts(scratch: Path) -> list[str]:
    """Write a pip.conf below scratch; return `source:target:ro` for all that is to be mounted."""
    settings = merged(_texts(), os.environ)
    pairs: list[tuple[str, str]] = []
    for option, name in (("cert", "ca.pem"), ("find-links", "wheels")):
        source = settings.pop(option, None)
        if source and Path(source).exists():
            settings[option] = f"{INSIDE}/{name}"
            pairs.append((source, f"{INSIDE}/{name}"))
    configuration = scratch / "pip.conf"
    configuration.write_text("\n".join(["[global]", *(f"{key} = {value}" for key, value in settings.items()), ""]))
    pairs.append((str(configuration), "/etc/pip.conf"))
    return [f"{os.path.realpath(source)}:{target}:ro" for source, target in pairs]


def merged(texts: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return pip's settings from configuration files, then from an environment."""
    settings: dict[str, str] = {}
    for text in texts:
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        for section in ("global", "install"):
            if parser.has_section(section):
                settings.update(parser.items(section))
    for name, option in (("UV_INDEX_URL", "index-url"), ("UV_DEFAULT_INDEX", "index-url"), ("SSL_CERT_FILE", "cert")):
        if environment.get(name):
            settings.setdefault(option, environment[name])
    for name, value in environment.items():
        if name.startswith("PIP_") and value:
            settings[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return {key: value for key, value in settings.items() if key not in IRRELEVANT}


def _texts() -> list[str]:
    names = [*FILES, os.environ.get("PIP_CONFIG_FILE", "")]
    paths = [Path(name).expanduser() for name in names if name and name != os.devnull]
    return [path.read_text() for path in paths if path.is_file()]
