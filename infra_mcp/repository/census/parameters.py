"""Values that are set by their names, as `helm --set` does. Source: Helm, `strvals`."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.layers import Source, Spot
from infra_mcp.repository.partial import positions
from infra_mcp.repository.scalars import Json

_MAX_INDEX: Final = 1000
_MAX_STEPS: Final = 30
_STEP = re.compile(r"((?:[^.\[\]\\]|\\.)*)((?:\[\d{1,4}\])*)(?:\.|$)")
_NUMBER = re.compile(r"0|-?[1-9]\d{0,17}")
_CONSTANTS: Final = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Parameter:
    """A value that is set by its name."""

    name: str
    source: Source  # the value
    is_text: bool = False

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
class HelmParameters:
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
