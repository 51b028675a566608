"""Flux's HelmReleases: the versions in their values, and that of their chart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.census.built import Built
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.layers import Below, Inside, Source, Spot, Stack, helm_values
from infra_mcp.repository.locator.holds import Hold, images_in_values
from infra_mcp.repository.locator.places import Place
from infra_mcp.repository.partial import set_path
from infra_mcp.repository.scalars import Json

_REPLICAS: tuple[FieldPath, ...] = (("replicaCount",), ("replicas",))


def units(index: Index, entry: Entry) -> Iterator[Unit]:
    """The HelmReleases of an entry."""
    for one in entry.objects:
        if one.kind == "HelmRelease" and one.api_version.startswith("helm.toolkit.fluxcd.io/"):
            app = str((one.base.value.get("metadata") or {}).get("name") or "")
            spec = one.value.get("spec") or {}
            yield Unit(
                app,
                one.kind,
                one.name,
                spec.get("targetNamespace") or one.namespace,
                one.base.path,
                entry,
                partial(_holds, index, entry, one),
                partial(_replicas, index, entry, one),
                folders=one.folders,
                aliases=(entry.by.rpartition("/")[2], str(spec.get("releaseName") or "")),
            )


def _holds(index: Index, entry: Entry, one: Built) -> Iterator[Hold]:
    yield from images_in_values(_values(index, entry, one))
    yield from _chart(index, entry, one)


def _replicas(index: Index, entry: Entry, one: Built) -> tuple[Spot, ...]:
    values = _values(index, entry, one)
    return next((spots for at in _REPLICAS if (spots := values.spots(at))), ())


def _values(index: Index, entry: Entry, one: Built) -> Stack:
    """Its values as helm-controller makes them: `valuesFrom` in order, then `values`, then those with a targetPath."""
    low: list[Source] = []
    high: list[Source] = []
    for given in (one.value.get("spec") or {}).get("valuesFrom") or ():
        if isinstance(given, dict) and given.get("kind") == "ConfigMap":
            key, target = str(given.get("valuesKey") or "values.yaml"), given.get("targetPath")
            for source in _config(index, entry, one, str(given.get("name")), key, whole=not target):
                if target:
                    high.append(_Placed(source, tuple(str(target).split("."))))
                else:
                    low.append(source)
    return helm_values([*low, Below(one, ("spec", "values")), *high])


def _config(index: Index, entry: Entry, one: Built, name: str, key: str, *, whole: bool) -> Iterator[Source]:
    """What a ConfigMap holds under a key: a file of a generator, or a text in the object."""
    generated = entry.composition.generated.get(name, {})
    if key in generated:
        yield generated[key]
        return
    maps: list[Source] = [other for other in entry.objects if other.kind == "ConfigMap" and other.name == name]
    if not maps:
        facts = [fact for fact in index.facts({"ConfigMap": ""}) if fact.name == name]
        maps = [fact.source for fact in facts if fact.namespace in {None, one.namespace}]
    for found in maps[:1]:
        yield Inside(found, ("data", key)) if whole else Below(found, ("data", key))


@dataclass(frozen=True)
class _Placed:
    """One value from elsewhere, set at a path (`targetPath`)."""

    source: Source
    at: FieldPath

    @property
    def value(self) -> Json:
        made: dict[str, Any] = {}
        set_path(made, self.at, self.source.value)
        return made

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        return self.source.spots(()) if field == self.at else ()


def _chart(index: Index, entry: Entry, one: Built) -> Iterator[Hold]:
    spec = one.value.get("spec") or {}
    if spots := one.spots(("spec", "chart", "spec", "version")):
        yield Hold("chart", f"chart {spec['chart']['spec'].get('chart')}", tuple(Place("plain", s) for s in spots))
    ref = spec.get("chartRef") or {}
    if ref.get("kind") in {"OCIRepository", "HelmChart"}:
        for found in _referred(index, entry, one, ref):
            yield Hold("chart", f"{ref['kind']} {ref.get('name')}", _revision(found))
            return


def _referred(index: Index, entry: Entry, one: Built, ref: dict[str, Any]) -> Iterator[Source]:
    kind, name, space = ref["kind"], ref.get("name"), ref.get("namespace") or one.namespace
    yield from (o for o in entry.objects if o.kind == kind and o.name == name and o.namespace in {None, space})
    for fact in index.facts({kind: "source.toolkit.fluxcd.io"}):
        if fact.name == name and fact.namespace in {None, space}:
            yield fact.source


def _revision(source: Source) -> tuple[Place, ...]:
    """The version of a chart's source. In an OCIRepository digest goes before semver, and semver before tag."""
    if spots := source.spots(("spec", "version")):  # a HelmChart
        return tuple(Place("plain", spot) for spot in spots)
    digest = source.spots(("spec", "ref", "digest"))
    tags = tuple(Place("tag", s, digest[-1] if digest else None) for s in source.spots(("spec", "ref", "tag")))
    return tags + tuple(Place("plain", spot) for spot in source.spots(("spec", "ref", "semver")))
