"""What two commits deliver differently: every delivery of either one that reads a file which differs.

A kustomization is built at both; manifests that are applied as they are need no build. What cannot be built, or is
rendered by who carries it out, counts as reached and says why it is not known.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import anyio
from anyio import to_thread

from infra_mcp.engine.entry_pairs import Pair, Side, charts_of, left_over, pairs
from infra_mcp.engine.reach import MAX_BUILT, apps_of, delivered
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.effect import Change, Reached, Trait
from infra_mcp.policy.guard.facts import traits
from infra_mcp.policy.guard.kinds import is_cluster_scoped
from infra_mcp.policy.images import added_images
from infra_mcp.policy.owners import is_within
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.systems import OF_MODULES
from infra_mcp.repository.builds import PARALLEL, Builds, Rendered, View, view_of
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.others import Other
from infra_mcp.repository.census.roots import OURS
from infra_mcp.repository.hcl.source import SUFFIXES as HCL
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.paths import SUFFIXES
from infra_mcp.repository.render import Located, differing, read
from infra_mcp.repository.value import Tree

AS_IT_IS: Final = "none: applied as it is"  # the renderer of manifests that no build changes
_UNDELIVERED: Final = frozenset({"encrypted", "compose"})  # what is beside apps, and nothing here delivers


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
    unjudged: tuple[str, ...] = ()  # why parts of its manifests could not be read as objects


@dataclass(frozen=True)
class _Given:
    policy: Policy
    sides: tuple[Side, Side]
    views: tuple[View, View]
    files: frozenset[str]
    builds: Builds
    until: float  # by `time.monotonic`: then nothing more is built
    turn: anyio.Semaphore  # so many are built at once, so that the time is looked at before each


async def between(
    policy: Policy, before: Side, after: Side, files: Collection[str], builds: Builds, *, until: float
) -> tuple[list[Between], list[str]]:
    """Every delivery that differs, in the repository's order; and the files that nothing is known to read.

    Args:
        policy: says how a path is delivered, where the repository does not.
        before: the first commit.
        after: the second one.
        files: the paths that differ.
        builds: builds kustomizations.
        until: by `time.monotonic`: from then on nothing is built, and what was not built counts as reached.
    """
    views = [await to_thread.run_sync(view_of, side.tree) for side in (before, after)]
    turn = anyio.Semaphore(PARALLEL)
    given = _Given(policy, (before, after), (views[0], views[1]), frozenset(files), builds, until, turn)
    there = await to_thread.run_sync(pairs, before, after, given.files)
    work = [partial(_one, given, pair, too_many=at >= MAX_BUILT) for at, pair in enumerate(there)]
    found = [one for several in await gather(work) for one in several]
    left = left_over(before, there, given.files)
    alone = await to_thread.run_sync(lambda: [*_alone(given, sorted(left))])
    known = [*(pair.files for pair in there), *(one.files for one in alone)]
    return [*found, *alone], sorted(given.files.difference(*known))


async def _one(given: _Given, pair: Pair, *, too_many: bool) -> list[Between]:
    entry, files = pair.entry, pair.files
    shown = delivered(given.policy, entry.root, entry.delivery, "", entry.cluster)
    apps = {
        app for side, one in zip(given.sides, pair.entries, strict=True) if one for app in apps_of(side.census, one)
    }
    shown = shown.model_copy(update={"by": entry.by, "apps": tuple(sorted(apps))})
    if not any(_is_built(side, one) for side, one in zip(given.sides, pair.entries, strict=True)):
        return [await to_thread.run_sync(_plain, given, pair, shown)]
    made: list[Rendered | None] = []
    async with given.turn:
        why = f"more than {MAX_BUILT} deliveries read the files" if too_many else ""
        if why := why or ("the time for builds was used up" if time.monotonic() > given.until else ""):
            return [Between(shown.model_copy(update={"unbuilt": why}), files)]
        for side, view, one in zip(given.sides, given.views, pair.entries, strict=True):
            try:
                made.append(await _rendered(given, side, view, one, shown))
            except InfraError as error:
                is_new = bool(made) and error.code == "build-failed"  # the first commit could be built
                unbuilt = shown.model_copy(update={"unbuilt": error.what})
                return [Between(unbuilt, files, broken=error.what if is_new else "")]
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


def _compared(given: _Given, pair: Pair, shown: Reached, made: list[Rendered | None]) -> list[Between]:
    """What two builds give differently, and what is read beside them and not in their output: a chart, for one."""
    placed = (
        _placed(given.policy, side, entry, one.objects if one else ())
        for side, entry, one in zip(given.sides, pair.entries, made, strict=True)
    )
    objects = tuple(changes(*placed))
    built = {path for one in made if one for path in (*one.inputs.files, *one.inputs.links)}
    built |= {path for one in pair.entries if one for path in one.composition.files}
    found = []
    if objects:
        renderer = next(one.renderer for one in reversed(made) if one)
        of_build = shown.model_copy(update={"renderer": renderer})
        found.append(_with(given, pair, of_build, objects, pair.files & built))
    if beside := pair.files - built:
        found.append(Between(shown, beside))
    return found


def _plain(given: _Given, pair: Pair, shown: Reached) -> Between:
    """A delivery without a build: its manifests are applied as they are; charts and tags are rendered elsewhere."""
    found: list[Iterable[Located]] = []
    holding: set[str] = set()
    unjudged: list[str] = []
    for side, one in zip(given.sides, pair.entries, strict=True):
        objects: list[Located] = []
        for path in sorted(pair.files) if one is not None else ():
            if charts_of(side.census.index, path):
                continue  # a template, or values
            many, why = _read(side.tree, path, shown.cluster or "")
            objects += many
            holding |= {path} if many else set()
            unjudged += [why] if why and many and side is given.sides[1] else []
        found.append(_placed(given.policy, side, one, objects))
    made = tuple(changes(*found))
    renderer = AS_IT_IS if holding.issuperset(pair.files) else ""
    of_files = _with(given, pair, shown.model_copy(update={"renderer": renderer}), made, pair.files)
    return replace(of_files, unjudged=tuple(unjudged))


def _read(tree: Tree, path: str, cluster: str) -> tuple[list[Located], str]:
    """The objects of a file, and why something in it is no object that could be judged; empty where all of it is."""
    data = tree.read(path) if path.endswith(SUFFIXES) else None
    if data is None:
        return [], ""
    try:
        return read(data, path, cluster, whole=True), ""
    except Unreadable as error:
        why = f"{path}, line {error.line}: {error.why}."
    try:
        return read(data, path, cluster, []), why
    except Unreadable:
        return [], why


def _alone(given: _Given, files: list[str]) -> Iterator[Between]:
    """What no entry reads: manifests without a version, each by its file; and what is no object, by its kind."""
    listed = [side.census.index.listing for side in given.sides]
    counts = {path for one in listed for path in one.paths}
    beside = {one for side in given.sides for one in side.census.others if one.kind not in _UNDELIVERED}
    for path in files:
        shown = delivered(given.policy, path, OURS, "", None)
        is_plain = path in counts and not any(charts_of(side.census.index, path) for side in given.sides)
        sides = [_read(side.tree, path, shown.cluster or "") for side in given.sides] if is_plain else []
        if objects := tuple(changes(*(many for many, _ in sides))) if sides else ():
            change: dict[str, Any] = {"renderer": AS_IT_IS, "targets": tuple(one.change.target.key for one in objects)}
            change["renders"] = tuple(one.change for one in objects)
            unjudged = (sides[1][1],) if sides[1][1] else ()
            yield Between(shown.model_copy(update=change), frozenset({path}), objects, unjudged=unjudged)
        elif (other := _other(given, path, beside)) is not None:
            yield Between(other, frozenset({path}))


def _other(given: _Given, path: str, beside: Collection[Other]) -> Reached | None:
    """What reads a file that holds no objects, by where it is: a chart, a root of Terraform or zones."""
    for side in reversed(given.sides):
        if charts := charts_of(side.census.index, path):
            return Reached(delivery="none", root=posixpath.dirname(max(charts, key=len)) or ".")
    above = [one for one in beside if is_within(path, one.path or ".")]
    root = given.policy.root_of(path) if "roots" in given.policy.tree.model_fields_set else None
    if root is not None and not root.by_cluster:
        return Reached(delivery=root.delivery, root=root.path)
    if above:
        one = max(above, key=lambda one: len(one.path))
        return delivered(given.policy, one.path, one.delivery, "", None)
    if path.endswith(HCL):  # a module: what it is part of is not looked for
        return Reached(delivery=OF_MODULES, root=posixpath.dirname(path) or ".")
    return None


def _with(
    given: _Given, pair: Pair, shown: Reached, objects: tuple[ObjectChange, ...], files: frozenset[str]
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


def changes(before: Iterable[Located], after: Iterable[Located]) -> Iterator[ObjectChange]:
    """Every object that two sets of objects have differently, the new ones in their order, then those that go."""
    for old, new in differing(before, after):
        was, now = old.object if old else None, new.object if new else None
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
