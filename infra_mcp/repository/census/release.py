"""A release of a chart: where its values and its version stand, and which of them decides, whatever installs it.

The modules of the deliverers say where their files have the fields. What lies over what is the same for all of them, as
Helm has it: the chart's own values, then those that are given, then parameters.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from infra_mcp.repository.census.chart import chart_holds, replicas_of
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.parameters import HelmParameters, Parameter
from infra_mcp.repository.layers import Source, Spot, helm_values
from infra_mcp.repository.locator.holds import Hold, images_in_values
from infra_mcp.repository.locator.places import places_of

# Values of a release: the path of a file, values that stand elsewhere, or None for some that are not known here.
Values = str | Source | None


@dataclass(frozen=True)
class Release:
    """What a release is made of.

    Args:
        index: of the repository.
        chart: the folder of its chart; None for a chart from elsewhere.
        given: the values that lie over the chart's own, lowest first.
        parameters: values that are set by their names, over all others.
        others: versions that stand in no values: that of a chart from elsewhere, for one.
        stands_alone: whether the given values stand for the chart's own.
    """

    index: Index
    chart: str | None
    given: Sequence[Values]
    parameters: tuple[Parameter, ...] = ()
    others: tuple[Hold, ...] = ()
    stands_alone: bool = False

    @cached_property
    def values(self) -> Source:
        """Its values, with everything that sets them; without what lies below some that are not known."""
        own = posixpath.join(self.chart, "values.yaml") if self.chart is not None else None
        given = list(self.given) if self.stands_alone or own in self.given else [own, *self.given]
        known = given[len(given) - given[::-1].index(None) :] if None in given else given
        values = helm_values([source for one in known for source in self._sources(one)])
        return HelmParameters(values, self.parameters) if self.parameters else values

    def _sources(self, one: Values) -> Sequence[Source]:
        return self.index.sources(one) if isinstance(one, str) else [one] if one is not None else []

    def holds(self) -> Iterator[Hold]:
        """The versions that it holds."""
        if self.chart is not None and None not in self.given:
            yield from chart_holds(self.index, self.chart, self.values)
        else:
            yield from images_in_values(self.values)
        yield from self.others

    def replicas(self) -> Sequence[Spot]:
        """The places that set its number of pods, lowest first."""
        return replicas_of(self.values)


def chart_version(chart: str, spots: Sequence[Spot]) -> Hold:
    """The version of a chart from elsewhere, by the places that set it."""
    return Hold("chart", f"chart {chart}", places_of("plain", spots))


def looked_up(read: Callable[[], Release]) -> tuple[Callable[[], Iterator[Hold]], Callable[[], Sequence[Spot]]]:
    """What a unit asks of its release, which is read once, at the first question: versions, and places of replicas."""
    kept = cache(read)
    return lambda: kept().holds(), lambda: kept().replicas()
