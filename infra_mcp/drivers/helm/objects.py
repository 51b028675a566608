"""What a release does to each object: dry-run by the API server, as Helm would apply it and as the identity it has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from infra_mcp.clients.helm.folder import MANAGER
from infra_mcp.clients.kube import KubeError
from infra_mcp.drivers.helm.access import Access
from infra_mcp.drivers.helm.rendered import Rendered, owned, owner_of
from infra_mcp.drivers.kubernetes.adopt import lost_fields, owners
from infra_mcp.drivers.kubernetes.diff import changes, gone
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.digest import canonical, keyed
from infra_mcp.model.effect import Change, FieldChange, FieldPath, Takeover, show_path
from infra_mcp.model.target import Target
from infra_mcp.policy.guard.facts import traits
from infra_mcp.policy.images import added_images, new_images
from infra_mcp.repository.helm.declared import Release
from infra_mcp.repository.partial import get_path, remove_path

_SHOWN: Final = "[differs each time]"
_LOOKS: Final = 10  # at an object that controllers write to meanwhile
_BEFORE_CREATION: Final = "before-hook-creation"


@dataclass(frozen=True)
class PlannedObject:
    """One object of a release, with what the dry run answered."""

    rendered: Rendered
    change: Change
    live: dict[str, Any] | None = field(repr=False)
    forced: bool = False  # whether it takes fields that another manager holds

    @property
    def is_settled(self) -> bool:
        """Whether it is live as rendered, but for what differs each time."""
        if self.change.operation == "unchanged":
            return True
        steady = (one for one in self.change.fields if not _within(one.path, self.rendered.volatile))
        return self.live is not None and next(steady, None) is None and not self.change.takes


async def planned(
    access: Access, release: Release, one: Rendered, former: Rendered | None, *, late: bool
) -> PlannedObject:
    """Compare one rendered object with the live one.

    Args:
        access: the cluster, as the request may use it.
        release: which renders it.
        one: the object.
        former: the object as the current revision has it; None where that has none.
        late: whether its namespace does not exist yet.

    Raises:
        InfraError: `exists`, `owned-elsewhere`: it is there and not of this release; `object-invalid`,
            `cluster-denied`.
    """
    body = owned(one.body, release.name, release.namespace)
    about = _about(access, release, one)
    if late:
        if faults := await access.cluster.schema_errors(body):
            raise InfraError("object-invalid", f"{one.ref}: {'; '.join(faults[:5])}.")
        fields = tuple(_stable(changes(None, body), one))
        change = Change(operation="create", fields=fields, checked="schema", **about)
        return PlannedObject(one, _judged(change, body, None), None)
    live, dry, forced = await _compared(access, release, one, former, body)
    takes = tuple(_takes(one, live, dry, forced)) if live is not None else ()
    dry = _without_gone(live, dry, former, one)
    fields = tuple(_stable(changes(live, dry), one))
    if live is not None and not fields:
        return PlannedObject(one, Change(operation="unchanged", **about), live)
    operation: Literal["create", "update"] = "create" if live is None else "update"
    change = Change(operation=operation, fields=fields, takes=takes, **about)
    return PlannedObject(one, _judged(change, dry, live), live, forced)


async def _compared(
    access: Access, release: Release, one: Rendered, former: Rendered | None, body: dict[str, Any]
) -> tuple[dict[str, Any] | None, dict[str, Any], bool]:
    """The live object, and what the dry run made of that very state: what a controller writes in between is no change.

    Raises:
        Moved: it does not hold still.
    """
    for _ in range(_LOOKS):
        live = await access.get_once(one.ref)
        if live is not None and former is None:
            _require_ours(live, one, release)
        dry, forced = await _dry_run(access, one, _named(body, one, live))
        # A dry run answers with the version of the object that it started from.
        if live is None or dry["metadata"].get("resourceVersion") == live["metadata"].get("resourceVersion"):
            return live, dry, forced
        access.context.seen.pop(one.ref.key, None)
    raise Moved(str(one.ref))


async def planned_hook(access: Access, release: Release, one: Rendered, *, late: bool) -> Change:
    """What a hook is that a release runs: all of its object.

    One that is there from the last run is deleted before: so it is tried under another name.
    """
    about = _about(access, release, one)
    if late:
        if faults := await access.cluster.schema_errors(one.body):
            raise InfraError("object-invalid", f"hook {one.ref}: {'; '.join(faults[:5])}.")
        change = Change(operation="run", fields=changes(None, one.body), checked="schema", **about)
        return _judged(change, one.body, None)
    body = one.body
    live = await access.get_once(one.ref)
    if live is not None and one.hook is not None and _BEFORE_CREATION in (one.hook.delete or (_BEFORE_CREATION,)):
        other = hashlib.sha256(one.ref.key.encode()).hexdigest()[:10]
        body = {**body, "metadata": {**body["metadata"], "name": f"{one.ref.name[:40].rstrip('-.')}-{other}"}}
    dry, _ = await _dry_run(access, one, body)
    fields = tuple(_stable(changes(None, dry), one))
    return _judged(Change(operation="run", fields=fields, **about), {**dry, "metadata": one.body["metadata"]}, None)


def as_rendered(access: Access, release: Release, one: Rendered, former: dict[str, Any] | None) -> Change:
    """The change of an object, as far as its rendering shows it.

    Args:
        access: the cluster.
        release: which renders it.
        one: the object or hook.
        former: its body in the current revision; None where that has none.
    """
    about = _about(access, release, one) | {"checked": "none"}
    if former == one.body:
        return Change(operation="unchanged", **about)
    return _judged(Change(operation="update" if former else "create", **about), one.body, former)


def _about(access: Access, release: Release, one: Rendered) -> dict[str, Any]:
    target: Target = one.ref.target
    return {
        "target": target,
        "identity": "helm",
        "by": access.target(release.namespace, release.name).key,
        "intent": keyed(access.key, canonical(one.stable)),
    }


def _judged(change: Change, whole: dict[str, Any], before: dict[str, Any] | None) -> Change:
    """A change with what policy judges of its object: the images that it newly runs, and its traits."""
    images = dict.fromkeys([*new_images(change), *added_images(whole, before)])
    return change.model_copy(update={"images": tuple(images), "traits": traits(whole, before)})


def _require_ours(live: Mapping[str, Any], one: Rendered, release: Release) -> None:
    """Refuse what Helm would refuse: an object that is there and of no release, or of another one."""
    owner = owner_of(live)
    if owner is None:
        what = f"{one.ref} exists, and no Helm release has it."
        step = f"Delete it, or let Helm take it: label and annotate it as of release {release.name} (docs/helm.md)."
        raise InfraError("exists", what, next_step=step)
    if owner != release.key:
        what = f"{one.ref} belongs to release {owner[0]}/{owner[1]}, and {release} renders it too."
        raise InfraError("owned-elsewhere", what)


def _named(body: dict[str, Any], one: Rendered, live: Mapping[str, Any] | None) -> dict[str, Any]:
    """The body that the API server is asked about: bound to the object that was read."""
    metadata = dict(body["metadata"]) | ({"namespace": one.ref.namespace} if one.ref.namespace else {})
    if live is not None:
        metadata["uid"] = live["metadata"]["uid"]
    return {**body, "metadata": metadata}


async def _dry_run(access: Access, one: Rendered, body: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Apply as Helm does, without writing; where others hold fields, whatever it would take."""
    metadata = dict(body["metadata"]) | ({"namespace": one.ref.namespace} if one.ref.namespace else {})
    asked = {**body, "metadata": metadata}
    try:
        return await access.cluster.dry_run(asked, as_user=access.user, manager=MANAGER), False
    except KubeError as error:
        if error.is_version_conflict:
            raise Moved(str(one.ref)) from error
        if not error.is_field_conflict:
            raise error.translate(one.ref) from error
    try:
        return await access.cluster.dry_run(asked, as_user=access.user, manager=MANAGER, force=True), True
    except KubeError as error:
        raise error.translate(one.ref) from error


