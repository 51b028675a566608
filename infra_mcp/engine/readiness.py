"""Whether a change could be carried out now, and with which rights: asked of the API server and the disk themselves."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path

import anyio
from anyio import to_thread

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.errors import InfraError
from infra_mcp.together import both, together

__all__ = ["Readiness", "excess_rights"]

log = logging.getLogger(__name__)

_FRESH = 1.0  # seconds for which an answer is given again: anyone on this machine may ask
_PATIENCE = 3.0  # seconds for the API server to answer
_RETRY_AFTER = 30.0  # seconds until rights that could not be looked at are looked at again
_PROBE = b"\0" * 65_536  # what the disk must take
# What the server's own role does not give: in words, and as verb, group and resource of all namespaces.
_BEYOND = {
    "read Secrets": ("get", "", "secrets"),
    "change workloads": ("patch", "apps", "deployments"),
    "change namespaces": ("patch", "", "namespaces"),
    "delete namespaces": ("delete", "", "namespaces"),
    "grant rights": ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    "act as anybody": ("impersonate", "", "users"),
}


class Readiness:
    """What a change would lack at this moment.

    Args:
        folders: where a change writes.
        cluster: the connection, or None while there is none.
    """

    def __init__(self, folders: tuple[Path, ...], cluster: Callable[[], Cluster | None]) -> None:
        self._folders = folders
        self._cluster = cluster
        self._looking = anyio.Lock()
        self._found: list[str] = []
        self._until = float("-inf")

    async def missing(self) -> list[str]:
        """`cluster` when the API server does not answer or refuses the login, `disk` when it takes no more writes."""
        async with self._looking:
            if anyio.current_time() >= self._until:
                writes = partial(to_thread.run_sync, _takes_writes, self._folders)
                cluster, disk = await both(self._answers, writes)
                self._found = [] if cluster else ["cluster"]
                self._found += [] if disk else ["disk"]
                self._until = anyio.current_time() + _FRESH
            return list(self._found)

    async def _answers(self) -> bool:
        cluster = self._cluster()
        if cluster is None:
            return False
        with anyio.move_on_after(_PATIENCE):
            try:
                await cluster.check()
            except KubeError as error:
                return error.status == HTTPStatus.FORBIDDEN  # what it may is another matter
            return True
        return False


def _takes_writes(folders: tuple[Path, ...]) -> bool:
    try:
        for folder in folders:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(_PROBE)
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        return False
    return True


async def excess_rights(cluster: Cluster) -> str:
    """What the server's login may do beyond the server's own role, in a sentence; empty when nothing. Waits for it."""
    while True:
        try:
            if await cluster.may("*", "*", "*"):
                found = ["every right in the cluster"]
            else:
                allowed = await together(partial(cluster.may, *asked) for asked in _BEYOND.values())
                found = [words for words, allows in zip(_BEYOND, allowed, strict=True) if allows]
        except (KubeError, InfraError):
            await anyio.sleep(_RETRY_AFTER)
            continue
        if not found:
            return ""
        what = f"The kubeconfig's login has more rights than the server's own role: {', '.join(found)}."
        return f"{what} Use the account that `infra-mcp rbac render` prints."
