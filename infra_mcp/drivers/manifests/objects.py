"""The objects that a share of an edit is about, and the access to the cluster they are planned and written with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.base import Build, Context, Share
from infra_mcp.drivers.kubernetes.adopt import Own
from infra_mcp.drivers.kubernetes.diff import gone
from infra_mcp.drivers.kubernetes.revision import WORKLOADS
from infra_mcp.drivers.kubernetes.ssa import Proposal
from infra_mcp.errors import InfraError
from infra_mcp.model.effect import Change, FieldPath
from infra_mcp.model.marks import RESTART
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.target import Target
from infra_mcp.repository.edits import Beside, Goal, Location
from infra_mcp.repository.partial import differences, get_path, merge, set_path
from infra_mcp.repository.render import Located

_VERSIONS = {"apps": "apps/v1", "rbac.authorization.k8s.io": "rbac.authorization.k8s.io/v1", "": "v1"}
# What a circle cannot make: its namespace and its binding are read and written with the server's rights.
_AS_SERVER = frozenset({"Namespace", "RoleBinding"})


@dataclass(frozen=True)
class Access:
    """A cluster, and the identity that a request reads and writes objects with."""

    cluster: Cluster
    user: str  # the circle's identity
    adopt: tuple[str, ...]  # managers that may lose a field
    own: Own  # recognises this request's own writes
    seen: dict[str, Any] = field(repr=False)  # the reads of this planning

    @classmethod
    def of(cls, context: Context, cluster: Cluster) -> Access:
        """The access of a request's circle, by the policy in force."""
        user = context.policy.service_account(context.circle, cluster.name)
        return cls(cluster, user, context.policy.tree.adopt, Own(context.request, context.nonce), context.seen)

    async def get(self, ref: ObjectRef) -> dict[str, Any] | None:
        """The live object, read with the identity that may read its kind; None when it is not there."""
        return await self.cluster.get(ref, as_user=None if ref.kind in _AS_SERVER else self.user)

    async def get_once(self, ref: ObjectRef) -> dict[str, Any] | None:
        """The same, read once in one planning: what the edit has read, the plan does not read again."""
        if ref.key not in self.seen:
            self.seen[ref.key] = await self.get(ref)
        found: dict[str, Any] | None = self.seen[ref.key]
        return found


@dataclass(frozen=True)
class Desired:
    """One object that the change is about, as the fields it sets."""

    ref: ObjectRef
    sets: dict[str, Any] = field(repr=False)  # a partial object; all of it where the object is created
    removes: tuple[FieldPath, ...] = ()  # fields that its file sets no more: removed where they are ours
    whole: bool = True  # whether the object may be created; else only fields of a live object are set
    content: str | None = None  # the digest of hidden content (a pull secret), instead of `sets` in the plan
    secret: str = ""  # the pull secret's name in policy
    path: str = ""  # the file that holds the object, or the folder whose build gives it
    git: dict[str, Any] | None = field(default=None, repr=False)  # all of it as a build gives it, before the change
    generated: bool = False  # a build gives it a name of its content
    restarts: bool = False  # whether it is set so that all pods are replaced

    @property
    def identity(self) -> Literal["circle", "server"]:
        """Whose rights it is written with."""
        return "server" if self.ref.kind in _AS_SERVER else "circle"


@dataclass(frozen=True)
class PlannedObject:
    """One object of the plan: as desired, as it is live, and the proposal that a dry run answered."""

    desired: Desired
    change: Change
    live: dict[str, Any] | None = field(repr=False)
    proposal: Proposal | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Work:
    """What the driver keeps from its plan."""

    objects: tuple[PlannedObject, ...]  # in the order of the edit
    goal: Goal
    late: bool = False  # whether objects in a namespace that does not exist yet were checked by schema only

    @property
    def to_write(self) -> tuple[PlannedObject, ...]:
        """The objects that change."""
        return tuple(one for one in self.objects if one.change.operation != "unchanged")


def in_files(share: Share) -> list[Desired]:
    """The objects of the addressed locations, in their order: each as the fields that are addressed.

    Raises:
        InfraError: `manifest-invalid`: there is no object at a location.
    """
    sets: dict[tuple[str, int, tuple[str | int, ...]], tuple[Located, dict[str, Any], bool]] = {}
    gone: dict[tuple[str, int, tuple[str | int, ...]], list[FieldPath]] = {}
    for location in share.addressed:
        where = location.path, location.document, location.at
        if where not in sets:
            located = _located(share, location)
            sets[where] = located, located.ref.identity, False
        located, fields, whole = sets[where]
        if not location.field:
            sets[where] = located, located.object, True
            continue
        named = tuple(takewhile(lambda step: not isinstance(step, int), location.field))  # an item without keys: all
        found, value = get_path(located.object, named)
        if not found:
            gone.setdefault(where, []).append(named)
        elif not whole:
            set_path(fields, named, value)
    return [
        Desired(
            located.ref,
            fields,
            removes=tuple(gone.get(where, ())),
            whole=whole or located.ref.kind not in WORKLOADS,
            path=located.path,
        )
        for where, (located, fields, whole) in sets.items()
    ]


def in_build(build: Build) -> Iterator[Desired]:
    """Each object that a build gives otherwise, as the fields that differ; a new one as a whole.

    An object that it gives no longer is left: a generated one is replaced by one of another name, and a rollback needs
    the old one (kubernetes/kubectl#815).
    """
    former = {one.ref.key: one for one in (build.before if build.other is None else build.other)}
    for one in build.after:
        known = former.get(one.ref.key)
        if known is None:
            yield Desired(one.ref, one.object, path=build.root, generated=one.ref.kind == "ConfigMap")
            continue
        sets, removes = _changed(known, one)
        if sets != one.ref.identity or removes:
            git = known.object if build.other is None else one.object
            yield Desired(one.ref, sets, whole=False, path=build.root, git=git, removes=removes)


def left(build: Build) -> list[str]:
    """The objects that a build gave and gives no longer, as people write them."""
    now = {one.ref.key for one in build.after}
    return [str(one.ref) for one in build.before if one.ref.key not in now]


def _changed(known: Located, one: Located) -> tuple[dict[str, Any], tuple[FieldPath, ...]]:
    """The fields that are set otherwise, as a partial object, and those that are gone."""
    sets: dict[str, Any] = one.ref.identity
    for path, _, after, _ in differences(known.object, one.object, exact=True):
        set_path(sets, path, after)
    return sets, tuple(gone(known.object, one.object))


def without_file(work: Beside, request: str) -> Desired:
    """The object of a work without a file, except pull secrets, whose content is read elsewhere.

    Raises:
        InfraError: `internal`: there is no such work.
    """
    ref = ref_of(work.target)
    if work.work == "ensure":
        body: Any = work.given["body"]
        return Desired(ref, dict(body))
    if work.work == "restart":
        template = {"metadata": {"annotations": {RESTART: request}}}
        return Desired(ref, merge(ref.identity, {"spec": {"template": template}}), whole=False, restarts=True)
    raise InfraError("internal", f"The driver of Kubernetes manifests has no work {work.work}.")


def ref_of(target: Target) -> ObjectRef:
    """A target as an object, for the kinds that actions name without a file."""
    group = target.kind.rpartition("/")[0]
    return ObjectRef.of(target, _VERSIONS.get(group, f"{group}/v1"))


def _located(share: Share, location: Location) -> Located:
    for one in share.after.objects_of(location.path):
        if (one.index, one.at) == (location.document, location.at):
            return one
    raise InfraError("manifest-invalid", f"Document {location.document + 1} of {location.path} holds no object.")
