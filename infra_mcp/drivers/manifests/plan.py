"""Plans a share: its objects compared with the live ones, each by a server-side dry run where one is possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import Any, Literal

from infra_mcp.clients.kube import FIELD_MANAGER, KubeError
from infra_mcp.clients.kube.errors import is_denied
from infra_mcp.drivers.base import Context, Prepared, Share
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.adopt import owners
from infra_mcp.drivers.kubernetes.diff import changes, drift
from infra_mcp.drivers.kubernetes.preflight import Right, require
from infra_mcp.drivers.kubernetes.revision import WORKLOADS
from infra_mcp.drivers.kubernetes.ssa import Proposal, in_notes
from infra_mcp.drivers.manifests.objects import (
    Access,
    Desired,
    PlannedObject,
    Work,
    in_build,
    in_files,
    left,
    without_file,
)
from infra_mcp.drivers.manifests.pull_secrets import PullSecret, PullSecrets
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather, gather_pair
from infra_mcp.model.digest import digest
from infra_mcp.model.effect import Change, Drift, FieldChange, show_path
from infra_mcp.model.image import Image
from infra_mcp.model.marks import BINDING
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.policy.guard.facts import traits
from infra_mcp.policy.images import added_images, new_images, places
from infra_mcp.repository.partial import differences, get_path, is_within, ordered_like

Live = dict[str, dict[str, Any] | None]  # by `ObjectRef.key`


@dataclass
class _Spaces:
    """The namespaces that the change ensures: the names of those to create, and the live namespaces and bindings."""

    to_make: set[str] = field(default_factory=set)
    live: Live = field(default_factory=dict)


async def plan(access: Access, secrets: PullSecrets, context: Context, share: Share) -> Prepared:
    """Plan a share. Reads only; the same state gives the same changes.

    Raises:
        InfraError: `namespace-not-bound`, `exists`, `pull-secret-unavailable`, `not-in-cluster`, `field-conflict`,
            `owned-elsewhere`, `object-invalid`, `cluster-denied`.
    """
    warned: dict[str, None] = {}
    access = replace(access, cluster=access.cluster.warning(warned.setdefault))
    wanted = in_files(share)
    context.require(Change(target=one.ref.target, operation="update", checked="none") for one in wanted)
    wanted += [one for build in share.builds for one in in_build(build)]
    wanted += [without_file(one, context.request) for one in share.beside if one.work != "pull-secret"]
    read = partial(secrets.read, context.policy, as_user=access.user, bound=None)
    copies = [(str(one.given["name"]), one.target.scope or "") for one in share.beside if one.work == "pull-secret"]
    reads = [partial(read, *copy) for copy in copies]
    spaces, sources = await gather_pair(partial(_spaces, access, wanted), partial(gather, reads))
    wanted += [Desired(one.copy_ref, one.body, content=one.content, secret=one.name) for one in sources]
    late = frozenset(one.ref.key for one in wanted if _is_late(one.ref, spaces, context))
    try:
        objects = await _objects(access, wanted, spaces, sources, late)
    except (KubeError, InfraError) as error:
        if is_denied(error):  # of one object; perhaps of more
            await require(access.cluster, _rights(access, wanted, late))
        raise
    _refuse_updates_as_server(objects)
    work = Work(tuple(objects), share.goal, late=bool(late))
    planned_changes = [one.change for one in objects]
    return Prepared(
        changes=tuple(sorted(planned_changes, key=lambda change: change.target.key)),
        writes=tuple(_written(one, share) for one in work.to_write),
        on_failure=share.goal.on_failure,
        timeout=share.goal.timeout,
        own=work,
        needs=tuple(_needs(wanted, spaces, context)),
        drift=tuple(_drift(objects, share)),
        notes=tuple(
            f"{name} is no longer given by the build, and stays" for build in share.builds for name in left(build)
        )
        + tuple(
            f"{change.target} is checked against the server's schema now and dry-run as soon as its namespace exists"
            for change in planned_changes
            if change.checked == "schema" and change.identity == "circle"
        )
        + in_notes(warned),
    )


async def _objects(
    access: Access, wanted: list[Desired], spaces: _Spaces, sources: Sequence[PullSecret], late: frozenset[str]
) -> list[PlannedObject]:
    """Read all objects and try their changes; ask for the rights that this does not show."""
    live = await _live(access, wanted, spaces, sources, late)
    for one in wanted:
        if one.ref.key not in late:
            _require_live(one, live[one.ref.key])
    wanted = [_settled(one, live[one.ref.key]) for one in wanted]
    await _refuse_autoscaled(access, wanted)
    rights = [one for want in wanted for one in _uncovered(access, want, live[want.ref.key], late)]
    tried = (partial(_planned, access, one, live[one.ref.key], late=one.ref.key in late) for one in wanted)
    _, objects = await gather_pair(partial(require, access.cluster, rights), partial(gather, tried))
    return objects


def _uncovered(access: Access, want: Desired, live: dict[str, Any] | None, late: frozenset[str]) -> Iterator[Right]:
    """The rights that no dry run covers: to see that a workload comes up, and to make a namespace and its bindings."""
    if want.identity == "server" and live is None:
        yield Right("create", want.ref, None)
        if want.ref.kind == "RoleBinding":
            yield Right("bind", want.ref, None, str(want.sets["roleRef"]["name"]))
    elif want.ref.kind in WORKLOADS and want.ref.key not in late:
        yield Right("watch", want.ref, access.user)


def _rights(access: Access, wanted: Iterable[Desired], late: frozenset[str]) -> list[Right]:
    """All that the circle needs for the objects of a change. To create one by apply needs `create` and `patch`."""
    found = []
    for one in wanted:
        if one.identity == "circle" and one.ref.key not in late:
            may_be_new = one.whole and not access.seen.get(one.ref.key)
            verbs = ["get", "patch"] + ["create"] * may_be_new + ["watch"] * (one.ref.kind in WORKLOADS)
            found += [Right(verb, one.ref, access.user) for verb in verbs]
    return found


async def _spaces(access: Access, wanted: Iterable[Desired]) -> _Spaces:
    """Read the namespaces to ensure, as the server: outside its namespaces a circle gets only 403."""
    wanted = [one for one in wanted if one.identity == "server"]
    read = await gather(partial(access.get_once, one.ref) for one in wanted)
    found = _Spaces(live={one.ref.key: live for one, live in zip(wanted, read, strict=True)})
    bindings = {one.ref.namespace: one for one in wanted if one.ref.kind == "RoleBinding" and one.ref.name == BINDING}
    for space in wanted:
        name, live, bound = space.ref.name, found.live[space.ref.key], bindings.get(space.ref.name)
        if space.ref.kind != "Namespace":
            continue
        if live is None:
            found.to_make.add(name)
            continue
        if live["metadata"].get("deletionTimestamp"):
            raise InfraError(
                "exists", f"Namespace {name} is being deleted.", next_step="Send it again when it is gone."
            )
        binding = found.live[bound.ref.key] if bound else None
        if bound is None or binding is None:
            if not access.own.made(space.ref, space.sets, live):
                raise InfraError("namespace-not-bound", f"Namespace {name} exists and is not bound to this circle.")
            found.to_make.add(name)
        elif not is_within({"subjects": bound.sets["subjects"]}, binding):
            raise InfraError("namespace-not-bound", f"Namespace {name} is not bound to this circle.")
    return found


def _is_late(ref: ObjectRef, spaces: _Spaces, context: Context) -> bool:
    """Whether an object lies in a namespace that this part or one before it creates."""
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
    access: Access, wanted: Sequence[Desired], spaces: _Spaces, sources: Sequence[PullSecret], late: frozenset[str]
) -> Live:
    """Every live object; None for those that cannot exist yet."""
    known = spaces.live | {one.copy_ref.key: one.live for one in sources} | dict.fromkeys(late, None)
    rest = [one.ref for one in wanted if one.ref.key not in known]
    read = await gather(partial(access.get_once, ref) for ref in rest)
    return known | {ref.key: live for ref, live in zip(rest, read, strict=True)}


def _require_live(one: Desired, live: dict[str, Any] | None) -> None:
    """Where only fields are set, require that the object and its containers are live as git has them."""
    if one.whole:
        return
    if live is None:
        where = f"is in {one.path} and not" if one.path else "is not"
        raise InfraError("not-in-cluster", f"{one.ref} {where} in the cluster.")
    if one.restarts and (live.get("spec") or {}).get("paused"):
        step = f"`kubectl rollout resume` it, or leave it: a paused {one.ref.kind} replaces no pods."
        what = f"The rollout of {one.ref} is paused, so nothing restarts it."
        raise InfraError("object-invalid", what, next_step=step)
    images = list(_addressed_images(one.sets))
    for repo in {Image.parse(image).repository for _, _, image in images}:
        ours = {(which, name) for which, name, image in images if Image.parse(image).repository == repo}
        if (ours if one.git is None else places(one.git, repo)) != places(live, repo):
            what = f"Other containers of {one.ref} run {repo} in {one.path} than in the cluster."
            raise InfraError("not-in-cluster", what, next_step="Bring git and cluster together by hand first.")


def _addressed_images(sets: dict[str, Any]) -> Iterable[tuple[str, str, str]]:
    spec = ((sets.get("spec") or {}).get("template") or {}).get("spec") or {}
    for which in ("initContainers", "containers"):
        for container in spec.get(which) or []:
            if isinstance(container.get("image"), str):
                yield which, str(container["name"]), container["image"]


def _refuse_updates_as_server(objects: Iterable[PlannedObject]) -> None:
    """The server's identity creates namespaces and bindings; it changes none that exist."""
    for one in objects:
        if one.desired.identity == "server" and one.change.operation == "update":
            fields = ", ".join(show_path(field.path)[1:] for field in one.change.fields)
            what = f"{one.change.target} exists and differs in {fields}; infra-mcp only creates such objects."
            raise InfraError("cluster-denied", what, next_step="A cluster admin changes it.")


