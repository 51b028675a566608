"""The private folder that one piece of work with Helm happens in: mode 0700, removed afterwards, whatever happens.

It holds a link to the program (Helm's field manager is the name that it is started by), the kubeconfig, and the folders
that Helm would otherwise take from the user: plugins, repositories, logins of registries.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from anyio import to_thread

from infra_mcp.settings import given_variables

MANAGER: Final = "helm"  # the field manager of what Helm writes
# What is passed on of this process's environment.
NETWORK: Final = (
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_NOWHERE: Final = "http://127.0.0.1:9"  # no proxy answers on the discard port
_CLOSED: Final = {
    name: _NOWHERE for one in ("http", "https", "all") for name in (f"{one}_proxy", f"{one}_proxy".upper())
}


@dataclass(frozen=True)
class Folder:
    """A private folder."""

    path: Path
    environment: Mapping[str, str]

    @property
    def program(self) -> Path:
        """Helm."""
        return self.path / "bin" / MANAGER

    @property
    def chart(self) -> Path:
        """Where the chart is put."""
        return self.path / "chart"


@asynccontextmanager
async def private_folder(
    program: Path, *, kubeconfig: Mapping[str, Any] | None = None, network: bool = True
) -> AsyncIterator[Folder]:
    """Make a private folder for a block.

    Args:
        program: the Helm to use.
        kubeconfig: how it logs in to a cluster; None where it reaches none.
        network: whether proxies and certificates of the environment are passed on; else no proxy answers, so that
            nothing is fetched where one is needed.
    """
    path = Path(await to_thread.run_sync(partial(tempfile.mkdtemp, prefix="infra-mcp-helm-")))
    try:
        environment = await to_thread.run_sync(_fill, path, program, kubeconfig, network)
        yield Folder(path, environment)
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(partial(shutil.rmtree, path, ignore_errors=True))


def _fill(path: Path, program: Path, kubeconfig: Mapping[str, Any] | None, network: bool) -> dict[str, str]:
    for name in ("bin", "home", "plugins"):
        (path / name).mkdir()
    (path / "bin" / MANAGER).symlink_to(program)
    config = path / "kubeconfig"
    with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(kubeconfig or {"apiVersion": "v1", "kind": "Config"}, file)
    home = os.fspath(path / "home")
    return {
        "PATH": "",
        "HOME": home,
        "TMPDIR": home,
        "LC_ALL": "C",
        "GOTRACEBACK": "none",
        "KUBECONFIG": os.fspath(config),
        "HELM_CACHE_HOME": f"{home}/cache",
        "HELM_CONFIG_HOME": f"{home}/config",
        "HELM_DATA_HOME": f"{home}/data",
        "HELM_PLUGINS": os.fspath(path / "plugins"),
        "HELM_NO_PLUGINS": "1",
        "HELM_DRIVER": "secret",
    } | (given_variables(NETWORK) if network else _CLOSED)
