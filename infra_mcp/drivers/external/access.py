"""Asks the API server whether the circle could write itself what others write for it: it is a grant by the cluster.

Who delivers writes with rights of its own, which are mostly every right. So the wall in the cluster, which our own
writes meet, is asked beforehand, by access reviews as the circle's identity (SelfSubjectAccessReview).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

import anyio

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.base import Share
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.rebase import changed
from infra_mcp.repository.render import Located, differing, read
from infra_mcp.repository.value import Tree

_MAX_ASKED: Final = 200
_AT_ONCE: Final = 10
_YAML: Final = (".yaml", ".yml", ".json")


class Write(NamedTuple):
    """One write that the change leads to."""

    verb: str  # as RBAC names it
    ref: ObjectRef


def writes(share: Share) -> tuple[Write, ...]:
    """The objects that a share changes: those of its builds, and those in files that no build reads."""
    found: dict[tuple[str, str], Write] = {}
    for before, after in sides(share):
        for was, now in differing(before, after):
            if one := now or was:
                verb = "delete" if now is None else "create" if was is None else "patch"
                found.setdefault((verb, one.ref.key), Write(verb, one.ref))
    return tuple(found.values())


def sides(share: Share) -> list[tuple[Iterable[Located], Iterable[Located]]]:
    """The objects before and after a share: of each of its builds, and of each changed file that none reads."""
    built = frozenset[str]().union(*(build.files for build in share.builds))
    found: list[tuple[Iterable[Located], Iterable[Located]]] = [(one.before, one.after) for one in share.builds]
    plain = [path for path in changed(share.before, share.after) if path not in built and path.endswith(_YAML)]
    return found + [(_objects(share.before, path), _objects(share.after, path)) for path in plain]


async def require_rights(cluster: Cluster, share: Share, user: str) -> tuple[str, ...]:
    """Refuse a change of objects that the circle could not write itself.

    Args:
        cluster: where they become live.
        share: the change.
        user: the circle's identity.

    Returns:
        Remarks about objects that could not be asked about.

    Raises:
        InfraError: `cluster-denied`, naming the objects.
    """
    every = writes(share)
    at_once = anyio.CapacityLimiter(_AT_ONCE)

    async def ask(one: Write) -> str | None:
        """Why it may not; None where it may; a remark in brackets where it cannot be asked."""
        async with at_once:
            try:
                if one.ref.namespace is None and await cluster.is_namespaced(one.ref.api_version, one.ref.kind):
                    return f"({one.ref}: the repository does not say its namespace)"
                allowed = await cluster.may_do(one.verb, one.ref, as_user=user)
            except KubeError as error:
                raise error.translate("the question whether the circle may write it") from error
            except InfraError as error:  # its definition comes with the change, or by hand
                return f"({one.ref}: {error.what})"
        return None if allowed else f"{one.verb} {one.ref}"

    answers = [text for text in await gather(partial(ask, one) for one in every[:_MAX_ASKED]) if text]
    denied = [text for text in answers if not text.startswith("(")]
    if denied:
        more = f", and {len(denied) - 1} more" if len(denied) > 1 else ""
        what = f"The circle could not {denied[0]} itself{more}, so it may not have others do it."
        step = "A cluster admin gives its account in the namespace that right: docs/deliveries.md."
        raise InfraError("cluster-denied", what, next_step=step)
    remarks = [f"not asked of the API server: {text[1:-1]}" for text in answers]
    if len(every) > _MAX_ASKED:
        remarks.append(f"not asked of the API server: {len(every) - _MAX_ASKED} more objects")
    return tuple(remarks)


def _objects(tree: Tree, path: str) -> list[Located]:
    data = tree.read(path)
    with suppress(Unreadable):  # values of a chart, and whatever else is no manifest
        return read(data, path, tree.cluster) if data is not None else []
    return []