def _drift(objects: Iterable[PlannedObject], share: Share) -> Iterable[Drift]:
    """Where git and cluster differ in an object, except in what this change sets."""
    for one in objects:
        if one.desired.whole or not one.desired.path or one.live is None:
            continue
        there = share.before.objects_of(one.desired.path) if one.desired.git is None else ()
        held = [before.object for before in there if before.ref.key == one.desired.ref.key]
        for before in held or filter(None, [one.desired.git]):
            touched = [path for side in (before, one.live) for path, *_ in differences(side, one.desired.sets)]
            yield from drift(one.desired.ref, before, one.live, touched)


def _written(one: PlannedObject, share: Share) -> Written:
    """The record before the write, which recognises and undoes it.

    The undo restores the live values: git's differ when someone changed the cluster by hand.
    """
    fields = _set_fields(one.desired.sets, one.live) if one.live and not one.desired.content else ()
    fields += tuple(
        FieldChange(path=path, before=get_path(one.live, path)[1], has=False) for path in one.desired.removes
    )
    undo: dict[str, Any] = {
        "api_version": one.desired.ref.api_version,
        "identity": one.desired.identity,
        "fields": [field.model_dump(mode="json") for field in fields],
        "uid": one.live["metadata"]["uid"] if one.live else None,
        "grace": share.goal.grace,
    }
    if one.desired.generated and one.live is None:
        undo["generated"] = True
    return Written(target=one.change.target, operation=one.change.operation, undo=undo)


