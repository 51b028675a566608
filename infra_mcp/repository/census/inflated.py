"""Units of the charts that a kustomization renders by `helmCharts` or a HelmChartInflationGenerator (kustomize's).

The values file is the lowest. `valuesInline` lies over it, or below it with `valuesMerge: merge`, or stands for it with
`replace`; the additional values files lie over both.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from infra_mcp.repository.census.chart import chart_holds, replicas_of, sources_of
from infra_mcp.repository.census.composition import Inflated
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.layers import Below, Source, Stack, helm_values
from infra_mcp.repository.lenient import as_text
from infra_mcp.repository.locator.holds import Hold, images_in_values
from infra_mcp.repository.locator.places import Place


def units(index: Index, entry: Entry) -> Iterator[Unit]:
    """The charts of an entry."""
    for one in entry.composition.charts:
        value = one.source.value
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            continue
        name = as_text(value.get("releaseName")) or value["name"]
        values = _values(index, one)
        yield Unit(
            name,
            "Chart",
            name,
            as_text(value.get("namespace")) or one.namespace,
            index.kustomizations[one.folder],
            entry,
            partial(_holds, index, one, values),
            partial(replicas_of, values),
            aliases=(value["name"],),
        )


def _values(index: Index, one: Inflated) -> Stack:
    value = one.source.value
    files = [index.sources(path) for path in one.files]
    own, more = (files[0], files[1:]) if as_text(value.get("valuesFile")) and files else ([], files)
    inline: list[Source] = [Below(one.source, ("valuesInline",))]
    match value.get("valuesMerge"):
        case "merge":
            first = [*inline, *own]
        case "replace" if isinstance(value.get("valuesInline"), dict):
            first = inline
        case _:
            first = [*own, *inline]
    low = sources_of(index, one.chart) if one.chart is not None else []
    return helm_values([*low, *first, *(source for some in more for source in some)])


def _holds(index: Index, one: Inflated, values: Stack) -> Iterator[Hold]:
    if one.chart is not None:
        yield from chart_holds(index, one.chart, values)
        return
    yield from images_in_values(values)
    places = tuple(Place("plain", spot) for spot in one.source.spots(("version",)))
    yield Hold("chart", f"chart {one.source.value['name']}", places)
