"""Plans a share that others deliver: which evidence there is, and how it stands before the commit.

What becomes live is in the effect already: its files, and what builds give otherwise. Here nothing is compared with
the live world, but the evidence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from pydantic import Field, JsonValue

from infra_mcp.clients.forge.forge import Forge
from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.base import Context, Prepared, Share
from infra_mcp.drivers.external.access import require_rights
from infra_mcp.drivers.external.beside import moved
from infra_mcp.drivers.external.check import Check, Deployment, News
from infra_mcp.drivers.external.dns import Dns
from infra_mcp.drivers.external.evidence import Evidence
from infra_mcp.drivers.external.fields import Wanted, version_of, wanted
from infra_mcp.drivers.external.suspended import suspended
from infra_mcp.drivers.external.url import Url
from infra_mcp.drivers.external.workload import Workload
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.digest import canonical
from infra_mcp.model.names import Frozen
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy.evidence import EvidenceRules
from infra_mcp.policy.grammar import WORKLOADS, seconds
from infra_mcp.repository.rebase import changed

_VERSION: Final = "{version}"
NOTHING: Final = "others deliver it, and no evidence in infra.toml shows when it is live"


class Before(Frozen):
    """What a restart must know, as the request's record keeps it: the evidence by the policy of then, and its state."""

    rules: EvidenceRules
    version: str = ""
    wanted: dict[str, tuple[Wanted, ...]] = Field(default_factory=dict)  # by workload
    states: tuple[JsonValue, ...] = ()  # of each piece, in their order
    grace: float = 30.0

    @classmethod
    def of(cls, kept: JsonValue) -> Before | None:
        """What was recorded; None where nothing was."""
        return cls.model_validate_json(canonical(kept)) if kept is not None else None


@dataclass(frozen=True)
class Ground:
    """Where evidence is read."""

    cluster: Cluster | None  # that of the place, where policy names it
    forge: Callable[[], Awaitable[Forge]]
    news: News


@dataclass(frozen=True)
class Own:
    """The driver's own part of a plan."""

    pieces: tuple[Evidence, ...]
    states: tuple[JsonValue, ...]
    commits: bool  # whether there is anything to commit
    beside: tuple[ObjectRef, ...] = ()  # workloads that move along and are no evidence


async def plan(ground: Ground, context: Context, share: Share) -> Prepared:
    """See `External.plan`."""
    kept, notes, user = Before.of(context.before), list[str](), ""
    if ground.cluster is not None:
        user = context.policy.service_account(context.circle, ground.cluster.name)
        notes += await require_rights(ground.cluster, share, user)
    commits = kept is not None or bool(changed(share.before, share.after))
    begun = kept or _begin(context, share)
    if ground.cluster is not None and commits:
        shown = [workload(place, ground.cluster.name) for place in begun.rules.workload] if begun else []
        notes += await suspended(ground.cluster, share, shown, user)
    if begun is None:
        return _prepared(share, Own((), (), commits), None, [*notes, NOTHING], share.goal.timeout)
    pieces = evidence(ground, begun)
    states = kept.states if kept else tuple(await gather(partial(one.before, context) for one in pieces))
    begun = begun.model_copy(update={"states": states})
    fresh = [one for one, state in zip(pieces, states, strict=True) if one.fresh(state)]
    if commits:
        notes += [
            f"{one.shown} holds already, and so shows nothing of this change" for one in pieces if one not in fresh
        ]
        live = f"live when {' and '.join(one.shown for one in fresh)} shows it, within {begun.rules.timeout}"
        notes.append(live if fresh else NOTHING)
    named = {(one.ref.namespace, one.ref.kind, one.ref.name) for one in pieces if isinstance(one, Workload)}
    beside = tuple(one for one in moved(share) if (one.namespace, one.kind, one.name) not in named)
    return _prepared(
        share, Own(pieces, states, commits, beside), begun if fresh else None, notes, seconds(begun.rules.timeout)
    )


def _prepared(share: Share, own: Own, begun: Before | None, notes: list[str], timeout: float) -> Prepared:
    return Prepared(
        changes=(),
        writes=(),
        on_failure=share.goal.on_failure,
        timeout=timeout,
        own=own,
        notes=tuple(notes),
        confirms=begun is not None,
        before=begun.model_dump(mode="json") if begun else None,
    )


def _begin(context: Context, share: Share) -> Before | None:
    """The evidence that policy names for the app's instance, and the values that the change brings."""
    instance = share.instance
    app = context.policy.apps.get(instance.app) if instance else None
    rules = app.evidence_in(instance.environment) if app and instance else None
    if rules is None or instance is None:
        return None
    values = {place: wanted(share, workload(place, share.after.cluster)) for place in rules.workload}
    return Before(rules=rules, version=version_of(share), wanted=values, grace=share.goal.grace)


def workload(place: str, cluster: str) -> ObjectRef:
    """A workload as policy names it."""
    namespace, kind, name = place.split("/")
    return ObjectRef(cluster=cluster, api_version="apps/v1", kind=WORKLOADS[kind], namespace=namespace, name=name)


def evidence(ground: Ground, begun: Before) -> tuple[Evidence, ...]:
    """The pieces of evidence, in the order of the policy's keys.

    Raises:
        InfraError: `policy-invalid`: a workload is evidence, and the change is for no cluster of the policy.
    """
    rules, found = begun.rules, list[Evidence]()
    if rules.check:
        found.append(Check(ground.forge, rules.check, ground.news))
    if rules.deployment:
        found.append(Deployment(ground.forge, rules.deployment, ground.news))
    for place in rules.workload:
        if ground.cluster is None:
            what = f"The evidence names {place}, and infra.toml does not say in which cluster that is."
            step = "An operator names the cluster of its root, app or environment in infra.toml."
            raise InfraError("policy-invalid", what, next_step=step)
        ref = workload(place, ground.cluster.name)
        found.append(Workload(ground.cluster, ref, begun.wanted.get(place, ()), begun.grace))
    if rules.dns and _fits(rules.dns.value, begun.version):
        found.append(Dns(rules.dns, tuple(_filled(one, begun.version) for one in rules.dns.value)))
    if rules.url and _fits((rules.url.value,), begun.version):
        found.append(Url(rules.url, _filled(rules.url.value, begun.version)))
    return tuple(found)


def _fits(templates: Sequence[str], version: str) -> bool:
    """Whether values can show a change: those with a version in them show none that sets no version."""
    return bool(version) or not any(_VERSION in one for one in templates)


def _filled(template: str, version: str) -> str:
    """A value with the version."""
    return template.replace(_VERSION, version)
