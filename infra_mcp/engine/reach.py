"""What a change of files reaches: every delivery, on every cluster, whose build reads one of them and gives others.

A kustomization is built before and after the change. Where it cannot be built, a delivery counts as reached.
"""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from anyio import to_thread

from infra_mcp.clients.kustomize import Restrict
from infra_mcp.drivers.base import Build
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.effect import Reached
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.builds import Builds, Rendered, View, view_of
from infra_mcp.repository.census.apps import Census
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import Edit, Location, SetValue
from infra_mcp.repository.immutable import immutable_changes
from infra_mcp.repository.partial import get_path, same
from infra_mcp.repository.rebase import changed
from infra_mcp.repository.scalars import Json
from infra_mcp.repository.value import Tree

OURS = "kubernetes"  # the delivery that we carry out ourselves, and so must build


@dataclass(frozen=True)
class Reach:
    """What one edit reaches."""

    reached: tuple[Reached, ...]
    builds: dict[tuple[str, str], list[Build]] = field(default_factory=dict)  # by delivery and place
    files: frozenset[str] = frozenset()  # those that become live through a build, or by others, and not as they are


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
            build of the app's own instance gives the same as before.
    """
    files = frozenset(changed(before, edit.tree))
    about = files | {one.path for one in edit.addressed}
    entries = await to_thread.run_sync(lambda: [one for one in census.entries if not one.files.isdisjoint(about)])
    views = [await to_thread.run_sync(view_of, tree) for tree in (before, edit.tree)] if entries else []
    given = _Given(policy, census, edit, builds, place, views, files, required)
    work = [partial(_one, given, entry) for entry in entries]
    found = [one for one in await gather(work) if one is not None]
    read = {path for entry in entries for path in entry.files}
    alone = [_reached(policy, path, "kubernetes", place) for path in sorted(about - read)]
    made = Reach(tuple(dict.fromkeys([*(one for one, _ in found), *alone])))
    for one, build in found:
        if build is not None:
            made.builds.setdefault((one.delivery, one.cluster or place), []).append(build)
    others = [entry for entry in entries if not _is_plain(policy, census, entry, place)]
    return replace(made, files=frozenset(path for entry in others for path in entry.files))


def _is_plain(policy: Policy, census: Census, entry: Entry, place: str) -> bool:
    is_built = entry.root in census.index.kustomizations
    return not is_built and _reached(policy, entry.root, entry.delivery, place).delivery == OURS


@dataclass(frozen=True)
class _Given:
    policy: Policy
    census: Census
    edit: Edit
    builds: Builds
    place: str
    views: list[View]  # of the repository before and after
    files: frozenset[str]  # those that change
    required: bool


async def _one(given: _Given, entry: Entry) -> tuple[Reached, Build | None] | None:
    """What one entry gives before and after; None where that is the same."""
    instance = given.edit.instance
    own = instance is not None and (entry.root, entry.by) in instance.entries
    reached = _reached(given.policy, entry.root, entry.delivery, given.place)
    apps = tuple(sorted({unit.app for unit in given.census.units if unit.entry is entry}))
    cluster = reached.cluster or entry.cluster
    reached = reached.model_copy(update={"by": entry.by, "apps": apps, "own": own, "cluster": cluster})
    touched = not entry.files.isdisjoint(given.files)
    if entry.root not in given.census.index.kustomizations:
        if given.census.index.tree.is_file(entry.root):
            reached = _plain(reached, given.policy, entry.root)
        return (reached, None) if own or touched else None
    restrict: Restrict = "root-only" if reached.delivery == OURS else "none"
    render = partial(given.builds.render, root=entry.root, cluster=cluster or given.place, restrict=restrict)
    try:
        old, new = await gather([partial(render, view) for view in given.views])
    except InfraError as error:
        if own and given.required and reached.delivery == OURS:
            raise
        return reached.model_copy(update={"unbuilt": error.what}), None
    if _differ(old, new):
        _require_mutable(reached, old, new)
        return _built(reached, old, new), Build(entry.root, old.objects, new.objects)
    if entry.composition.files.isdisjoint(given.files):  # what changes, if anything, is beside the build
        return (
            await _unchanged(given.edit, entry, render, reached, new) if own else (reached, None) if touched else None
        )
    if own:
        what = f"The build of {entry.root or '.'} gives the same with the edit: something else decides there."
        raise InfraError("no-effect", what)
    return None


def _require_mutable(reached: Reached, old: Rendered, new: Rendered) -> None:
    fixed = immutable_changes(old, new) if reached.own and reached.delivery == OURS else []
    if fixed:
        raise InfraError("object-invalid", f"{fixed[0]}.")


async def _unchanged(
    edit: Edit, entry: Entry, render: Callable[[View], Awaitable[Rendered]], reached: Reached, new: Rendered
) -> tuple[Reached, Build]:
    """An entry whose files do not change: what the addressed places decide in it is compared with the live state."""
    tree = await to_thread.run_sync(_other, edit, entry.composition.files)
    other = await render(await to_thread.run_sync(view_of, tree))
    return _built(reached, other, new), Build(entry.root, new.objects, new.objects, other.objects)


def _other(edit: Edit, files: Collection[str]) -> Tree:
    """The repository with other values at the places that an edit is about: the build shows what they decide."""
    sets = []
    for one in edit.addressed:
        if one.path in files:
            value = _value(edit.tree, one)
            other = _unlike(value)
            if not same(value, other):
                sets.append(SetValue(path=one.path, document=one.document, field=one.field, before=value, after=other))
    return apply_edits(edit.tree, sets)


def _value(tree: Tree, location: Location) -> Json:
    return get_path(tree.document(location.path, location.document).object, location.field)[1]


def _unlike(value: Json) -> Json:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str) and value:
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    return value


def _differ(old: Rendered, new: Rendered) -> bool:
    before, after = ({one.ref.key: one.object for one in side.objects} for side in (old, new))
    return not same(before, after)


def _built(reached: Reached, old: Rendered, new: Rendered) -> Reached:
    return reached.model_copy(update={"renderer": new.renderer, "targets": tuple(_targets(old, new))})


def _targets(old: Rendered, new: Rendered) -> Iterator[str]:
    before = {one.ref.key: one.object for one in old.objects}
    for one in new.objects:
        if not same(before.get(one.ref.key), one.object):
            yield one.ref.target.key


def _reached(policy: Policy, path: str, found: str, place: str) -> Reached:
    """The delivery of a path: what policy says of its root, else what the repository shows."""
    root = policy.root_of(path or ".")
    if root is None or "roots" not in policy.tree.model_fields_set:
        return Reached(delivery=found, root=path or ".", cluster=place or None)
    return Reached(delivery=root.delivery, root=path or ".", cluster=root.cluster or place or None)


def _plain(reached: Reached, policy: Policy, path: str) -> Reached:
    """A manifest that is applied as it is: its folder, or the root that policy names."""
    root = policy.root_of(path) if "roots" in policy.tree.model_fields_set else None
    return reached.model_copy(update={"root": root.path if root else posixpath.dirname(path) or "."})
