"""The values of a chart that Argo CD renders, and the versions in them.

What is on top: parameters, then `valuesObject` (with it `values` is not read), `values`, the values files from the last
to the first, the chart's own values. Source: Argo CD, "Helm"; Helm, `strvals`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.census.argo_apps import normal
from infra_mcp.repository.census.argo_templates import OPEN, Fixed, Rendered, Tail, Text
from infra_mcp.repository.census.chart import files_of, sources_of
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.layers import Below, Document, Inside, Source, Spot, helm_values
from infra_mcp.repository.lenient import as_text, items, mapping, maps, name_steps
from infra_mcp.repository.locator.holds import Hold
from infra_mcp.repository.partial import get_path, positions
from infra_mcp.repository.scalars import Json

_MAX_INDEX: Final = 1000
_MAX_STEPS: Final = 30
_STEP = re.compile(r"((?:[^.\[\]\\]|\\.)*)((?:\[\d{1,4}\])*)(?:\.|$)")
_REMOTE = re.compile(r"[a-z][a-z0-9+]*://", re.IGNORECASE)
_SECRETS = re.compile(r"secrets(?:\+[\w-]+)*://", re.IGNORECASE)  # helm-secrets: an encrypted file of this repository
_NUMBER = re.compile(r"0|-?[1-9]\d{0,17}")
_CONSTANTS: Final = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Helm:
    """One source of an Application that is a chart.

    Args:
        index: of the repository.
        spec: the source; its places.
        folder: the chart's, where it is in this repository.
        refs: the other sources by their `ref`, and whether each is this repository.
        template: the same source in an ApplicationSet's template.
    """

    index: Index
    spec: Source
    folder: str | None
    refs: Mapping[str, bool]
    template: Rendered | None = None

    @cached_property
    def files(self) -> frozenset[str]:
        """The values files that it reads, and the chart's own."""
        named = frozenset(path for path in self._named if path)
        return named | (files_of(self.index, self.folder) if self.folder is not None else frozenset())

    @cached_property
    def _named(self) -> list[str | None]:
        """The path of each values file; None for one that is not known, or elsewhere."""
        return [self._path(one) for one in items(self.spec.value, "helm", "valueFiles")]

    def _path(self, given: Json) -> str | None:
        if not isinstance(given, str) or not given:
            return None
        text = _SECRETS.sub("", given)
        ref, _, rest = text.partition("/")
        if text.startswith("$"):
            path = normal(rest) if self.refs.get(ref[1:]) else ""
        elif _REMOTE.match(text) or self.folder is None:
            path = ""
        else:
            path = normal(text if text.startswith("/") else f"{self.folder}/{text}")
        entry = self.index.tree.entries.get(path)
        is_link = entry is not None and not entry.mode.startswith("100")
        return None if not path or path.startswith("..") or is_link else path

    @cached_property
    def is_whole(self) -> bool:
        """Whether everything that sets its values is known."""
        return None not in self._named and (self._text is None or isinstance(self._text.value, dict))

    @cached_property
    def values(self) -> Source:
        """Its values, with everything that sets them; without what lies below a source that is not known."""
        own = sources_of(self.index, self.folder) if self.folder is not None else []
        again = self.folder is not None and f"{self.folder}/values.yaml".lstrip("/") in self._named
        low: list[Source | None] = [] if again else [*own]
        low += [None] if self.folder is None else []
        low += [Document(path, 0, self.index.document(path)) if path else None for path in self._named]
        inline: Source = Below(self.spec, ("helm", "valuesObject"))
        if self._text is not None:
            is_object = isinstance(inline.value, dict)
            low += [] if is_object or isinstance(self._text.value, dict) else [None]
            inline = _Hidden(self._text, inline) if is_object else self._text
        known = low[len(low) - low[::-1].index(None) :] if None in low else low
        return Parameters(helm_values([*filter(None, known), inline]), tuple(self._parameters()))

    @cached_property
    def _text(self) -> Source | None:
        at: FieldPath = ("helm", "values")
        text = get_path(self.template.base.value if self.template else self.spec.value, at)[1]
        if not isinstance(text, str) or not text.strip():
            return None
        if self.template and OPEN in text:
            return Rendered(Text(self.template.base, at), self.template.parameters)
        return Inside(self.spec, at)

    def _parameters(self) -> Iterator[Parameter]:
        """As Argo CD gives them to Helm: those that are texts after the others, files last."""
        listed = items(self.spec.value, "helm", "parameters")
        for forced in (False, True):
            for step, one in zip(name_steps(listed, "name"), map(mapping, listed), strict=True):
                if (one.get("forceString") is True) is forced:
                    source = Below(self.spec, ("helm", "parameters", step, "value"))
                    yield Parameter(as_text(one.get("name")), source, is_text=forced)
        for given in maps(self.spec.value, "helm", "fileParameters"):
            path = self._path(given.get("path"))
            document = next(iter(self.index.documents(path)), None) if path else None
            held: Source = Document(path, 0, document) if path and isinstance(document, str) else Fixed(None)
            yield Parameter(as_text(given.get("name")), held, is_text=True)


