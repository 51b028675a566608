"""Values that stand on top of each other, lowest first, and the place in a file that each field of the result is from.

Helm lays values files over each other, kustomize lays patches over objects, Flux lays inline values over those of
ConfigMaps. What is on top decides; what it hides is masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from infra_mcp.model.effect import FieldPath
from infra_mcp.model.location import At
from infra_mcp.repository.lenient import items, name_steps
from infra_mcp.repository.nodes import Unreadable, compose, values
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.scalars import Json


@dataclass(frozen=True)
class Spot:
    """A place in a file that holds one value."""

    path: str
    document: int  # counted from zero
    field: FieldPath
    value: Json  # None where the place is absent
    inside: FieldPath | None = None  # the field in the YAML text that `field` holds (Argo CD's `helm.values: |`)

    def beside(self, key: str) -> Spot:
        """The place of another key of the same map, which it does not have."""
        if self.inside is not None:
            return replace(self, inside=(*self.inside[:-1], key), value=None)
        return replace(self, field=(*self.field[:-1], key), value=None)

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells places apart."""
        return self.path, self.document, repr(self.field), repr(self.inside)

    def __str__(self) -> str:
        """The place as infra.toml has it."""
        return str(At(self.path, self.document or None, (*self.field, *(self.inside or ()))))


class Tail(Spot):
    """A place whose value a template puts behind a colon: a tag."""


class Source(Protocol):
    """A value, and where each field of it is from."""

    @property
    def value(self) -> Json:
        """The value."""

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        """Every place that sets this field, lowest first: the last one decides."""


@dataclass(frozen=True)
class Document:
    """A value as it stands in one file."""

    path: str
    document: int
    value: Json
    at: FieldPath = ()  # where in the document it stands

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        """Its own place, if it has the field."""
        found, value = get_path(self.value, field)
        return (Spot(self.path, self.document, (*self.at, *field), value),) if found else ()


@dataclass(frozen=True)
class Below:
    """A part of another source: the values of a HelmRelease, for one."""

    source: Source
    at: FieldPath

    @cached_property
    def value(self) -> Json:
        """The part; None where there is none."""
        return get_path(self.source.value, self.at)[1]

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        """The places of the field in the whole."""
        return self.source.spots((*self.at, *field))


def parts(source: Source, at: FieldPath, *keys: str) -> list[Below]:
    """The items of a list in a source, each found by the first of these keys that tells it apart, else by its index."""
    found = []
    listed = items(get_path(source.value, at)[1])
    for step, item in zip(name_steps(listed, *keys), listed, strict=True):
        part = Below(source, (*at, step))
        vars(part)["value"] = item  # it is known: to look for each item of a list by its name would be quadratic
        found.append(part)
    return found


@dataclass(frozen=True)
class Inside:
    """YAML in a text that another source holds: Argo CD's `helm.values`, a ConfigMap's `values.yaml`."""

    source: Source
    at: FieldPath

    @cached_property
    def value(self) -> Json:
        """The text as YAML; None where it cannot be read."""
        return parsed(get_path(self.source.value, self.at)[1])

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        """The place in the text that decides, in each place that holds such a text."""
        found = []
        for spot in self.source.spots(self.at):
            there, value = get_path(parsed(spot.value), field)
            if there and spot.inside is None:
                found.append(replace(spot, inside=field, value=value))
        return tuple(found)


@dataclass(frozen=True)
class Stack:
    """Several sources, laid over each other; the last one decides."""

    sources: Sequence[Source]

    @cached_property
    def value(self) -> Json:
        """All of them, merged."""
        merged: Json = None
        for source in self.sources:
            merged = source.value if merged is None else laid(merged, source.value)
        return merged

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        """The places of each source, in order."""
        return tuple(spot for source in self.sources for spot in source.spots(field))


def helm_values(sources: Sequence[Source]) -> Stack:
    """Values as Helm lays them over each other: maps are merged, anything else is replaced, null removes a key."""
    return Stack([source for source in sources if isinstance(source.value, dict)])


def parsed(text: Json) -> Json:
    """A text's first YAML document, which is what Helm and kustomize's readers take; None where it has none.

    An edit of a text with several documents is refused.
    """
    if not isinstance(text, str):
        return None
    try:
        documents = values(compose(text))
    except Unreadable:
        return None
    return documents[0] if documents else None


def laid(low: Json, high: Json) -> Json:
    """A value laid over another one as Helm lays values and a JSON merge patch does (RFC 7396); both stay as they are.

    Maps are merged, anything else is replaced, null removes a key.
    """
    if not isinstance(high, dict):
        return high
    out = dict(low) if isinstance(low, dict) else {}
    for key, item in high.items():
        if item is None:
            out.pop(key, None)
        else:
            out[key] = laid(out.get(key), item)
    return out
