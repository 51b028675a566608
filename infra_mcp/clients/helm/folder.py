"""The private folder that one piece of work with Helm happens in: mode 0700, removed afterwards, whatever happens.

A server that is killed removes nothing: the next one removes what it left, once no Helm uses it any more.

It holds a link to the program (Helm's field manager is the name that it is started by), the kubeconfig, and the folders
that Helm would otherwise take from the user: plugins, repositories, logins of registries.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
_PREFIX: Final = "infra-mcp-helm-"
_making = threading.Lock()  # no folder is found before it is locked
_NOWHERE: Final = "http://127.0.0.1:9"  # no proxy answers on the discard port
_CLOSED: Final = {
    name: _NOWHERE for one in ("http", "https", "all") for name in (f"{one}_proxy", f"{one}_proxy".upper())
}


@dataclass(frozen=True)
class Folder:
    """A private folder."""

    path: Path
    environment: Mapping[str, str]
    lock: int  # a descriptor that locks it, also for the children that keep it open

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
    program: Path, *, within: Path | None = None, kubeconfig: Mapping[str, Any] | None = None, network: bool = True
) -> AsyncIterator[Folder]:
    """Make a private folder for a block.

    Args:
        program: the Helm to use.
        within: the folder that it is made in, and that is rid of those that killed servers left; the system's for
            temporary files where it holds nothing that is secret.
        kubeconfig: how it logs in to a cluster; None where it reaches none.
        network: whether proxies and certificates of the environment are passed on; else no proxy answers, so that
            nothing is fetched where one is needed.
    """
    path, lock = await to_thread.run_sync(_make, within)
    try:
        environment = await to_thread.run_sync(_fill, path, program, kubeconfig, network)
        yield Folder(path, environment, lock)
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(_remove, path, lock, within)


def _make(within: Path | None) -> tuple[Path, int]:
    """A new folder, and the descriptor that locks it."""
    with _making:
        if within is not None:
            within.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(within)
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=within))
        lock = _locked(path)
        if lock is None:  # pragma: no cover - no other process knows of it
            raise AssertionError
        return path, lock


def _remove(path: Path, lock: int, within: Path | None) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)
    if within is not None:
        with _making:
            _sweep(within)


def _sweep(within: Path) -> None:
    """Remove the folders that no process has locked."""
    for left in within.glob(f"{_PREFIX}*"):
        if (lock := _locked(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """A descriptor that locks a folder; None where somebody has it, or it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


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
