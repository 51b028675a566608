"""How a request works with releases: as the circle's own identity for Helm, with one Helm, a release at a time."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio import to_thread

from infra_mcp.clients.helm.command import Command
from infra_mcp.clients.helm.folder import Folder, private_folder
from infra_mcp.clients.helm.program import find_helm
from infra_mcp.clients.helm.stored import Revision, history, selector
from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.base import Context
from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker
from infra_mcp.model.digest import keyed
from infra_mcp.model.marks import REQUEST
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.target import Target
from infra_mcp.policy.grants import Grant
from infra_mcp.policy.sections import GrantRules
from infra_mcp.policy.systems import scope
from infra_mcp.text import one_line

SYSTEM = "helm"
KIND = "release"
_RUNS = "runs"


@dataclass(frozen=True)
class Access:
    """A cluster, and what a request works on its releases with."""

    cluster: Cluster
    masker: Masker
    key: bytes = field(repr=False)  # of the keyed hashes
    locks: Path  # the folder of the lock files, and of the private folders that Helm works in
    context: Context

    @property
    def user(self) -> str:
        """The circle's identity for Helm, which may read every Secret of its namespaces for Helm."""
        return self.context.policy.helm_account(self.context.circle, self.cluster.name)

    def target(self, namespace: str, name: str) -> Target:
        """A release as plans name it."""
        return Target(system=SYSTEM, place=self.cluster.name, scope=namespace, kind=KIND, name=name)

    async def history(self, namespace: str, name: str) -> tuple[Revision, ...]:
        """The revisions of a release, the oldest first.

        Raises:
            InfraError: `release-stuck`: one of them cannot be read.
            KubeError: the cluster refuses, or does not answer.
        """
        listed = await self.cluster.list("v1", "Secret", namespace, as_user=self.user, label_selector=selector(name))
        return history(listed["items"])

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """A live object, as the identity that Helm runs as; None when it is not there."""
        return await self.cluster.get(ref, as_user=self.user)

    async def get_once(self, ref: ObjectRef) -> dict[str, Any] | None:
        """The same, read once in one planning."""
        seen = self.context.seen
        if ref.key not in seen:
            seen[ref.key] = await self.get(ref)
        found: dict[str, Any] | None = seen[ref.key]
        return found

    @asynccontextmanager
    async def command(self) -> AsyncIterator[tuple[Command, Folder]]:
        """Helm's commands, in a private folder that is removed afterwards."""
        program = await find_helm()
        login = await self.cluster.kubeconfig(as_user=self.user)
        async with private_folder(program.path, within=self.locks / _RUNS, kubeconfig=login) as folder:
            yield program.command(folder, say=self._say), folder

    def _say(self, line: str) -> None:
        self.context.say(f"helm: {one_line(self.masker.mask(line))}")

    @asynccontextmanager
    async def alone(self, namespace: str, name: str) -> AsyncIterator[int | None]:
        """Hold a release's lock file; None where another process of this machine works on the release.

        The child that upgrades it keeps the file open, so that a server that is started again knows whether the Helm of
        the former one still runs.
        """
        where = hashlib.sha256(f"{self.cluster.name}|{namespace}|{name}".encode()).hexdigest()[:32]
        descriptor = await to_thread.run_sync(_lock, self.locks, where)
        try:
            yield descriptor
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def mark(self, namespace: str, name: str, number: int, request: str | None = None) -> str:
        """The value of the label that shows who made a revision: the request, the revision's number, and a keyed hash.

        Helm passes labels on to later revisions, whose number is another; another server has another key.
        """
        about = (request or self.context.request)[:40]
        made = keyed(self.key, f"{self.cluster.name}|{namespace}|{name}|{number}|{about}".encode())
        return f"{about}.{number}.{made.partition(':')[2][:10]}"

    def is_ours(self, revision: Revision | None) -> bool:
        """Whether this request made a revision."""
        if revision is None:
            return False
        return revision.labels.get(REQUEST) == self.mark(revision.namespace, revision.name, revision.number)

    def is_of_server(self, revision: Revision) -> bool:
        """Whether any request of this server made a revision."""
        found = revision.labels.get(REQUEST, "")
        request = found.partition(".")[0]
        return found == self.mark(revision.namespace, revision.name, revision.number, request or "-")


def _lock(folder: Path, name: str) -> int | None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def require_granted(access: Access, target: Target) -> None:
    """Refuse a release in a namespace that policy does not give to Helm, before the cluster refuses its identity.

    Raises:
        InfraError: `policy-denied`.
    """
    policy, circle = access.context.policy, access.context.circle
    to = Grant(f"circles.{circle}", f"circle {circle}", policy.circle(circle) or GrantRules(), listed=True)
    for one in scope(policy, to, target):
        raise InfraError("policy-denied", f"{one.reason} (rule {one.rule})", next_step=one.would_pass, rule=one.rule)


def require_repository(context: Context, repository: str) -> None:
    """Refuse a repository of charts that policy does not list.

    Raises:
        InfraError: `policy-denied`.
    """
    known = context.policy.helm.repositories
    if not any(repository == one.rstrip("/") or repository.startswith(f"{one.rstrip('/')}/") for one in known):
        step = "An operator adds it to [helm] repositories in infra.toml; or commit the chart to this repository."
        what = f"Policy does not list the chart repository {one_line(repository)} (rule helm.repositories)."
        raise InfraError("policy-denied", what, next_step=step, rule="helm.repositories")
