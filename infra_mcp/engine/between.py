"""What two commits deliver differently: every delivery of either one that reads a file which differs.

A kustomization is built at both; manifests that are applied as they are need no build. What cannot be built, or is
rendered by who carries it out, counts as reached and says why it is not known.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from typing import Any, Final

import anyio
from anyio import to_thread

from infra_mcp.engine.reach import MAX_BUILT, apps_of, delivered, read_by
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.effect import Change, Reached, Trait
from infra_mcp.policy.guard.facts import traits
from infra_mcp.policy.guard.kinds import is_cluster_scoped
from infra_mcp.policy.images import added_images
from infra_mcp.policy.owners import is_within
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.builds import PARALLEL, Builds, Rendered, View, view_of
from infra_mcp.repository.census.apps import Census
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.roots import OURS
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.partial import same
from infra_mcp.repository.paths import SUFFIXES
from infra_mcp.repository.render import Located, read
from infra_mcp.repository.value import Tree

AS_IT_IS: Final = "none: applied as it is"  # the renderer of manifests that no build changes
_UNDELIVERED: Final = frozenset({"encrypted", "compose"})  # what is beside apps, and nothing here delivers


@dataclass(frozen=True)
class Side:
    """One of the two commits."""

    tree: Tree
    census: Census


@dataclass(frozen=True)
class ObjectChange:
    """An object that a delivery gives differently."""

    change: Change
    added: tuple[Trait, ...]  # what guardrails may refuse in it, and did not find before
    before: dict[str, Any] | None  # None: it was not there
    after: dict[str, Any] | None


@dataclass(frozen=True)
class Between:
    """One delivery, as the second commit gives it otherwise."""

    reached: Reached
    files: frozenset[str]  # the files that differ and that it reads
    objects: tuple[ObjectChange, ...] = ()
    broken: str = ""  # why the second commit cannot be built, where the first one could


@dataclass(frozen=True)
class _Given:
    policy: Policy
    sides: tuple[Side, Side]
    views: tuple[View, View]
    files: frozenset[str]
    builds: Builds
    until: float  # by `time.monotonic`: then nothing more is built
    turn: anyio.Semaphore  # so many are built at once, so that the time is looked at before each


@dataclass(frozen=True)
class _Pair:
    """An entry at both commits; None where it is only in the other one."""

    entries: tuple[Entry | None, Entry | None]
    files: frozenset[str]  # that either one reads

    @property
    def entry(self) -> Entry:
        found = self.entries[1] or self.entries[0]
        if found is None:  # pragma: no cover - a pair has one
            raise AssertionError
        return found


async def between(
    policy: Policy, before: Side, after: Side, files: Collection[str], builds: Builds, *, until: float
) -> list[Between]:
    """Every delivery that differs, those of the repository's order first.

    Args:
        policy: says how a path is delivered, where the repository does not.
        before: the first commit.
        after: the second one.
        files: the paths that differ.
        builds: builds kustomizations.
        until: by `time.monotonic`: from then on nothing is built, and what was not built counts as reached.
    """
    read = [await to_thread.run_sync(read_by, side.census, side.tree) for side in (before, after)]
    views = [await to_thread.run_sync(view_of, side.tree) for side in (before, after)]
    turn = anyio.Semaphore(PARALLEL)
    given = _Given(policy, (before, after), (views[0], views[1]), frozenset(files), builds, until, turn)
    pairs = [one for one in _pairs(*read) if not one.files.isdisjoint(given.files)]
    work = [partial(_one, given, pair, too_many=at >= MAX_BUILT) for at, pair in enumerate(pairs)]
    found = [one for one in await gather(work) if one is not None]
    alone = given.files.difference(*(pair.files for pair in pairs))
    return [*found, *await to_thread.run_sync(lambda: [*_alone(given, sorted(alone))])]


def _pairs(
    before: Iterable[tuple[Entry, frozenset[str]]], after: Iterable[tuple[Entry, frozenset[str]]]
) -> Iterator[_Pair]:
    found: dict[tuple[Any, ...], tuple[list[Any], list[Any]]] = {}
    for side, entries in enumerate((before, after)):
        for entry, files in entries:
            key = (entry.root, entry.by, entry.cluster, entry.environment)
            found.setdefault(key, ([], []))[side].append((entry, files))
    nothing: tuple[None, frozenset[str]] = None, frozenset()
    for several in found.values():
        for (old, files), (new, also) in zip_longest(*several, fillvalue=nothing):
            yield _Pair((old, new), files | also)


async def _one(given: _Given, pair: _Pair, *, too_many: bool) -> Between | None:
    entry, files = pair.entry, given.files & pair.files
    shown = delivered(given.policy, entry.root, entry.delivery, "", entry.cluster)
    apps = {
        app for side, one in zip(given.sides, pair.entries, strict=True) if one for app in apps_of(side.census, one)
    }
    shown = shown.model_copy(update={"by": entry.by, "apps": tuple(sorted(apps))})
    if not any(_is_built(side, one) for side, one in zip(given.sides, pair.entries, strict=True)):
        return await to_thread.run_sync(_plain, given, pair, shown, files)
    made: list[Rendered | None] = []
    async with given.turn:
        why = f"more than {MAX_BUILT} deliveries read the files" if too_many else ""
        if why := why or ("the time for builds was used up" if time.monotonic() > given.until else ""):
            return Between(shown.model_copy(update={"unbuilt": why}), files)
        for side, view, one in zip(given.sides, given.views, pair.entries, strict=True):
            try:
                made.append(await _rendered(given, side, view, one, shown))
            except InfraError as error:
                is_new = bool(made) and error.code == "build-failed"  # the first commit could be built
                unbuilt = shown.model_copy(update={"unbuilt": error.what})
                return Between(unbuilt, files, broken=error.what if is_new else "")
    return await to_thread.run_sync(_compared, given, pair, shown, made)


def _is_built(side: Side, entry: Entry | None) -> bool:
    return entry is not None and entry.root in side.census.index.kustomizations


async def _rendered(given: _Given, side: Side, view: View, entry: Entry | None, shown: Reached) -> Rendered | None:
    if entry is None or not _is_built(side, entry):
        return None
    cluster = shown.cluster or ""
    return await given.builds.render(
        view, entry.root, cluster=cluster, restrict="root-only" if shown.delivery == OURS else "none"
    )


def _compared(given: _Given, pair: _Pair, shown: Reached, made: list[Rendered | None]) -> Between | None:
    """What two builds give differently; None where that is nothing."""
    placed = (
        _placed(given.policy, side, entry, one.objects if one else ())
        for side, entry, one in zip(given.sides, pair.entries, made, strict=True)
    )
    objects = tuple(_changes(*map(_by_key, placed)))
    built = {path for one in made if one for path in one.inputs.files}
    built |= {path for one in pair.entries if one for path in one.composition.files}
    files = given.files & pair.files
    if not objects and built.issuperset(files):
        return None
    renderer = next(one.renderer for one in reversed(made) if one)
    # What is read beside the build, such as the Kustomization of Flux or a chart, is not in its output.
    return _with(given, pair, shown.model_copy(update={"renderer": renderer if objects else ""}), objects, files)


def _plain(given: _Given, pair: _Pair, shown: Reached, files: frozenset[str]) -> Between:
    """A delivery without a build: its manifests are applied as they are; charts and tags are rendered elsewhere."""
    found, holding = [], set()
    for side, one in zip(given.sides, pair.entries, strict=True):
        many, paths = _objects(side.tree, one, files, shown)
        found.append(_placed(given.policy, side, one, many))
        holding |= paths
    objects = tuple(_changes(*map(_by_key, found)))
    is_plain = holding.issuperset(files)
    renderer = AS_IT_IS if is_plain else ""
    return _with(given, pair, shown.model_copy(update={"renderer": renderer}), objects, files)


def _objects(tree: Tree, entry: Entry | None, files: Iterable[str], shown: Reached) -> tuple[list[Located], set[str]]:
    """The objects of files of an entry, and the files that hold any."""
    found: list[Located] = []
    holding = set()
    for path in sorted(files) if entry is not None else ():
        objects = _read(tree, path, shown.cluster or "")
        found += objects
        holding |= {path} if objects else set()
    return found, holding


def _read(tree: Tree, path: str, cluster: str) -> list[Located]:
    data = tree.read(path) if path.endswith(SUFFIXES) else None
    try:
        return read(data, path, cluster, []) if data is not None else []
    except Unreadable:
        return []


def _alone(given: _Given, files: list[str]) -> Iterator[Between]:
    """What no entry reads: manifests without a version, each by its file; and what is no object, by its kind."""
    listed = [side.census.index.listing for side in given.sides]
    counts = {path for one in listed for path in one.paths}
    beside = {one for side in given.sides for one in side.census.others if one.kind not in _UNDELIVERED}
    for path in (path for path in files if path in counts):
        shown = delivered(given.policy, path, OURS, "", None)
        sides = [_read(side.tree, path, shown.cluster or "") for side in given.sides]
        if objects := tuple(_changes(*map(_by_key, sides))):
            change: dict[str, Any] = {"renderer": AS_IT_IS, "targets": tuple(one.change.target.key for one in objects)}
            change["renders"] = tuple(one.change for one in objects)
            yield Between(shown.model_copy(update=change), frozenset({path}), objects)
            continue
        above = [one for one in beside if is_within(path, one.path or ".")]
        root = given.policy.root_of(path) if "roots" in given.policy.tree.model_fields_set else None
        if above:
            one = max(above, key=lambda one: len(one.path))
            yield Between(delivered(given.policy, one.path, one.delivery, "", None), frozenset({path}))
        elif root is not None and root.delivery in {"terraform", "dns"}:
            yield Between(Reached(delivery=root.delivery, root=root.path), frozenset({path}))


def _with(
    given: _Given, pair: _Pair, shown: Reached, objects: tuple[ObjectChange, ...], files: frozenset[str]
) -> Between:
    targets = tuple(one.change.target.key for one in objects)
    update: dict[str, Any] = {"targets": targets, "renders": tuple(one.change for one in objects)}
    if objects:
        names = {(one.change.target.kind.rpartition("/")[2], one.change.target.name) for one in objects}
        units = (
            unit
            for side, entry in zip(given.sides, pair.entries, strict=True)
            for unit in side.census.units
            if entry is not None and unit.entry is entry
        )
        update["apps"] = tuple(sorted({unit.app for unit in units if (unit.kind, unit.name) in names}))
    return Between(shown.model_copy(update=update), files, objects)


def _by_key(objects: Iterable[Located]) -> dict[str, Located]:
    return {one.ref.key: one for one in objects}


def _placed(policy: Policy, side: Side, entry: Entry | None, objects: Iterable[Located]) -> Iterator[Located]:
    """Objects in the namespace that their deliverer gives them, or policy, where their build has none."""
    spaces: dict[tuple[str, str], str | None] = {}
    for known in entry.objects if entry is not None else ():
        spaces.setdefault((known.kind, known.name), known.namespace)
    if entry is not None:
        for unit in (unit for unit in side.census.units if unit.entry is entry and unit.app in policy.apps):
            if len(found := policy.apps[unit.app].namespaces()) == 1 and not spaces.get((unit.kind, unit.name)):
                spaces[unit.kind, unit.name] = next(iter(found))
    for one in objects:
        space = spaces.get((one.ref.kind, one.ref.name)) or one.ref.namespace
        if space == one.ref.namespace or is_cluster_scoped(one.ref.target.kind):
            yield one
        else:
            yield replace(one, ref=one.ref.model_copy(update={"namespace": space}))


def _changes(before: dict[str, Located], after: dict[str, Located]) -> Iterator[ObjectChange]:
    for key in [*after, *(key for key in before if key not in after)]:
        old, new = before.get(key), after.get(key)
        was, now = old.object if old else None, new.object if new else None
        if old and new and same(was, now):
            continue
        one = new or old
        if one is None:  # pragma: no cover - it is in one of them
            raise AssertionError
        found = traits(now, was) if now is not None else ()
        known = set(traits(was)) if was is not None else set()
        change = Change(
            target=one.ref.target,
            operation="delete" if now is None else "create" if was is None else "update",
            checked="none",
            images=added_images(now, was) if now is not None else (),
            traits=found,
        )
        yield ObjectChange(change, tuple(one for one in found if one not in known), was, now)
