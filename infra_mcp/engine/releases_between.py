"""Charts of this repository, rendered at two commits with Helm and without a cluster.

What a cluster would answer (`lookup`, its version and APIs) is not known, so that this is for people to look at, and
for guardrails to find more in: what renders the chart may give something else, and is still said not to be known here.
A chart is written without its schema, which could name addresses to fetch; nothing else of it can reach a network or a
file beside it.
"""

from __future__ import annotations

import json
import posixpath
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread

from infra_mcp.engine.between import Between, changes
from infra_mcp.engine.entry_pairs import Side, charts_of
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.effect import Reached
from infra_mcp.policy.guard.kinds import is_cluster_scoped
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.helm.chart_files import chart_files
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.render import Located, read
from infra_mcp.repository.value import Tree

if TYPE_CHECKING:
    from infra_mcp.clients.helm.program import Program

MAX_RELEASES: Final = 20  # that are rendered for one check, each three times
_PARALLEL: Final = 2
_SCHEMA: Final = "values.schema.json"


@dataclass(frozen=True)
class _Chart:
    """What one rendering is made of."""

    files: Mapping[str, bytes]
    values: bytes
    name: str
    namespace: str


async def releases_between(
    before: Side, after: Side, files: Collection[str], *, until: float
) -> tuple[list[Between], list[str]]:
    """The releases of this repository's charts that render differently, and why others were not rendered.

    Args:
        before: the first commit.
        after: the second one.
        files: the paths that differ.
        until: by `time.monotonic`: from then on nothing is rendered.
    """
    found = await to_thread.run_sync(_pairs, before, after, frozenset(files))
    if not found:
        return [], []
    turn = anyio.Semaphore(_PARALLEL)
    work = [partial(_one, turn, before, after, pair, until) for pair in found[:MAX_RELEASES]]
    ended = await gather(work)
    notes = [one for one in ended if isinstance(one, str)]
    if len(found) > MAX_RELEASES:
        notes.append(f"{len(found) - MAX_RELEASES} more charts were not rendered.")
    return [one for one in ended if isinstance(one, Between)], list(dict.fromkeys(notes))


def _pairs(before: Side, after: Side, files: frozenset[str]) -> list[tuple[Unit | None, Unit | None]]:
    """The releases of charts of this repository that read one of the files, at both commits."""
    found: dict[tuple[Any, ...], list[Unit | None]] = {}
    for number, side in enumerate((before, after)):
        charts = frozenset[str]().union(*(charts_of(side.census.index, path) for path in files))
        for unit in side.census.units:
            if unit.release is not None and not unit.entry.files.isdisjoint(files | charts):
                key = (
                    unit.kind,
                    unit.name,
                    unit.namespace,
                    unit.entry.root,
                    unit.entry.cluster,
                    unit.entry.environment,
                )
                found.setdefault(key, [None, None])[number] = unit
    return [(old, new) for old, new in found.values()]


async def _one(
    turn: anyio.Semaphore, before: Side, after: Side, pair: tuple[Unit | None, Unit | None], until: float
) -> Between | str | None:
    """One release rendered at both commits; text says why it is not; None where it renders the same, or elsewhere."""
    unit = pair[1] or pair[0]
    if unit is None:  # pragma: no cover - it is in one of them
        raise AssertionError
    from infra_mcp.clients.helm.program import find_helm  # noqa: PLC0415 - see its package: a slow import

    what = f"The chart of {unit} was not rendered"
    async with turn:
        if time.monotonic() > until:
            return f"{what}: the time for builds was used up."
        try:
            made = [
                await to_thread.run_sync(_chart, side.tree, one) if one else None
                for side, one in zip((before, after), pair, strict=True)
            ]
            if not any(made):
                return None  # a chart from elsewhere
            program = await find_helm()
            old = await _rendered(program, made[0])
            new, again = await _rendered(program, made[1]), await _rendered(program, made[1])
        except InfraError as error:
            return f"{what}: {error.what}"
    steady = _steady(new, again)
    objects = tuple(one for one in changes(old, new) if one.after is None or one.change.target.key in steady)
    if not objects:
        return None
    reached = Reached(
        delivery=unit.entry.delivery,
        root=unit.entry.root or ".",
        cluster=unit.entry.cluster,
        by=f"{unit}, rendered without a cluster",
        apps=(unit.app,),
        renderer=program.name,
        targets=tuple(one.change.target.key for one in objects),
        renders=tuple(one.change for one in objects),
    )
    return Between(reached, frozenset(), objects)


def _steady(one: list[Located], other: list[Located]) -> frozenset[str]:
    """The keys of the objects that two renderings of the same have alike: others hold what is random."""
    second = {each.ref.key: each.object for each in other}
    return frozenset(each.ref.target.key for each in one if second.get(each.ref.key) == each.object)


def _chart(tree: Tree, unit: Unit) -> _Chart | None:
    """What a release is rendered from; None where its chart or some of its values are not in this repository."""
    release = unit.release() if unit.release else None
    if release is None or release.chart is None or None in release.given or release.stands_alone:
        return None
    from infra_mcp.clients.helm import archive  # noqa: PLC0415 - as above

    what = f"The chart in {release.chart or '.'}"
    files = archive.expanded(chart_files(tree, release.chart), what)
    kept = {path: data for path, data in files.items() if posixpath.basename(path) != _SCHEMA}
    values = release.values.value
    given = json.dumps(values if isinstance(values, dict) else {}).encode()
    return _Chart(kept, given, unit.name, unit.namespace or "default")


async def _rendered(program: Program, chart: _Chart | None) -> list[Located]:
    """The objects of a release; none where it is not there.

    Raises:
        InfraError: `chart-unavailable`; `build-failed`, with its reason.
    """
    if chart is None:
        return []
    from infra_mcp.clients.helm import archive  # noqa: PLC0415 - as above
    from infra_mcp.clients.helm.failure import HelmError  # noqa: PLC0415 - the same
    from infra_mcp.clients.helm.folder import private_folder  # noqa: PLC0415 - the same

    async with private_folder(program.path, network=False) as folder:
        await to_thread.run_sync(archive.write, chart.files, folder.chart)
        given = anyio.Path(folder.path) / "values.json"
        await given.write_bytes(chart.values)
        try:
            command = program.command(folder).also(f"--values={given}")
            text = await command.render(chart.name, folder.chart, namespace=chart.namespace)
        except HelmError as error:
            raise error.translate(chart.name, str) from error
    try:
        objects = await to_thread.run_sync(lambda: read(text.encode(), whole=True))
    except Unreadable as error:
        raise InfraError("build-failed", f"It renders what is no manifest, line {error.line}: {error.why}.") from None
    return [_placed(one, chart.namespace) for one in objects]


def _placed(one: Located, namespace: str) -> Located:
    """An object in the namespace of its release, where it names none."""
    if one.ref.namespace is not None or is_cluster_scoped(one.ref.target.kind):
        return one
    return replace(one, ref=one.ref.model_copy(update={"namespace": namespace}))