@dataclass(frozen=True)
class Parameter:
    """A value that is set by its name, as `helm --set` does."""

    name: str
    source: Source  # the value
    is_text: bool

    @property
    def value(self) -> Json:
        """The value as Helm takes it: a number, true, false or null, unless it is to be a text."""
        value = self.source.value
        if self.is_text or not isinstance(value, str):
            return value
        return int(value) if _NUMBER.fullmatch(value) else _CONSTANTS.get(value, value)

    @cached_property
    def field(self) -> FieldPath | None:
        """The field that it sets; None where its name is none."""
        steps: list[Any] = []
        at = 0
        while at < len(self.name) and len(steps) < _MAX_STEPS:
            found = _STEP.match(self.name, at)
            if found is None or not found[1] or found.end() == at:
                return None
            steps.append(re.sub(r"\\(.)", r"\1", found[1]))
            steps += [int(one) for one in re.findall(r"\d+", found[2])]
            at = found.end()
        fits = all(step < _MAX_INDEX for step in steps if isinstance(step, int))
        return tuple(steps) if steps and fits and at >= len(self.name) else None


@dataclass(frozen=True)
class Parameters:
    """Values with parameters set in them."""

    base: Source
    parameters: tuple[Parameter, ...]

    @cached_property
    def value(self) -> Json:
        """The values."""
        value = deepcopy(self.base.value) if isinstance(self.base.value, dict) else {}
        for one in self.parameters:
            if one.field is not None:
                _put(value, one.field, one.value)
        return value

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        """The places in the values, then those of the parameters that set the field."""
        at = positions(self.value, field)
        over = [spot for one in self.parameters if at and one.field == at for spot in one.source.spots(())]
        return (*self.base.spots(field), *over)


@dataclass(frozen=True)
class _Hidden:
    """Values that are not read since others are there: they are masked where these set the field, and else nothing."""

    low: Source
    high: Source

    @property
    def value(self) -> Json:
        return self.high.value

    def spots(self, field: FieldPath) -> tuple[Spot, ...]:
        high = self.high.spots(field)
        return (*self.low.spots(field), *high) if high else ()


def written(holds: Iterable[Hold]) -> Iterator[Hold]:
    """Versions with their places as templates have them: a tag alone where it stands behind the image's name."""
    for hold in holds:
        places = tuple(
            replace(one, form="tag") if isinstance(one.spot, Tail) and one.form == "image" else one
            for one in hold.places
        )
        if not any(isinstance(one.spot, Tail) and one.form != "tag" for one in places):
            yield replace(hold, places=places)


def _put(value: dict[str, Any], field: FieldPath, new: Json) -> None:
    """Set a value; one that does not fit is not set, as Helm refuses it. Lists grow as needed."""
    here: Any = value
    for step, after in zip(field, (*field[1:], None), strict=True):
        empty: Any = new if after is None else {} if isinstance(after, str) else []
        if isinstance(step, int) and isinstance(here, list):
            here += [None] * (step + 1 - len(here))
        elif isinstance(step, str) and isinstance(here, dict):
            here.setdefault(step, None)
        else:
            return
        if after is None or not isinstance(here[step], type(empty)):
            here[step] = empty
        here = here[step]
