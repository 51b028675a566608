"""What a change of files reaches: every delivery, on every cluster, whose build reads one of them and gives others.

A kustomization is built before and after the change. Where it cannot be built, a delivery counts as reached.
"""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from anyio import to_thread

from infra_mcp.clients.kustomize import Restrict
from infra_mcp.drivers.base import Build
from infra_mcp.engine.decided import otherwise
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.effect import Change, Reached
from infra_mcp.policy.guard.facts import traits
from infra_mcp.policy.images import added_images
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.systems import CARRIED_OUT
from infra_mcp.repository.builds import NAMESPACED, Builds, Rendered, View, placed, view_of
from infra_mcp.repository.census.apps import Census
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.roots import OURS
from infra_mcp.repository.edits import Edit
from infra_mcp.repository.immutable import immutable_changes
from infra_mcp.repository.kustomize import inputs
from infra_mcp.repository.rebase import changed
from infra_mcp.repository.render import Located, differing
from infra_mcp.repository.value import Tree

MAX_BUILT = 100  # deliveries that are built for one change, each before and after


@dataclass(frozen=True)
class Reach:
    """What one edit reaches."""

    reached: tuple[Reached, ...]
    builds: dict[tuple[str, str], list[Build]] = field(default_factory=dict)  # by delivery and place
    files: frozenset[str] = frozenset()  # those that become live through a build, or by others, and not as they are
    renders: tuple[
        Change, ...
    ] = ()  # what our own builds give otherwise, before anything is compared with what is live
    # By file, what carries it out that is not its own root's delivery: a release that is made of it.
    carriers: dict[str, str] = field(default_factory=dict)


async def reach(
    policy: Policy, census: Census, before: Tree, edit: Edit, builds: Builds, place: str, *, required: bool = True
) -> Reach:
    """Everything that an edit reaches.

    Args:
        policy: in force, or as the checkout has it.
        census: of the repository before the change.
        before: the repository before the change.
        edit: the change.
        builds: builds kustomizations.
        place: the cluster of the request, where a root names none.
        required: whether what we carry out ourselves must be built.

    Raises:
        InfraError: `build-refused`, `build-failed`, `setup-failed`: what must be built cannot be; `no-effect`: the
            build of the app's own instance gives the same as before; `namespace-needed`.
    """
    files = frozenset(changed(before, edit.tree))
    about = files | {one.path for one in edit.addressed}
    kustomizations = census.index.kustomizations
    if edit.instance is None and not (kustomizations and any(before.is_file(path) for path in about)):
        return Reach(())  # manifests that are applied as they are, or new files, which nothing reads
    read = await to_thread.run_sync(read_by, census, before)
    entries = [
        entry
        for entry, inputs_of in read
        if not inputs_of.isdisjoint(about) and (edit.instance is not None or entry.root in kustomizations)
    ]
    if edit.instance is None and not entries:
        return Reach(())
    views = [await to_thread.run_sync(view_of, tree) for tree in (before, edit.tree)] if entries else []
    given = _Given(
        policy, census, edit, builds, place, views, files, {id(entry): files for entry, files in read}, required
    )
    entries.sort(key=lambda entry: not _is_own(edit, entry))  # the app's own is always built
    work = [partial(_one, given, entry, too_many=at >= MAX_BUILT) for at, entry in enumerate(entries)]
    found = [one for one in await gather(work) if one is not None]
    every = frozenset[str]().union(*(given.read[id(entry)] for entry in entries))
    alone = [delivered(policy, path, OURS, place, None, own=True) for path in sorted(about - every)]
    made = Reach(
        tuple(dict.fromkeys([*(_without_renders(one) for one, _ in found), *alone])),
        renders=tuple(change for one, _ in found for change in one.renders if one.delivery == OURS),
    )
    for one, build in found:
        if build is not None and one.cluster in {None, place}:  # what is elsewhere is judged by policy, and refused
            made.builds.setdefault((one.delivery, place), []).append(build)
    deliveries = {id(entry): _carrier(policy, census, entry, place) for entry in entries}
    others = [entry for entry in entries if deliveries[id(entry)] not in CARRIED_OUT]
    for entry in entries:
        if (carrier := deliveries[id(entry)]) in CARRIED_OUT - {OURS}:
            made.carriers.update(dict.fromkeys(given.read[id(entry)] & about, carrier))
    return replace(made, files=frozenset[str]().union(*(given.read[id(entry)] for entry in others)))


