"""Landed: every object observed in the asked state, from the API server, after the write."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.kubernetes.health import status as health_of
from infra_mcp.drivers.kubernetes.verify import rollout
from infra_mcp.drivers.manifests import images
from infra_mcp.drivers.manifests.deploy import Target
from infra_mcp.drivers.manifests.prepared import Item, Prepared, Task, is_within
from infra_mcp.errors import InfraError
from infra_mcp.together import together

__all__ = ["deployed", "provisioned"]

_WAIT = 15.0  # seconds; these objects need no controller, only to be there
_STEP = 0.05


async def provisioned(
    cluster: Cluster, task: Task, prepared: Prepared, say: Callable[[str], None] | None = None
) -> str:
    """Read every object of a namespace back until it is as asked, and say what is now true.

    `say` is told which of them is waited for, and why.

    Raises:
        InfraError: `not-landed`, naming what is not so.
    """
    await together(partial(_there, cluster, task, item, say) for item in prepared.items)
    names = prepared.names
    facts = [f"namespace {names['namespace']} up"]
    if names["pull_secrets"]:
        pairs = zip(names["pull_secrets"].split(","), names["secrets"].split(","), strict=True)
        facts += [f"secret {name} present (as {secret})" for name, secret in pairs]
        facts.append("service account default uses " + ("it" if "," not in names["secrets"] else "them"))
    facts += [
        f"{item.wanted.ref.kind} {item.wanted.ref.name} set"
        for item in prepared.items
        if item.wanted.ref.kind in {"ResourceQuota", "LimitRange", "NetworkPolicy"}
    ]
    return ", ".join(facts)


async def _there(cluster: Cluster, task: Task, item: Item, say: Callable[[str], None] | None) -> None:
    user = None if item.wanted.identity == "server" else task.user
    reason = "it is not there"
    with anyio.move_on_after(_WAIT):
        while True:
            live = await cluster.get(item.wanted.ref, as_=user)
            if live is not None:
                state = health_of(live)
                if is_within(item.wanted.sets, live) and state.state == "Current":
                    return
                reason = state.reason if state.state != "Current" else "it is not as it was written"
            if say is not None:
                say(f"{item.wanted.ref}: {reason}")
            await anyio.sleep(_STEP)
    raise InfraError("not-landed", f"{item.wanted.ref} did not come to be as asked: {reason}.")


async def deployed(
    cluster: Cluster,
    task: Task,
    prepared: Prepared,
    to: Target,
    seconds: float,
    say: Callable[[str], None] | None = None,
) -> str:
    """Watch a rollout until it is out, and say what is now true.

    Args:
        cluster: the cluster.
        task: the request and its identity.
        prepared: the plan that was applied.
        to: the workload and its image.
        seconds: how long it may still take.
        say: told how far the rollout is.

    Raises:
        InfraError: `not-landed` with the cause, `object-moved` when the workload was replaced.
    """
    uid = str((prepared.items[0].live or {})["metadata"]["uid"])
    expect: Callable[[dict[str, Any]], bool] = partial(images.running, repo=to.repository, image=to.image)
    out = await rollout(cluster, to.ref, uid, as_=task.user, expect=expect, grace=to.grace, deadline=seconds, say=say)
    what, remark = f"{prepared.names['app']} {prepared.names['version']}", health_of(out.live).reason
    if not out.ready:
        return f"{what} is set in {to.ref}, image {to.image}; {remark}"
    wanted = (out.live.get("spec") or {}).get("replicas")
    count = f"{out.ready} of {wanted} replicas ready" if wanted is not None else f"{out.ready} ready"
    return f"{what} runs as {to.ref}, {count}{f' ({remark})' if remark else ''}, image {to.image}"
