"""What every check may look at: the places, the environment, the policy, and a server or else the ledger, read only."""

from __future__ import annotations

import shlex
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from infra_mcp.clients.git.runner import Runner
from infra_mcp.clients.kube import Cluster
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.ledger import Ledger
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.policy import Policy, load
from infra_mcp.server.operator import OPERATOR, Operator
from infra_mcp.settings import Settings

Ask = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]  # a method of `Operator` and its parameters
_LOGIN_SECONDS = 20.0  # for all clusters together


@dataclass(frozen=True)
class Look:
    """What the checks look at.

    Attributes:
        settings: the places, as this command finds them.
        around: what the running server was started with, or this command where none runs: `settings.surroundings`.
        server: whether a server runs.
        ask: the methods of operators; of the server, or on the ledger where none runs.
        policy: the policy in force, or the file's where none is; None where neither can be read.
        clusters: the policy's clusters, connected, or why that failed.
    """

    settings: Settings
    around: Mapping[str, Any]
    server: bool = False
    ask: Ask | None = None
    why_not: InfraError | None = None  # why there is nothing to ask
    policy: Policy | None = None
    clusters: Mapping[str, Cluster | InfraError] = field(default_factory=dict)

    @property
    def repo(self) -> str:
        """The checkout, as a word of a shell command."""
        return shlex.quote(str(self.settings.repo))

    async def git(self, *args: str) -> str | None:
        """What git prints in the checkout; None where it fails."""
        done = await to_thread.run_sync(partial(Runner(self.settings.repo).run, *args, check=False))
        return None if done.code else done.out.decode("utf-8", "replace").strip()

    def given(self, name: str) -> str:
        """A variable of the environment; empty where it is not set."""
        return str(self.around["environment"].get(name, ""))


def mode_of(path: str | Path) -> int | None:
    """The permissions of a regular file; None where there is none. One `stat` of a local file needs no thread."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return None
    return stat.S_IMODE(mode) if stat.S_ISREG(mode) else None


def resolved(path: str | Path) -> Path:
    """The path that it leads to, with a home's `~`."""
    return Path(path).expanduser().resolve()


@asynccontextmanager
async def looking(
    settings: Settings, around: Mapping[str, Any], ask: Ask | None, *, connect: bool = True
) -> AsyncIterator[Look]:
    """Open what the checks look at, for a block. Nothing is written.

    Args:
        settings: the places.
        around: what this command was started with.
        ask: the running server's methods; None where none runs.
        connect: whether to log in to the policy's clusters.
    """
    server, why_not = ask is not None, None
    async with AsyncExitStack() as stack:
        if ask is not None:
            around = await ask("operator/surroundings", {})
            settings = replace(settings, kubeconfig=Path(around["kubeconfig"]))
        else:
            try:
                ask = await stack.enter_async_context(_offline(settings))
            except InfraError as error:
                why_not = error
        policy = await _policy(settings, ask)
        clusters: dict[str, Cluster | InfraError] = {}
        if policy is not None and connect:
            names = list(policy.clusters)
            opened = await gather(partial(_connected, settings, policy, name, stack) for name in names)
            clusters = dict(zip(names, opened, strict=True))
        yield Look(settings, around, server, ask, why_not, policy, clusters)


@asynccontextmanager
async def _offline(settings: Settings) -> AsyncIterator[Ask]:
    """The operator's methods on the ledger as it lies there, opened for reading."""
    ledger = await Ledger.read_only(settings.state_dir)
    try:
        policy = PolicyInForce(settings.policy_file, ledger)
        await policy.refresh()
        yield partial(Operator(ledger, policy).call, OPERATOR)
    finally:
        await ledger.aclose()


async def _policy(settings: Settings, ask: Ask | None) -> Policy | None:
    """The policy in force; without one that of the file, which is the one that will be."""
    text = ""
    if ask is not None:
        try:
            text = str((await ask("operator/policy.show", {}))["text"])
        except InfraError:
            text = ""
    try:
        return load(text or settings.policy_file.read_text("utf-8"))
    except (InfraError, OSError, ValueError):
        return None


async def _connected(settings: Settings, policy: Policy, name: str, stack: AsyncExitStack) -> Cluster | InfraError:
    with anyio.move_on_after(_LOGIN_SECONDS):
        try:
            connecting = Cluster.connect(name, settings.kubeconfig, policy.clusters[name].context)
            return await stack.enter_async_context(connecting)
        except InfraError as error:
            return error
    return InfraError("cluster-unreachable", f"The login of cluster {name} did not end in time.")