async def _planned(access: Access, want: Desired, live: dict[str, Any] | None, *, late: bool) -> PlannedObject:
    """Compare one desired object with the live one.

    Args:
        access: the cluster, as the request may use it.
        want: the object.
        live: the live object; None when it is not there.
        late: whether it lies in a namespace that does not exist yet.

    Raises:
        InfraError: `field-conflict`, `owned-elsewhere`, `object-invalid`, `cluster-denied`.
    """
    same: Any = {
        "target": want.ref.target,
        "identity": want.identity,
        "intent": want.content or digest([want.sets, want.removes] if want.removes else want.sets),
    }
    if live is not None and is_within(want.sets, live) and not want.removes:
        return PlannedObject(want, Change(operation="unchanged", checked="none", **same), live)
    operation: Literal["create", "update"] = "create" if live is None else "update"
    proposal = None
    if want.identity == "server" or late:
        # The namespace does not exist yet, or only its creation is ours: checked offline, dry-run as soon as it exists.
        if faults := await access.cluster.schema_errors(want.sets):
            raise InfraError("object-invalid", f"{want.ref}: {'; '.join(faults[:5])}.")
        if want.ref.kind == "ServiceAccount" and want.ref.name == "default":
            operation = "update"  # a controller creates it
        same["checked"] = "schema"
    else:
        proposal = await dry_run(access, want, live)
        _refuse_defaults(want, proposal)
        live, same["takes"] = proposal.live, proposal.takes
    fields = _shown(want, live) if proposal is None or want.content else changes(proposal.live, proposal.dry)
    change = Change(operation=operation, fields=fields, **same)
    whole, before = (want.sets, None) if proposal is None else (proposal.dry, proposal.live)
    images = dict.fromkeys([*new_images(change), *added_images(whole, before)])
    judged = {"images": tuple(images), "traits": traits(whole, before)}
    return PlannedObject(want, change.model_copy(update=judged), live, proposal)


