"""The plan: the objects of a share compared with the live ones, each by a server-side dry run where that can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.base import Context, Prepared, Share
from infra_mcp.drivers.kubernetes.drift import drift
from infra_mcp.drivers.kubernetes.reading import read_once
from infra_mcp.drivers.manifests.desired import in_files, without_file
from infra_mcp.drivers.manifests.planned import Desired, PlannedObject, Rights, Work
from infra_mcp.drivers.manifests.propose import planned
from infra_mcp.drivers.manifests.pull_secrets import PullSecret, PullSecrets
from infra_mcp.drivers.manifests.scaling import refuse_autoscaled
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather, gather_pair
from infra_mcp.model.effect import Drift
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.policy.grammar import repository
from infra_mcp.policy.images import containers_of
from infra_mcp.repository.partial import differences, is_within, ordered_like


@dataclass
class _Spaces:
    """The namespaces that the change is to ensure: which are yet to be made, and what is live of them."""

    to_make: set[str] = field(default_factory=set)
    live: dict[str, dict[str, Any] | None] = field(default_factory=dict)  # namespaces and bindings, by `ObjectRef.key`


async def plan(cluster: Cluster, secrets: PullSecrets, context: Context, share: Share) -> Prepared:
    """Plan a share. Reads only; equal ground gives equal changes.

    Raises:
        InfraError: `namespace-not-bound`, `exists`, `pull-secret-unavailable`, `not-in-cluster`, `field-conflict`,
            `owned-elsewhere`, `object-invalid`, `cluster-denied`.
    """
    rights = Rights.of(context, cluster.name)
    wanted = in_files(share)
    wanted += [without_file(one, context.request) for one in share.beside if one.work != "pull-secret"]
    copies = [(one.target.scope or "", str(one.given["name"])) for one in share.beside if one.work == "pull-secret"]
    reads = [
        partial(secrets.read, context.policy, name, scope, as_user=rights.user, bound=None) for scope, name in copies
    ]
    spaces, sources = await gather_pair(partial(_spaces, cluster, context, rights, wanted), partial(gather, reads))
    wanted += [Desired(one.copy_ref, one.body, content=one.content, secret=one.name) for one in sources]
    late = {one.ref.key for one in wanted if _is_late(one.ref, spaces, context)}
    live = await _live(cluster, rights, wanted, spaces, sources, late, context)
    for one in wanted:
        if one.ref.key not in late:
            _require_live(one, live[one.ref.key])
    wanted = [replace(one, sets=ordered_like(one.sets, live.get(one.ref.key))) for one in wanted]
    await refuse_autoscaled(cluster, rights.user, wanted)
    objects = await gather(
        partial(planned, cluster, rights, one, live.get(one.ref.key), late=one.ref.key in late) for one in wanted
    )
    _refuse_updates_as_server(objects)
    work = Work(tuple(objects), share.goal, late=bool(late))
    return Prepared(
        changes=tuple(sorted((one.change for one in objects), key=lambda change: change.target.key)),
        writes=tuple(_written(one, share) for one in work.to_write),
        on_failure=share.goal.on_failure,
        timeout=share.goal.timeout,
        own=work,
        needs=tuple(_needs(wanted, spaces, context)),
        drift=tuple(_drift(objects, share)),
        notes=tuple(
            f"{change.target} is checked against the server's schema now and dry-run as soon as its namespace exists"
            for change in (one.change for one in objects)
            if change.checked == "schema" and change.identity == "circle"
        ),
    )


async def _spaces(cluster: Cluster, context: Context, rights: Rights, wanted: Iterable[Desired]) -> _Spaces:
    """What is live of the namespaces to ensure. The server's own reads: outside its namespaces a circle sees only 403.

    Raises:
        InfraError: `exists`, `namespace-not-bound`.
    """
    found = _Spaces()
    wanted = [one for one in wanted if one.identity == "server"]
    read = await gather(partial(read_once, cluster, context, one.ref, as_user=None) for one in wanted)
    found.live = {one.ref.key: live for one, live in zip(wanted, read, strict=True)}
    bindings = {one.ref.namespace: one for one in wanted if one.ref.kind == "RoleBinding"}
    for space in wanted:
        name, live = space.ref.name, found.live[space.ref.key]
        if space.ref.kind != "Namespace":
            continue
        bound = bindings.get(name)
        binding = found.live[bound.ref.key] if bound else None
        if live is None:
            found.to_make.add(name)
            continue
        if live["metadata"].get("deletionTimestamp"):
            what = f"Namespace {name} is being deleted."
            raise InfraError("exists", what, next_step="Send it again when it is gone.")
        if bound is None or binding is None:
            if not rights.own.made(space.ref, space.sets, live):
                what = f"Namespace {name} was there before and is not bound to this circle."
                raise InfraError("namespace-not-bound", what)
            found.to_make.add(name)
        elif not is_within(bound.sets["subjects"], binding.get("subjects") or []):
            raise InfraError("namespace-not-bound", f"Namespace {name} is not bound to this circle.")
    return found


def _is_late(ref: ObjectRef, spaces: _Spaces, context: Context) -> bool:
    """Whether an object lies in a namespace that is yet to be made, by this part or by one before it."""
    if ref.namespace is None or ref.key in spaces.live:
        return False
    return ref.namespace in spaces.to_make or _space(ref).key in context.made


def _space(ref: ObjectRef) -> Target:
    return Target(system="kubernetes", place=ref.cluster, scope=None, kind="Namespace", name=ref.namespace or "")


def _needs(wanted: Sequence[Desired], spaces: _Spaces, context: Context) -> list[Target]:
    """The namespaces of earlier parts that objects of this one lie in."""
    inside = {_space(one.ref).key: _space(one.ref) for one in wanted if one.ref.namespace}
    return [
        target for key, target in sorted(inside.items()) if key in context.made and target.name not in spaces.to_make
    ]


async def _live(
    cluster: Cluster,
    rights: Rights,
    wanted: Sequence[Desired],
    spaces: _Spaces,
    sources: Sequence[PullSecret],
    late: set[str],
    context: Context,
) -> dict[str, dict[str, Any] | None]:
    """Every object as it is live, by `ObjectRef.key`; none for those that cannot be there yet."""
    known = spaces.live | {one.copy_ref.key: None if one.copy_ref.key in late else one.live for one in sources}
    known |= dict.fromkeys(late, None)
    rest = [one.ref for one in wanted if one.ref.key not in known]
    read = await gather(partial(read_once, cluster, context, ref, as_user=rights.user) for ref in rest)
    return known | {ref.key: live for ref, live in zip(rest, read, strict=True)}


def _require_live(one: Desired, live: dict[str, Any] | None) -> None:
    """Where only fields are set, the object and the items of its lists must be live as git has them.

    Raises:
        InfraError: `not-in-cluster`.
    """
    if one.whole:
        return
    if live is None:
        where = f"is in {one.path} and not" if one.path else "is not"
        raise InfraError("not-in-cluster", f"{one.ref} {where} in the cluster.")
    if one.restarts and (live.get("spec") or {}).get("paused"):
        step = f"`kubectl rollout resume` it, or leave it as it is: {one.ref.kind}s that are paused replace no pods."
        raise InfraError(
            "object-invalid", f"The rollout of {one.ref} is paused, so nothing restarts it.", next_step=step
        )
    images = list(_addressed_images(one.sets))
    for repo in {repository(image.partition("@")[0]) for _, _, image in images}:
        ours = {(which, name) for which, name, image in images if repository(image.partition("@")[0]) == repo}
        theirs = {(which, name) for which, name, _ in containers_of(live, repo)}
        if ours != theirs:
            what = f"Other containers of {one.ref} run {repo} in {one.path} than in the cluster."
            raise InfraError("not-in-cluster", what, next_step="Bring git and cluster together by hand first.")


def _addressed_images(sets: dict[str, Any]) -> Iterable[tuple[str, str, str]]:
    spec = ((sets.get("spec") or {}).get("template") or {}).get("spec") or {}
    for which in ("initContainers", "containers"):
        for container in spec.get(which) or []:
            if isinstance(container.get("image"), str):
                yield which, str(container["name"]), container["image"]


def _refuse_updates_as_server(objects: Iterable[PlannedObject]) -> None:
    """The server's identity creates namespaces and bindings; it changes none that are there."""
    for one in objects:
        if one.desired.identity == "server" and one.change.operation == "update":
            fields = ", ".join(".".join(str(s) for s in f.path) for f in one.change.fields)
            what = f"{one.change.target} is there and differs in {fields}; infra-mcp only creates such objects."
            raise InfraError("cluster-denied", what, next_step="A cluster admin changes it.")


def _drift(objects: Iterable[PlannedObject], share: Share) -> Iterable[Drift]:
    """What git says of an object and the cluster does not, less what this change is about."""
    for one in objects:
        if one.desired.whole or not one.desired.path or one.live is None:
            continue
        for before in share.before.objects_of(one.desired.path):
            if before.ref.key == one.desired.ref.key:
                touched = [
                    path for side in (before.object, one.live) for path, *_ in differences(side, one.desired.sets)
                ]
                yield from drift(one.desired.ref, before.object, one.live, touched)


def _written(one: PlannedObject, share: Share) -> Written:
    """What is noted before the write: by this it is recognised and taken back."""
    undo: dict[str, Any] = {
        "api_version": one.desired.ref.api_version,
        "identity": one.desired.identity,
        "fields": [field.model_dump(mode="json") for field in one.undo_fields],
        "uid": one.live["metadata"]["uid"] if one.live else None,
        "grace": share.goal.grace,
    }
    return Written(target=one.change.target, operation=one.change.operation, undo=undo)
