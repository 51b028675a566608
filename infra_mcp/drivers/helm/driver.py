"""Connects the driver of delivery `helm`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.base import Setup
from infra_mcp.drivers.kubernetes.connection import place
from infra_mcp.policy.policy import Policy

if TYPE_CHECKING:
    from infra_mcp.drivers.helm.releases import Releases

_FOLDER = "helm"  # below the server's state directory


@asynccontextmanager
async def connect(setup: Setup, policy: Policy, name: str) -> AsyncIterator[Releases]:
    """Connect to a cluster by the context that the policy names for it.

    Raises:
        InfraError: `policy-invalid`; `setup-failed`: no such context, or its credential does not load.
    """
    where = place(policy, name).where
    # It imports pyhelm3, which takes a third of a second: paid here, in a thread.
    driver: Any = await to_thread.run_sync(import_module, "infra_mcp.drivers.helm.releases")
    key = await setup.key("helm")
    async with Cluster.connect(name, setup.kubeconfig, policy.clusters[name].context) as cluster:
        yield driver.Releases(cluster, setup.masker, key, setup.state / _FOLDER, where)