def read_by(census: Census, before: Tree) -> list[tuple[Entry, frozenset[str]]]:
    """Each entry with every file that is read for it: what the census knows, and what kustomize would read."""
    view, index = view_of(before), census.index

    def closure(root: str) -> frozenset[str]:
        found = inputs(view.read, view.paths, root, view.links)
        return frozenset(found.files) | found.links.keys()

    def read(root: str) -> frozenset[str]:
        if before.changed:
            return closure(root)
        return index.remembered(("closure", root), partial(closure, root), frozenset)

    found = {root: read(root) for root in {one.root for one in census.entries} & index.kustomizations.keys()}
    return [(one, one.files | found.get(one.root, frozenset())) for one in census.entries]


def _carrier(policy: Policy, census: Census, entry: Entry, place: str) -> str:
    """The delivery of an entry; empty where a build is between its files and what becomes live."""
    is_built = entry.root in census.index.kustomizations
    return "" if is_built else delivered(policy, entry.root, entry.delivery, place, None).delivery


@dataclass(frozen=True)
class _Given:
    policy: Policy
    census: Census
    edit: Edit
    builds: Builds
    place: str
    views: list[View]  # of the repository before and after
    files: frozenset[str]  # those that change
    read: dict[int, frozenset[str]]  # the files that are read for each entry, by its identity
    required: bool


def _is_own(edit: Edit, entry: Entry) -> bool:
    return edit.instance is not None and (entry.root, entry.by) in edit.instance.entries


async def _one(given: _Given, entry: Entry, *, too_many: bool) -> tuple[Reached, Build | None] | None:
    """What one entry gives before and after; None where that is the same."""
    index, own = given.census.index, _is_own(given.edit, entry)
    reached = delivered(given.policy, entry.root, entry.delivery, given.place, entry.cluster)
    reached = reached.model_copy(update={"by": entry.by, "apps": apps_of(given.census, entry), "own": own})
    touched = not given.read[id(entry)].isdisjoint(given.files)
    if entry.root not in index.kustomizations:
        if index.tree.is_file(entry.root):
            reached = _of_manifest(reached, given.policy, entry.root)
        return (reached, None) if own or touched else None
    if too_many:
        return reached.model_copy(update={"unbuilt": f"more than {MAX_BUILT} deliveries read the file"}), None
    render = partial(_rendered, given, reached, entry)
    try:
        old, new = await gather([partial(render, view) for view in given.views])
    except InfraError as error:
        if own and given.required and reached.delivery == OURS:
            raise
        return reached.model_copy(update={"unbuilt": error.what}), None
    if any(differing(old.objects, new.objects)):
        if reached.delivery == OURS and given.required:
            _require_applicable(old, new, own=own)
        return _built(given.census, entry, reached, old, new), _build(old, new)
    built = entry.composition.files | frozenset(new.inputs.files)
    if built.isdisjoint(given.files):  # what changes, if anything, is beside the build
        return await _unchanged(given, entry, render, reached, new) if own else (reached, None) if touched else None
    if own:
        what = f"The build of {entry.root or '.'} gives the same with the edit: something else decides there."
        raise InfraError("no-effect", what)
    return None


async def _rendered(given: _Given, reached: Reached, entry: Entry, view: View) -> Rendered:
    """A build, each object with its namespace where we apply it."""
    ours = reached.delivery == OURS
    restrict: Restrict = "root-only" if ours else "none"
    cluster = reached.cluster or given.place
    made = await given.builds.render(view, entry.root, cluster=cluster, restrict=restrict)
    return placed(made, _namespace(given, entry) if ours and reached.own else None)


