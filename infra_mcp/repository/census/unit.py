"""What is delivered and has a version: a HelmRelease, a workload, a chart with its values, a file with a tag."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from infra_mcp.repository.census.built import Built
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.layers import Spot
from infra_mcp.repository.locator.holds import Hold
from infra_mcp.repository.locator.places import Place

if TYPE_CHECKING:
    from infra_mcp.repository.census.release import Release


@dataclass(frozen=True, eq=False)
class Unit:
    """One of them, at one place. Its versions are looked up when they are asked for.

    Args:
        app: the name of its app.
        kind: what it is: `HelmRelease`, `Deployment`, `Chart`.
        name: its own name there.
        namespace: where it runs, as far as the repository says.
        path: the file that holds it.
        entry: how it is delivered.
        words: words beside those of the entry that may tell it from other instances of the app: an environment's.
        find: gives the versions that it holds.
        replicas: gives the places that set its number of pods, lowest first.
    """

    app: str
    kind: str
    name: str
    namespace: str | None
    path: str
    entry: Entry
    find: Callable[[], Iterable[Hold]] = field(repr=False, compare=False)
    replicas: Callable[[], Sequence[Spot]] = field(default=tuple, repr=False, compare=False)
    words: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()  # other names that people may mean it by
    built: Built | None = None  # its object, where it is one
    release: Callable[[], Release] | None = field(default=None, repr=False, compare=False)  # the chart and its values

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders of the kustomizations that it goes through, innermost first."""
        return self.built.folders if self.built else ()

    @cached_property
    def holds(self) -> tuple[Hold, ...]:
        """The versions that it holds."""
        found = []
        for one in self.find():
            # A version is a text or a number, or is not there yet: where a map or a list stands, it is something else.
            places = tuple(self._followed(its) for its in one.places if not isinstance(its.spot.value, dict | list))
            if places:
                found.append(replace(one, places=places, automation=one.automation or self._writer(one)))
        return tuple(found)

    def _writer(self, hold: Hold) -> str:
        return self.entry.automated.get(hold.image, "") if hold.setting == "version" else ""

    def _followed(self, place: Place) -> Place:
        """The place of a variable's value, where the version is a variable that the deliverer replaces."""
        spot = self.entry.followed(replace(place.spot, value=place.version))
        return (
            place
            if (spot.path, spot.field) == (place.spot.path, place.spot.field)
            else Place("tag", spot, place.digest)
        )

    @cached_property
    def trail(self) -> tuple[str, ...]:
        """The words that may tell it from other instances of the app."""
        return (*self.entry.trail, *words_of(self.folders), *self.words, *((self.namespace,) if self.namespace else ()))

    @property
    def decides_replicas(self) -> tuple[Spot, ...]:
        """The places that set its number of pods, lowest first, variables followed."""
        return tuple(self.entry.followed(spot) for spot in self.replicas())

    def layers(self, spot: Spot) -> tuple[Spot, ...]:
        """Every place that sets the field of its object that a place sets, lowest first."""
        if self.built is None or spot.inside is not None:
            return ()
        base = self.built.base
        is_item = (base.path, base.document) == (spot.path, spot.document) and spot.field[: len(base.at)] == base.at
        return self.built.spots(spot.field[len(base.at) :] if is_item else spot.field)

    def __str__(self) -> str:
        """As people call it: `HelmRelease media/jellyfin`."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def words_of(folders: Sequence[str]) -> tuple[str, ...]:
    """The words of folders, outermost folder first."""
    return tuple(dict.fromkeys(word for folder in reversed(folders) for word in folder.split("/") if word))
