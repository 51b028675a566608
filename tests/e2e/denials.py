"""An API server that refuses rights for a while, as one does whose RBAC is not read yet; patched into a server."""

import time
from functools import wraps

from infra_mcp.clients.kube import Cluster, KubeError

__all__ = ["at_the_rollout", "at_the_undo", "at_the_write", "for_good"]

TEXT = 'deployments.apps "docs" is forbidden: User "system:serviceaccount:a:b" cannot patch resource "deployments"'
LONG = 1.5  # seconds


class Denial:
    """Refuses from the first time that it is asked to, for some seconds."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.until = 0.0

    def begin(self):
        self.until = self.until or time.monotonic() + self.seconds

    def check(self):
        if time.monotonic() < self.until:
            raise KubeError(403, "Forbidden", TEXT)


def _patch(seconds, *, before=0, writes=1):
    """Refuse from write number `before` on, or after `writes` of them."""
    denial, count = Denial(seconds), [0]
    real_get, real_list, real_write, real_watch = Cluster.get, Cluster.list, Cluster.write, Cluster.watch

    @wraps(real_get)
    async def get(self, *args, **more):
        denial.check()
        return await real_get(self, *args, **more)

    @wraps(real_list)
    async def listed(self, *args, **more):
        denial.check()
        return await real_list(self, *args, **more)

    @wraps(real_write)
    async def write(self, *args, **more):
        count[0] += 1
        if count[0] == before:
            denial.begin()
        denial.check()
        found = await real_write(self, *args, **more)
        if count[0] == writes and not before:
            denial.begin()
        return found

    @wraps(real_watch)
    async def watch(self, *args, **more):
        denial.check()
        async for event in real_watch(self, *args, **more):
            denial.check()
            yield event

    Cluster.get, Cluster.list, Cluster.write, Cluster.watch = get, listed, write, watch


def at_the_write():
    """From the request's first write on, before it is done."""
    _patch(LONG, before=1)


def at_the_rollout():
    """From the request's first write on, once it is done."""
    _patch(LONG)


def at_the_undo():
    """From the undo's write on, before it is done."""
    _patch(LONG, before=2)


def for_good():
    """From the request's first write on, for longer than anyone waits."""
    _patch(3600.0, before=1)
