"""How to reach the API server: from the pod's service account, or from the file KUBECONFIG names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config
from kubernetes.aio.config.config_exception import ConfigException

from iot_backup.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Login:
    """The same facts as plain values, for another client."""

    server: str
    ca_file: str | None
    insecure: bool
    token: str | None
    certificate_file: str | None
    key_file: str | None


async def configuration(environ: Mapping[str, str] = os.environ) -> Configuration:
    """KUBECONFIG, if set, wins over the service account: a person who sets it means it. Raises InvalidSpec where neither works."""
    config = Configuration()
    chosen = environ.get("KUBECONFIG")
    try:
        if chosen:
            await _from_file(chosen, config)
        elif "KUBERNETES_SERVICE_HOST" in environ:
            load_incluster_config(client_configuration=config)  # type: ignore[no-untyped-call]
        else:
            await _from_file(str(Path.home() / ".kube" / "config"), config)
    except (ConfigException, OSError) as error:
        where = f"KUBECONFIG={chosen}" if chosen else "service account or ~/.kube/config"
        raise InvalidSpec(f"no API server to talk to ({where}): {error}; set KUBECONFIG to a file that `kubectl` can use") from error
    return config


async def _from_file(path: str, config: Configuration) -> None:
    await load_kube_config(config_file=path, client_configuration=config, persist_config=False)  # type: ignore[no-untyped-call]


async def login(config: Configuration) -> Login:
    """What the configuration says now; a service account's token is read anew every minute."""
    token = await config.get_api_key_with_prefix("BearerToken", alias="authorization")
    return Login(
        server=config.host,
        ca_file=config.ssl_ca_cert,
        insecure=not config.verify_ssl,
        token=token.partition(" ")[2].strip() if token and token.lower().startswith("bearer ") else token,
        certificate_file=config.cert_file,
        key_file=config.key_file,
    )