async def dry_run(access: Access, want: Desired, live: dict[str, Any] | None) -> ssa.Proposal:
    """Propose an object as the circle. Replicas may be taken over from `kubectl scale`, which writes by `scale`."""
    through = ("scale",) if _scales(want) else ()
    rest: Any = {"adopt": access.adopt, "removes": want.removes, "through": through}
    return await ssa.propose(access.cluster, want.ref, live, want.sets, as_user=access.user, **rest)


def _settled(want: Desired, live: dict[str, Any] | None) -> Desired:
    """The object with its items in the order of the live ones, and of its removals those of fields that we own."""
    ours = tuple(path for path in want.removes if FIELD_MANAGER in owners(live or {}, path))
    return replace(want, sets=ordered_like(want.sets, live), removes=ours)


def _refuse_defaults(want: Desired, proposal: Proposal) -> None:
    """Refuse to remove a field for which the API server then sets a value of its own: it is not the former one."""
    for path in want.removes:
        found, value = get_path(proposal.dry, path)
        if found:
            what = f"{want.path} set no {show_path(path)} before. Without it the API server would set {value!r}."
            step = "Send a request for the value that is wanted."
            raise InfraError("no-rollback", f"{want.ref}: {what}", next_step=step)


def _shown(want: Desired, live: dict[str, Any] | None) -> tuple[FieldChange, ...]:
    """The set fields as changes; hidden content shows as its keyed hash only."""
    if want.content:
        before = None if live is None else "other"
        return (FieldChange(path=("content",), after=want.content, had=live is not None, before=before),)
    return _set_fields({k: v for k, v in want.sets.items() if k not in {"apiVersion", "kind"}}, live or {})


def _set_fields(sets: dict[str, Any], live: dict[str, Any]) -> tuple[FieldChange, ...]:
    """The set fields that the live object has otherwise, as changes."""
    return tuple(
        FieldChange(path=path, before=before, after=after, had=had)
        for path, before, after, had in differences(live, sets)
    )


async def _refuse_autoscaled(access: Access, wanted: Iterable[Desired]) -> None:
    """Refuse to set the replicas of a workload that an autoscaler scales (`autoscaling/v2`, also KEDA's).

    Raises:
        InfraError: `owned-elsewhere`, naming the autoscaler; `cluster-denied`: the circle may not list autoscalers.
    """
    for one in filter(_scales, wanted):
        for scaler in await _autoscalers(access, one.ref.namespace or ""):
            target = scaler["spec"].get("scaleTargetRef") or {}
            if (target.get("kind"), target.get("name")) == (one.ref.kind, one.ref.name):
                name = f"{one.ref.namespace}/{scaler['metadata']['name']}"
                what = f"{one.ref} is scaled by the autoscaler {name}, which would set its own number."
                raise InfraError("owned-elsewhere", what, next_step="Change the autoscaler's bounds in its manifest.")


async def _autoscalers(access: Access, namespace: str) -> list[dict[str, Any]]:
    try:
        listed = await access.cluster.list("autoscaling/v2", "HorizontalPodAutoscaler", namespace, as_user=access.user)
    except KubeError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        what = f"The circle's role may not list the autoscalers of {namespace}, and one could undo a scaling."
        step = "A cluster admin applies the current output of `infra-mcp rbac render`."
        raise InfraError("cluster-denied", what, next_step=step) from error
    found: list[dict[str, Any]] = listed["items"]
    return found


def _scales(one: Desired) -> bool:
    return not one.whole and "replicas" in (one.sets.get("spec") or {})