def _takes(one: Rendered, live: Mapping[str, Any], dry: Mapping[str, Any], forced: bool) -> Iterator[Takeover]:
    """The fields that other managers lose. What Helm itself wrote by an update (helm/helm#31516) is its own."""
    for lost in lost_fields(live, dry) if forced else ():
        if lost.manager != MANAGER and not _within(lost.path, one.volatile):
            yield Takeover(field=show_path(lost.path), manager=lost.manager, operation=lost.operation)


def _within(path: FieldPath, others: tuple[FieldPath, ...]) -> bool:
    return any(path[: len(other)] == other for other in others)


def _without_gone(
    live: Mapping[str, Any] | None, dry: dict[str, Any], former: Rendered | None, one: Rendered
) -> dict[str, Any]:
    """The answer without the fields that the chart renders no longer: Helm removes those that it has."""
    for path in gone(former.body, one.body) if live is not None and former is not None else ():
        found, _ = get_path(dry, path)
        if found and set(owners(live or {}, path)) <= {MANAGER}:
            remove_path(dry, path)
    return dry


def _stable(fields: tuple[FieldChange, ...], one: Rendered) -> Iterator[FieldChange]:
    """The changes of fields; of one that differs each time, only that it does."""
    for change in fields:
        if not _within(change.path, one.volatile):
            yield change
        elif change.after != "[hidden]":
            yield change.model_copy(update={"before": None, "had": False, "after": _SHOWN})