def _namespace(given: _Given, entry: Entry) -> str | None:
    """The namespace that policy names for the app's instance."""
    instance = given.edit.instance
    app = given.policy.apps.get(instance.app) if instance else None
    if app is None or instance is None:
        return None
    named = {name for name, one in app.environments.items() if entry.root in one.paths or name == instance.environment}
    found = app.namespaces(*named) if len(named) == 1 else app.namespaces()
    return next(iter(found)) if len(found) == 1 else None


def _build(old: Rendered, new: Rendered, other: Rendered | None = None) -> Build:
    read = frozenset(old.inputs.files) | frozenset(new.inputs.files)
    return Build(new.root, old.objects, new.objects, other.objects if other else None, read)


def _require_applicable(old: Rendered, new: Rendered, *, own: bool) -> None:
    if own and (fixed := immutable_changes(old, new)):
        raise InfraError("object-invalid", f"{fixed[0]}.")
    for _, one in differing(old.objects, new.objects):
        if one and one.ref.namespace is None and one.ref.kind in NAMESPACED:
            what = (
                f"The build of {new.root or '.'} gives {one.ref} without a namespace, and infra.toml names none for it."
            )
            raise InfraError("namespace-needed", what)


async def _unchanged(
    given: _Given, entry: Entry, render: Callable[[View], Awaitable[Rendered]], reached: Reached, new: Rendered
) -> tuple[Reached, Build]:
    """An entry whose files do not change: what the addressed places decide in it is compared with the live state."""
    tree = await to_thread.run_sync(otherwise, given.edit, new.inputs.files)
    try:
        other = await render(await to_thread.run_sync(view_of, tree))
    except InfraError:  # no other value fits there: then nothing shows what it decides
        other = new
    return _built(given.census, entry, reached, other, new), _build(new, new, other)


def _built(census: Census, entry: Entry, reached: Reached, old: Rendered, new: Rendered) -> Reached:
    moved = [(was.object if was else None, one) for was, one in differing(old.objects, new.objects) if one]
    found: dict[str, Any] = {"renderer": new.renderer, "targets": tuple(one.ref.target.key for _, one in moved)}
    found["renders"] = tuple(rendered_change(one, was) for was, one in moved)
    return reached.model_copy(update=found | {"apps": apps_of(census, entry, [one for _, one in moved])})


def _without_renders(one: Reached) -> Reached:
    """A delivery as the effect has it: what a driver plans is in its part."""
    return one.model_copy(update={"renders": ()}) if one.delivery == OURS else one


def rendered_change(one: Located, before: dict[str, Any] | None) -> Change:
    """The change of an object, as far as the build shows it."""
    return Change(
        target=one.ref.target,
        operation="create" if before is None else "update",
        checked="none",
        images=added_images(one.object, before),
        traits=traits(one.object, before),
    )


def apps_of(census: Census, entry: Entry, moved: Collection[Located] | None = None) -> tuple[str, ...]:
    """The apps of an entry; with the objects that change, those whose objects they are."""
    names = {(one.ref.kind, one.ref.name) for one in moved or ()}
    units = (one for one in census.units if one.entry is entry)
    return tuple(sorted({one.app for one in units if moved is None or (one.kind, one.name) in names}))


def delivered(policy: Policy, path: str, found: str, place: str, cluster: str | None, *, own: bool = False) -> Reached:
    """The delivery of a path: what policy says of its root, else what the repository shows."""
    root = policy.root_of(path or ".")
    if root is None or "roots" not in policy.tree.model_fields_set:
        root = None
    shown = cluster if cluster in policy.clusters else None
    at = (root.cluster if root else None) or shown or place or cluster
    return Reached(delivery=root.delivery if root else found, root=path or ".", cluster=at or None, own=own)


def _of_manifest(reached: Reached, policy: Policy, path: str) -> Reached:
    """A manifest that is applied as it is: its folder, or the root that policy names."""
    root = policy.root_of(path) if "roots" in policy.tree.model_fields_set else None
    return reached.model_copy(update={"root": root.path if root else posixpath.dirname(path) or "."})
