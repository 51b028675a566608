"""Plans releases: rendered twice, each object dry-run, the whole compared with what is stored and what is live."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import anyio
from pydantic import JsonValue

from infra_mcp.clients.helm import archive
from infra_mcp.clients.helm.command import GRACE
from infra_mcp.clients.helm.stored import DEPLOYED, PENDING, Revision
from infra_mcp.clients.kube import KubeError
from infra_mcp.clients.kube.errors import is_denied
from infra_mcp.drivers.base import Prepared, Share
from infra_mcp.drivers.helm.access import Access, require_granted
from infra_mcp.drivers.helm.charts import Inputs, inputs_of
from infra_mcp.drivers.helm.objects import PlannedObject, as_rendered, planned, planned_hook
from infra_mcp.drivers.helm.render import learn, masked, rendered
from infra_mcp.drivers.helm.rendered import (
    Rendered,
    Rendering,
    deviations,
    rendering_of,
)
from infra_mcp.drivers.helm.select import about
from infra_mcp.drivers.helm.state import ReleaseState, Repair, state_of
from infra_mcp.drivers.kubernetes.preflight import Right
from infra_mcp.drivers.kubernetes.preflight import require as require_rights
from infra_mcp.drivers.kubernetes.ssa import in_notes
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.masking import Masker
from infra_mcp.model.digest import canonical, keyed
from infra_mcp.model.effect import Change, FieldChange
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.repository.edits import Goal
from infra_mcp.repository.helm.declared import Release
from infra_mcp.repository.partial import differences, get_path

_POLL: Final = 0.2  # seconds between two looks at a Helm that still runs
UPGRADE: Final = ("pre-upgrade", "post-upgrade")
INSTALL: Final = ("pre-install", "post-install")
ROLLBACK: Final = ("pre-rollback", "post-rollback")
TESTS: Final = ("test", "test-success", "test-failure")  # which are not run


@dataclass(frozen=True)
class PlannedRelease:
    """A release, with all that its plan knows."""

    release: Release
    target: Target
    state: ReleaseState
    inputs: Inputs = field(repr=False)
    judged: Rendering = field(repr=False)  # what policy has seen, and Helm must install
    objects: tuple[PlannedObject, ...] = field(repr=False)
    hooks: tuple[Change, ...]
    gone: tuple[Rendered, ...]  # objects of the current revision that are rendered no longer, and are there
    repair: Repair | None
    change: Change  # of the release itself
    late: bool  # whether its namespace does not exist yet
    secrets: Masker = field(repr=False)  # hides what its Secrets hold

    @property
    def changes(self) -> tuple[Change, ...]:
        """All that it does, secrets masked: the release first, then its objects and hooks by their targets."""
        rest = [*(one.change for one in self.objects), *self.hooks, *self.deletions]
        ordered = sorted(rest, key=lambda one: (one.target.key, one.operation))
        return tuple(masked(one, self.secrets) for one in (self.change, *ordered))

    @property
    def deletions(self) -> tuple[Change, ...]:
        """The deletions among them."""
        by = self.target.key
        return tuple(
            Change(target=one.ref.target, operation="delete", checked="none", identity="helm", by=by)
            for one in self.gone
        )

    @property
    def revision(self) -> int:
        """The number that its new revision gets."""
        return self.state.number + (2 if self.repair is Repair.ROLLBACK else 1)

    @property
    def forced(self) -> bool:
        """Whether it takes fields that other managers hold."""
        return any(one.forced for one in self.objects)

    @property
    def is_install(self) -> bool:
        """Whether no revision of it was ever deployed."""
        return self.state.good is None

    @property
    def is_replaced(self) -> bool:
        """Whether it is installed again since its install failed, so that its install hooks run."""
        return self.state.never_deployed

    @property
    def events(self) -> tuple[str, ...]:
        """The events of the hooks that it runs."""
        return INSTALL if self.is_install else UPGRADE


@dataclass(frozen=True)
class Work:
    """What the driver keeps from its plan."""

    releases: tuple[PlannedRelease, ...]
    goal: Goal

    @property
    def to_write(self) -> tuple[PlannedRelease, ...]:
        """The releases that change."""
        return tuple(one for one in self.releases if one.change.operation != "unchanged")


async def plan(access: Access, share: Share) -> Prepared:
    """Plan a share. Reads only; the same state gives the same changes.

    Raises:
        InfraError: `chart-unavailable`, `build-failed`, `build-refused`, `release-stuck`, `exists`, `owned-elsewhere`,
            `object-invalid`, `cluster-denied`, `not-landed`: an interrupted upgrade failed; `policy-denied`: its
            namespace is not given to Helm; `not-in-cluster`, `namespace-not-bound`: it is not there, or lacks rights.
    """
    warned: dict[str, None] = {}
    access = replace(access, cluster=access.cluster.warning(warned.setdefault))
    found = await anyio.to_thread.run_sync(about, access.context, share, access.cluster.name)
    planned_releases = [await _release(access, share, one) for one in found]
    work = Work(tuple(planned_releases), share.goal)
    late = {_space(access, one.release.namespace) for one in work.releases if one.late}
    holds = share.goal.on_failure == "hold" or any(one.is_install for one in work.to_write)
    return Prepared(
        changes=tuple(change for one in work.releases for change in one.changes),
        writes=tuple(map(_written, work.to_write)),
        on_failure="hold" if holds else "rollback",
        timeout=share.goal.timeout,
        own=work,
        needs=tuple(sorted(late, key=lambda target: target.key)),
        notes=tuple(note for one in work.releases for note in _notes(one)) + in_notes(warned),
    )


async def _release(access: Access, share: Share, release: Release) -> PlannedRelease:
    target = access.target(release.namespace, release.name)
    require_granted(access, target)
    late = _space(access, release.namespace).key in access.context.made
    state = state_of(()) if late else await _state(access, release, target, share.goal)
    idle = state.last is not None and await _is_known_idle(access, release, state.last)
    repair = None if late else state.repair(idle=idle)
    inputs = await inputs_of(access, release, share.after)
    access.context.say(f"rendering {release}")
    current = state.good if repair is Repair.ROLLBACK else state.current
    former = await rendering_of(access.cluster, current) if current else Rendering((), ())
    require = partial(_require, access, release, former)
    judged, values = await rendered(access, release, inputs, state, repair, require, late=late)
    known = {one.ref.key: one for one in former.objects}
    try:
        objects = await gather(
            partial(planned, access, release, one, known.get(one.ref.key), late=late) for one in judged.objects
        )
    except (KubeError, InfraError) as error:
        if is_denied(error) and not late:  # of one object; perhaps of more
            asked = (Right(verb, one.ref, access.user) for one in judged.objects for verb in ("get", "create", "patch"))
            await require_rights(access.cluster, list(asked))
        raise
    secrets = learn(access, judged)
    made = PlannedRelease(
        release, target, state, inputs, judged, tuple(objects), (), (), repair, _unchanged(target), late, secrets
    )
    gone_refs = known.keys() - {one.ref.key for one in judged.objects}
    leaving = [known[key] for key in sorted(gone_refs) if not known[key].stays]
    there = await gather(partial(access.get_once, one.ref) for one in leaving)
    made = replace(made, gone=tuple(one for one, live in zip(leaving, there, strict=True) if live is not None))
    await require_rights(access.cluster, [Right("delete", one.ref, access.user) for one in made.gone])
    fields = tuple(_fields(made, current, values))
    if not fields and not repair and _is_as_stored(made, former, current):
        return made
    hooks = await gather(partial(planned_hook, access, release, one, late=late) for one in _hooks(made, former))
    change = Change(
        target=target,
        operation="create" if state.last is None else "update",
        fields=fields,
        identity="helm",
        checked="schema" if late else "server-dry-run",
        intent=keyed(access.key, canonical([inputs.chart.digest, values])),
    )
    return replace(made, hooks=tuple(hooks), change=change)


def _require(access: Access, release: Release, former: Rendering, judged: Rendering) -> None:
    """Have policy judge what a release renders, before the cluster is asked about it.

    Also hooks that this upgrade does not run: those of a rollback to it, or to the revision before it.
    """
    known = {one.ref.key: one.body for one in (*former.objects, *former.hooks)}
    hooks = [one for one in judged.hooks if one.hook and not set(one.hook.events) <= set(TESTS)]
    later = [as_rendered(access, release, one, None) for one in former.hooks_of(*ROLLBACK)]
    brought = [as_rendered(access, release, one, known.get(one.ref.key)) for one in (*judged.objects, *hooks)]
    access.context.require([*brought, *later])


def _hooks(made: PlannedRelease, former: Rendering) -> list[Rendered]:
    """The hooks that run: those of a rollback to the last good revision, too, where it is repaired so."""
    found = list(made.judged.hooks_of(*made.events))
    if made.repair is Repair.ROLLBACK:
        found += former.hooks_of(*ROLLBACK)
    return list({one.ref.key: one for one in found}.values())


async def _state(access: Access, release: Release, target: Target, goal: Goal) -> ReleaseState:
    """The stored history; of an interrupted request, once the Helm that it started has ended."""
    written = _interrupted(access, target)
    if written is not None:
        with anyio.move_on_after(goal.timeout + GRACE):
            while True:
                async with access.alone(release.namespace, release.name) as lock:
                    if lock is not None:
                        break
                access.context.say(f"waiting for the helm that upgrades {release}")
                await anyio.sleep(_POLL)
    state = state_of(await _history(access, release))
    last = state.last
    if written and last and access.is_ours(last) and last.status not in {DEPLOYED, *PENDING}:
        said = access.masker.mask(last.description)
        raise InfraError("not-landed", f"{release}: revision {last.number} is {last.status}: {said}.")
    return state


async def _history(access: Access, release: Release) -> tuple[Revision, ...]:
    """Its revisions; where they may not be read, whether that is for want of the namespace or of rights in it."""
    try:
        return await access.history(release.namespace, release.name)
    except KubeError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        name = release.namespace
        space = ObjectRef(cluster=access.cluster.name, api_version="v1", kind="Namespace", namespace=None, name=name)
        if await access.cluster.get(space, as_user=None) is None:
            step = "Make it first: action provision_namespace, also as a step of the same change set."
            raise InfraError("not-in-cluster", f"{release}: there is no namespace {name}.", next_step=step) from error
        what = f"{release}: in namespace {name} Helm's identity for this circle is not bound."
        raise InfraError("namespace-not-bound", what) from error


def _interrupted(access: Access, target: Target) -> dict[str, Any] | None:
    """What was recorded before the interruption of this request; None where nothing was."""
    if not access.context.resumed:
        return None
    found = [one.undo for one in access.context.written if one.target.key == target.key]
    return found[-1] if found and isinstance(found[-1], dict) else None


async def _is_known_idle(access: Access, release: Release, last: Revision) -> bool:
    """Whether a pending revision was begun by a request of this server, whose Helm has ended."""
    if last.status not in PENDING or not access.is_of_server(last):
        return False
    async with access.alone(release.namespace, release.name) as lock:
        return lock is not None


def _unchanged(target: Target) -> Change:
    return Change(target=target, operation="unchanged", identity="helm", checked="none")


def _is_as_stored(made: PlannedRelease, former: Rendering, current: Revision | None) -> bool:
    """Whether the newest revision is deployed, is what would be installed, and is what is live."""
    last = made.state.last
    if last is None or last.status != DEPLOYED or current is not last:
        return False
    live = all(one.is_settled for one in made.objects)
    return live and not made.gone and not deviations(made.judged, former)


def _fields(made: PlannedRelease, current: Revision | None, values: dict[str, Any]) -> Iterator[FieldChange]:
    """What the release itself changes: its chart, and the values of its user."""
    chart = made.inputs.chart
    before = (current.chart, current.version) if current else None
    for name, old, new in (
        ("chart", before and before[0], chart.name),
        ("version", before and before[1], chart.version),
    ):
        if old != new:
            yield FieldChange(path=(name,), before=old, after=new, had=old is not None)
    old_values = dict(current.values) if current else {}
    for path, old, new, had in differences(old_values, values, exact=True):
        yield FieldChange(path=("values", *path), before=old, after=new, had=had)
    for path, old, _, _ in differences(values, old_values, exact=True):
        if not get_path(values, path)[0]:
            yield FieldChange(path=("values", *path), before=old, has=False)


def _written(one: PlannedRelease) -> Written:
    """The record before the write, which recognises it and undoes it."""
    good = one.state.good
    undo: dict[str, JsonValue] = {"revision": one.revision, "former": good.number if good else None}
    return Written(target=one.target, operation=one.change.operation, undo=undo)


def _space(access: Access, namespace: str) -> Target:
    return Target(system="kubernetes", place=access.cluster.name, scope=None, kind="Namespace", name=namespace)


def _notes(one: PlannedRelease) -> Iterator[str]:
    if one.repair:
        yield one.state.explain(one.repair)
    if one.change.operation == "unchanged":
        return
    chart = one.inputs.chart
    yield f"{one.release} is of chart {chart.name} {chart.version}, {chart.digest}"
    if crds := archive.crds(chart.files):
        yield f"{len(crds)} files of the chart's folder crds are left to a cluster admin: Helm never upgrades them"
    if volatile := [one for one in (*one.judged.objects, *one.judged.hooks) if one.volatile]:
        yield f"{', '.join(str(each.ref) for each in volatile)} differ each time they are rendered"
    if tests := one.judged.hooks_of(*TESTS):
        yield f"{len(tests)} tests of the chart are not run"
    if one.late:
        yield f"{one.release} is rendered without its namespace, and again as soon as that exists"
