"""The apps of a repository, each with its instances: what runs it in one environment, cluster or namespace."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from infra_mcp.repository.census import (
    argocd,
    charts,
    declared,
    deployers,
    flux,
    helmfile,
    inflated,
    remote,
    tags,
)
from infra_mcp.repository.census.argo_apps import Applications
from infra_mcp.repository.census.entries import Entry, entries
from infra_mcp.repository.census.environments import ENVIRONMENTS
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.others import Other, others
from infra_mcp.repository.census.unit import Unit


@dataclass(frozen=True)
class Instance:
    """One instance of an app: its units that are told apart from other instances by the same words."""

    app: str
    environment: str | None  # None where there is only this one
    units: tuple[Unit, ...]

    @property
    def entry(self) -> Entry:
        """How it is delivered."""
        return self.units[0].entry


@dataclass(frozen=True)
class Census:
    """What a repository holds; nothing is read before it is asked for."""

    index: Index = field(repr=False)

    @cached_property
    def applications(self) -> Applications:
        """The Applications of Argo CD, and what only the cluster knows of them."""
        return Applications(self.index)

    @cached_property
    def entries(self) -> list[Entry]:
        """Where deliveries start."""
        given = entries(self.index, argocd.entries(self.index, self.applications))
        found = [flux.with_charts(self.index, entry) for entry in given]
        for more in (helmfile.entries, declared.entries, deployers.entries, charts.entries, tags.entries):
            found += more(self.index, {path for entry in found for path in entry.files})
        return found

    @cached_property
    def others(self) -> list[Other]:
        """What it holds beside apps."""
        return others(self.index)

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """Everything that is delivered and may have a version, in the order of the repository."""
        found: list[Unit] = []
        for entry in self.entries:
            found += (*flux.units(self.index, entry), *entry.workloads, *remote.units(self.index, entry))
            found += (*inflated.units(self.index, entry), *entry.parts(entry))
        return tuple(helmfile.with_bootstraps(found))

    @cached_property
    def apps(self) -> dict[str, tuple[Instance, ...]]:
        """The instances of each app, by its name."""
        return {name: instances(name, found) for name, found in sorted(self._named.items())}

    @cached_property
    def _named(self) -> dict[str, list[Unit]]:
        """The units of each app."""
        named: dict[str, list[Unit]] = {}
        for unit in self.units:
            named.setdefault(unit.app, []).append(unit)
        return named

    def find(self, app: str) -> tuple[Instance, ...]:
        """The instances of an app, by its name or by another name that people may mean it by."""
        return instances(app, self._named.get(app) or [unit for unit in self.units if app in unit.aliases])


def instances(app: str, units: Iterable[Unit]) -> tuple[Instance, ...]:
    """The units of an app, by what tells them apart."""
    found = list(units)
    trails = [frozenset(unit.trail) for unit in found]
    common = frozenset.intersection(*trails) if trails else frozenset()
    told: list[tuple[tuple[str, ...], Unit]] = []
    for unit in found:
        own = [word for word in dict.fromkeys(unit.trail) if word not in common]
        told.append((tuple([word for word in own if ENVIRONMENTS.fullmatch(word)] or own), unit))
    clusters: dict[tuple[str, ...], set[str | None]] = {}
    for words, unit in told:
        clusters.setdefault(words, set()).add(unit.entry.cluster)
    groups: dict[tuple[str, ...], list[Unit]] = {}
    for words, unit in told:
        cluster = unit.entry.cluster if len(clusters[words]) > 1 else None  # prod of two clusters is two instances
        groups.setdefault((cluster, *words) if cluster and cluster not in words else words, []).append(unit)
    first = [words[:1] for words in groups]
    short = len({words[:1] for words in clusters}) == len(groups) and () not in first  # the first word tells them apart
    names = {words: "/".join(words[:1] if short else words) or "base" for words in groups}
    alone = len(groups) == 1
    if alone:
        only = {word for word in common if ENVIRONMENTS.fullmatch(word)}
        names = dict.fromkeys(groups, only.pop() if len(only) == 1 else "")
    return tuple(Instance(app, names[words] or None, tuple(of)) for words, of in groups.items())
