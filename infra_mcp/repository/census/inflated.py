"""Units of the charts that a kustomization renders by `helmCharts` or a HelmChartInflationGenerator (kustomize's).

The values file is the lowest. `valuesInline` lies over it, or below it with `valuesMerge: merge`, or stands for it with
`replace`; the additional values files lie over both.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from infra_mcp.repository.census.composition import Inflated
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.release import Release, Values, chart_version, looked_up
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.layers import Below
from infra_mcp.repository.lenient import as_text


def units(index: Index, entry: Entry) -> Iterator[Unit]:
    """The charts of an entry."""
    for one in entry.composition.charts:
        value = one.source.value
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            continue
        name = as_text(value.get("releaseName")) or value["name"]
        space, path = as_text(value.get("namespace")) or one.namespace, index.kustomizations[one.folder]
        read = looked_up(partial(_release, index, one))
        yield Unit(name, "Chart", name, space, path, entry, *read, aliases=(value["name"],))


def _release(index: Index, one: Inflated) -> Release:
    value = one.source.value
    own, more = (one.files[:1], one.files[1:]) if as_text(value.get("valuesFile")) else ([], one.files)
    inline: list[Values] = [Below(one.source, ("valuesInline",))]
    match value.get("valuesMerge"):
        case "merge":
            first = [*inline, *own]
        case "replace" if isinstance(value.get("valuesInline"), dict):
            first = inline
        case _:
            first = [*own, *inline]
    others = () if one.chart is not None else (chart_version(value["name"], one.source.spots(("version",))),)
    return Release(index, one.chart, [*first, *more], others=others)
