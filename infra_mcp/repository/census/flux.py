"""Flux's HelmReleases: the versions in their values, and that of their chart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from infra_mcp.repository.census.built import Built
from infra_mcp.repository.census.chart import files_of
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.parameters import Parameter
from infra_mcp.repository.census.release import Release, Values, chart_version, looked_up
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.layers import Below, Inside, Source
from infra_mcp.repository.lenient import as_text, joined, mapping, maps, texts
from infra_mcp.repository.locator.holds import Hold
from infra_mcp.repository.locator.places import Place, places_of


def units(index: Index, entry: Entry) -> Iterator[Unit]:
    """The HelmReleases of an entry."""
    for one in entry.objects if "HelmRelease" in entry.kinds else ():
        if one.kind == "HelmRelease" and one.group == "helm.toolkit.fluxcd.io":
            spec = mapping(one.value, "spec")
            space = as_text(spec.get("targetNamespace")) or one.namespace
            aliases = (entry.by.rpartition("/")[2], as_text(spec.get("releaseName")))
            release = partial(_release, index, entry, one)
            read, path = looked_up(release), one.path
            yield Unit(
                one.own_name, one.kind, one.name, space, path, entry, *read, built=one, aliases=aliases, release=release
            )


def with_charts(index: Index, entry: Entry) -> Entry:
    """An entry with the files of the repository's charts that its HelmReleases install."""
    if "HelmRelease" not in entry.kinds:
        return entry
    files = {path for one in entry.objects if one.kind == "HelmRelease" for path in _chart_files(index, one)}
    return replace(entry, files=entry.files | files) if files else entry


def _chart_files(index: Index, one: Built) -> Iterator[str]:
    folder = _folder(index, one)
    yield from files_of(index, folder)
    yield from (path for path in _values_files(one) if folder is not None and index.tree.is_file(path))


def _folder(index: Index, one: Built) -> str | None:
    """The folder of the chart of a HelmRelease, where it is one of this repository."""
    named = as_text(mapping(one.value, "spec", "chart", "spec").get("chart"))
    kind = as_text(mapping(one.value, "spec", "chart", "spec", "sourceRef").get("kind"))
    path = joined("", named) if named and kind in {"GitRepository", "Bucket"} else None
    return path if path in index.charts else None


def _values_files(one: Built) -> list[str]:
    """The values files that stand for the chart's own, from the top of the repository."""
    return [joined("", path) for path in texts(one.value, "spec", "chart", "spec", "valuesFiles")]


def _release(index: Index, entry: Entry, one: Built) -> Release:
    """Its values as helm-controller makes them: `valuesFrom` in order, then `values`, then those with a targetPath."""
    folder = _folder(index, one)
    files = _values_files(one) if folder is not None else []
    given: list[Values] = [*files]
    parameters: list[Parameter] = []
    for ref in maps(one.value, "spec", "valuesFrom"):
        target = as_text(ref.get("targetPath"))
        source = _config(index, entry, one, ref, whole=not target) if ref.get("kind") == "ConfigMap" else None
        if source is not None and target:
            parameters.append(Parameter(target, source))
        elif source is not None:
            given.append(source)
    given.append(Below(one, ("spec", "values")))
    others = () if folder is not None else tuple(_chart(index, entry, one))
    return Release(index, folder, given, tuple(parameters), others, stands_alone=bool(files))


def _config(index: Index, entry: Entry, one: Built, ref: dict[str, Any], *, whole: bool) -> Source | None:
    """What a ConfigMap holds under a key: a file of a generator, or a text in the object."""
    key = as_text(ref.get("valuesKey")) or "values.yaml"
    generated = entry.composition.generated.get(as_text(ref.get("name")), {})
    if key in generated:
        return generated[key]
    found = _referred(index, entry, one, ref, {"ConfigMap": ""})
    return found and (Inside(found, ("data", key)) if whole else Below(found, ("data", key)))


def _chart(index: Index, entry: Entry, one: Built) -> Iterator[Hold]:
    if spots := one.spots(("spec", "chart", "spec", "version")):
        yield chart_version(as_text(mapping(one.value, "spec", "chart", "spec").get("chart")), spots)
    ref = mapping(one.value, "spec", "chartRef")
    kind = as_text(ref.get("kind"))
    source = _referred(index, entry, one, ref, {kind: "source.toolkit.fluxcd.io"})
    if kind in {"OCIRepository", "HelmChart"} and source:
        yield Hold("chart", f"{kind} {ref.get('name')}", _revision(source))


def _referred(index: Index, entry: Entry, one: Built, ref: dict[str, Any], kinds: dict[str, str]) -> Source | None:
    """The object that a HelmRelease refers to: one that is delivered along with it, else any of the repository."""
    name, space = as_text(ref.get("name")), as_text(ref.get("namespace")) or one.namespace
    along = (o for o in entry.objects if o.kind in kinds and o.name == name and o.namespace in {None, space})
    others = (o for o in index.named(kinds, name) if o.namespace in {None, space})
    return next(chain(along, others), None)


def _revision(source: Source) -> tuple[Place, ...]:
    """The version of a chart's source. In an OCIRepository digest goes before semver, and semver before tag."""
    if spots := source.spots(("spec", "version")):  # a HelmChart
        return places_of("plain", spots)
    digest = source.spots(("spec", "ref", "digest"))
    tags = tuple(Place("tag", s, digest[-1] if digest else None) for s in source.spots(("spec", "ref", "tag")))
    return tags + places_of("plain", source.spots(("spec", "ref", "semver")))
