"""Server-side apply of exactly the fields a request sets: proposed by a dry run, then written as proposed.

The body of every apply is what we own, with its live values, and what the request sets. A field that others own is
taken over only when policy allows it for that owner, and only as the forced dry run showed it. Only this module forces:
in `_adoption`, after the owners were checked, and in `write`, for what that showed.

A write carries uid and resourceVersion of the read it was proposed on; a create carries resourceVersion "1", which no
object has, so that it never changes an existing one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from secrets import token_hex
from typing import Any

import anyio

from infra_mcp.clients.kube import Cluster, KubeError
from infra_mcp.drivers.kubernetes import adopt as adoption
from infra_mcp.drivers.kubernetes.diff import changes
from infra_mcp.drivers.kubernetes.owner import deliverer
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.effect import FieldPath, Takeover, show_path
from infra_mcp.model.marks import REQUEST, WRITE
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.partial import Lists, covers, get_path, leaves, merge, remove_path
from infra_mcp.text import named, one_line, quoted

MAX_NOTED = 20  # warnings in the notes of one plan
TRIES = 8  # writes of one proposal while only fields it does not read or write move
BREATH = 0.01  # seconds, longer each time
SETTLE = 0.25  # seconds after a broken write before the object is read
_IDENTITY = ("apiVersion", "kind")


@dataclass(frozen=True)
class Proposal:
    """One object, as it is and as the API server says it would be."""

    ref: ObjectRef
    live: dict[str, Any] | None  # None: it would be created
    dry: dict[str, Any]
    sets: dict[str, Any]
    adopt: tuple[str, ...]
    removes: tuple[FieldPath, ...] = ()
    through: tuple[str, ...] = ()
    body: dict[str, Any] = field(default_factory=dict)  # what will be applied, without version and mark
    force: bool = False  # the write takes the fields in `takes`, and no others
    takes: tuple[Takeover, ...] = ()

    @property
    def unchanged(self) -> bool:
        """Whether the live object is already as asked; then `write` writes nothing."""
        return self.live is not None and not changes(self.live, self.dry)


async def propose(
    cluster: Cluster,
    ref: ObjectRef,
    live: dict[str, Any] | None,
    sets: Mapping[str, Any],
    *,
    as_user: str | None,
    adopt: Sequence[str],
    removes: Sequence[FieldPath] = (),
    through: Iterable[str] = (),
) -> Proposal:
    """Find out by dry run what setting some fields of an object does; nothing is written.

    No request when the live object has all of them already; one dry run when no other owns the fields; two when
    their owner's fields may be taken over.

    Args:
        cluster: the connection.
        ref: the object.
        live: the object as just read; None when it is not there.
        sets: a partial object: only the fields to set; items of keyed lists with their keys, atomic lists whole.
        as_user: the service account to act as; None for the server's own identity.
        adopt: patterns of managers whose fields may be taken.
        removes: fields that we own and that the apply removes.
        through: subresources through which such a manager may have written: `scale`, once no autoscaler is there.

    Raises:
        InfraError: `field-conflict` naming field and owner, `owned-elsewhere`, `object-invalid`, or the API server's
            own refusal.
        Moved: the object is not as it was read.
    """
    wanted = _partial(sets)
    if live is None:
        body = merge(ref.identity, wanted)
        with _translated(ref, HTTPStatus.CONFLICT):
            dry = await cluster.dry_run(_create_only(body), as_user=as_user)
        return Proposal(ref, None, dry, wanted, tuple(adopt), body=body)
    read = live
    for _ in range(TRIES):
        owner = deliverer(live)
        if owner:
            raise InfraError("owned-elsewhere", f"{ref} belongs to {named(str(owner))}.")
        start = Proposal(ref, live, live, wanted, tuple(adopt), tuple(removes), tuple(through))
        if covers(live, wanted, adoption.lists(live)) and not any(get_path(live, path)[0] for path in removes):
            return start
        try:
            return await _update(cluster, replace(start, body=_body(start)), as_user)
        except Moved:
            # A status moves all the time. What is set or removed must still be as the caller saw it.
            live = await _read(cluster, ref, as_user)
            if live is None or not _same(read, live, start):
                raise
    raise Moved(str(ref))


async def write(
    cluster: Cluster, proposal: Proposal, *, as_user: str | None, request: str, nonce: str = ""
) -> dict[str, Any]:
    """Write a proposal, marked with the request's id; nothing when the object is already as asked.

    When only fields moved that the proposal neither reads nor writes (a Deployment's status does all the time), it is
    proposed again, and written if the result is the same.

    Args:
        cluster: the connection.
        proposal: the result of `propose`.
        as_user: the same identity as there.
        request: the request's id, for the annotation `infra-mcp.dev/request`.
        nonce: recognises a create later, in the annotation `infra-mcp.dev/write`; a new one when left out.

    Returns:
        The object as written, or as it is.

    Raises:
        Moved: the object is not as it was proposed on; nothing was written.
        InfraError: `exists`: a create met an object; or the API server's own refusal.
        KubeError: the connection broke during the write, and the object does not show it (`is_unknown`).
    """
    marks = {REQUEST: request} | ({WRITE: nonce or token_hex(16)} if proposal.live is None else {})
    for attempt in range(TRIES):
        live = proposal.live
        if live is not None and proposal.unchanged:
            return live
        body = _marked(proposal, marks)
        body = _create_only(body) if live is None else _bound(body, live)
        try:
            written, _ = await cluster.write(body, as_user=as_user, force=proposal.force)
        except KubeError as error:
            if error.is_unknown:
                return await _observe(cluster, proposal, error, as_user, marks)
            if live is None and error.status == HTTPStatus.CONFLICT:
                raise InfraError("exists", f"{proposal.ref} was created by someone else meanwhile.") from error
            if not error.status:
                raise
            if not error.is_version_conflict and not error.is_field_conflict:
                raise error.translate(proposal.ref) from error
            await anyio.sleep(BREATH * attempt)  # a controller writes several times in a row
            proposal = await _again(cluster, proposal, as_user)
        else:
            return written
    raise Moved(str(proposal.ref))


def _body(start: Proposal) -> dict[str, Any]:
    """The fields that we own, with those that are set and without those that are removed."""
    live = start.live or {}
    ours = adoption.owned_by_us(live)
    if ours and ours.get("apiVersion") != start.ref.api_version:
        what = (
            f"{start.ref} was last written by us as {named(str(ours.get('apiVersion')))}, not {start.ref.api_version}."
        )
        raise InfraError("object-invalid", what, next_step="Write the manifest in that version.")
    lists = adoption.lists(live)
    _check_atomic(start, lists)
    body = merge(adoption.extract(live), start.sets, lists)
    for path in start.removes:
        remove_path(body, path)
    return body


async def _update(cluster: Cluster, proposal: Proposal, as_user: str | None) -> Proposal:
    """Dry-run the update of a live object; on a conflict, as an adoption."""
    with _translated(proposal.ref):
        try:
            dry = await cluster.dry_run(_bound(proposal.body, proposal.live or {}), as_user=as_user)
            proposal = replace(proposal, dry=dry)
        except KubeError as error:
            if not error.is_field_conflict:
                raise
            proposal = await _adoption(cluster, proposal, error, as_user)
    _check_removals(proposal)
    return proposal


async def _adoption(cluster: Cluster, proposal: Proposal, conflict: KubeError, as_user: str | None) -> Proposal:
    """Find out by a forced dry run what would be taken over, after checking that every named owner may lose it."""
    live = proposal.live or {}
    refused = [c for c in conflict.causes if not _adoptable(c.manager, c.subresource, proposal)]
    if refused:
        raise KubeError(conflict.status, conflict.reason, conflict.message, tuple(refused)).translate(proposal.ref)
    dry = await cluster.dry_run(_bound(proposal.body, live), as_user=as_user, force=True)
    known = adoption.lists(live, dry)
    ours = [*leaves(proposal.sets, known), *proposal.removes]
    lost = adoption.lost_fields(live, dry)
    for one in lost:
        if not _adoptable(one.manager, one.subresource, proposal) or not _within(one.path, ours):
            what = f"{proposal.ref}: {show_path(one.path)} is owned by {named(one.manager)}."
            raise InfraError("field-conflict", what)
    taken = {(show_path(one.path), named(one.manager)): one.operation for one in lost}
    for cause in conflict.causes:  # an object without managedFields: its owner is only in the conflict
        if not any(path == cause.field for path, _ in taken):
            taken[cause.field, cause.manager] = "Update"
    takes = (Takeover(field=path, manager=who, operation=how) for (path, who), how in sorted(taken.items()))
    return replace(proposal, dry=dry, force=True, takes=tuple(takes))


async def _again(cluster: Cluster, proposal: Proposal, as_user: str | None) -> Proposal:
    """The same proposal on the object as it is now, if it is still the same."""
    live = await _read(cluster, proposal.ref, as_user)
    if live is None or proposal.live is None or live["metadata"]["uid"] != proposal.live["metadata"]["uid"]:
        raise Moved(str(proposal.ref))
    kept: Any = {"adopt": proposal.adopt, "removes": proposal.removes, "through": proposal.through}
    fresh = await propose(cluster, proposal.ref, live, proposal.sets, as_user=as_user, **kept)
    if _shown(fresh) != _shown(proposal):
        raise Moved(str(proposal.ref))
    return fresh


async def _observe(
    cluster: Cluster, proposal: Proposal, unknown: KubeError, as_user: str | None, marks: Mapping[str, str]
) -> dict[str, Any]:
    """After a write without an answer: the object, if it shows our marks and our fields."""
    await anyio.sleep(SETTLE)
    try:
        live = await cluster.get(proposal.ref, as_user=as_user)
    except KubeError:
        raise unknown from None
    if live is None:
        raise unknown
    if proposal.live is None:
        is_ours = adoption.carries(live, marks[WRITE])
    else:
        is_ours = adoption.shows(live, marks[REQUEST], proposal.live["metadata"]["uid"])
    paths = [*leaves(proposal.sets, adoption.lists(proposal.dry)), *proposal.removes]
    if is_ours and all(get_path(live, path) == get_path(proposal.dry, path) for path in paths):
        return live
    raise unknown


async def _read(cluster: Cluster, ref: ObjectRef, as_user: str | None) -> dict[str, Any] | None:
    with _translated(ref):
        return await cluster.get(ref, as_user=as_user)


@contextmanager
def _translated(ref: ObjectRef, *moved: HTTPStatus) -> Iterator[None]:
    """Raise the product's errors for the cluster's; without an answer its own, so that the caller waits and retries."""
    try:
        yield
    except KubeError as error:
        if error.is_version_conflict or error.status in moved:
            raise Moved(str(ref)) from error
        if not error.status:
            raise
        raise error.translate(ref) from error


def _shown(proposal: Proposal) -> tuple[Any, ...]:
    """The part of a proposal that a plan shows."""
    return changes(proposal.live, proposal.dry), set(proposal.takes), proposal.force


def _adoptable(manager: str, subresource: str, proposal: Proposal) -> bool:
    """Whether policy lets this manager lose a field; one behind a subresource only where the caller allows it."""
    if subresource and subresource not in proposal.through:
        return False  # autoscalers write so
    return bool(manager) and any(fnmatchcase(manager, pattern) for pattern in proposal.adopt)


def _within(path: FieldPath, ours: Sequence[FieldPath]) -> bool:
    return any(path[: len(leaf)] == leaf for leaf in ours)


def _same(read: dict[str, Any], live: dict[str, Any], start: Proposal) -> bool:
    """Whether it is the same object with the same values in all that is set or removed."""
    paths = [*leaves(start.sets, adoption.lists(read)), *start.removes]
    return read["metadata"]["uid"] == live["metadata"]["uid"] and all(
        get_path(read, path) == get_path(live, path) for path in paths
    )


def _check_atomic(start: Proposal, lists: Lists) -> None:
    """Refuse to replace an atomic list by items that lack fields of their live namesakes, as if it were keyed."""
    for path in leaves(start.sets, lists):
        new, old = get_path(start.sets, path)[1], get_path(start.live, path)[1]
        if not isinstance(new, list) or not isinstance(old, list):
            continue
        named = {item["name"]: item for item in old if isinstance(item, dict) and isinstance(item.get("name"), str)}
        if any(isinstance(i, dict) and set(named.get(str(i.get("name")), {})) - set(i) for i in new):
            what = f"{start.ref}: {show_path(path)} is one value there; it cannot be changed in part."
            raise InfraError("object-invalid", what)


def _check_removals(proposal: Proposal) -> None:
    """Refuse to remove more than was asked; and a removal that has no effect, since others own the field too."""
    live = proposal.live or {}
    ours = [*leaves(proposal.sets, adoption.lists(live, proposal.dry)), *proposal.removes]
    for change in changes(live, proposal.dry):
        if not change.has and not _within(change.path, ours):
            raise InfraError("object-invalid", f"{proposal.ref}: it would also remove {show_path(change.path)}.")
    for path in proposal.removes:
        others = adoption.owners(live, path, others=True)
        if others and get_path(proposal.dry, path)[0]:
            what = f"{proposal.ref}: {show_path(path)} stays, since {one_line(', '.join(others))} owns it too."
            raise InfraError("field-conflict", what)


def _partial(sets: Mapping[str, Any]) -> dict[str, Any]:
    """The set fields without the identity, which is the reference's."""
    wanted = {key: value for key, value in sets.items() if key not in _IDENTITY}
    metadata = {k: v for k, v in (wanted.pop("metadata", None) or {}).items() if k not in {"name", "namespace"}}
    return wanted | ({"metadata": metadata} if metadata else {})


def _create_only(body: dict[str, Any]) -> dict[str, Any]:
    return merge(body, {"metadata": {"resourceVersion": "1"}})


def _bound(body: dict[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    """The body for this very object in this very version."""
    about = live["metadata"]
    return merge(body, {"metadata": {"uid": about["uid"], "resourceVersion": about["resourceVersion"]}})


def _marked(proposal: Proposal, marks: Mapping[str, str]) -> dict[str, Any]:
    """The body with the request's marks, without one that someone copied and owns: it is not worth a conflict."""
    path, live = ("metadata", "annotations"), proposal.live or {}
    ours = {key: value for key, value in marks.items() if not adoption.owners(live, (*path, key), others=True)}
    return merge(proposal.body, {"metadata": {"annotations": ours}}) if ours else proposal.body


def in_notes(warned: Iterable[str]) -> tuple[str, ...]:
    """What the API server warns of in dry runs, as notes of a plan."""
    found = list(warned)
    more = (f"the API server has {len(found) - MAX_NOTED} more warnings",) if len(found) > MAX_NOTED else ()
    return tuple(f"the API server warns: {quoted(one, 1000)}" for one in found[:MAX_NOTED]) + more
