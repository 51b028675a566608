"""The table of bad inputs: `bad_inputs.toml`, each input alone."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["COUNTS", "NAMES", "TABLE_TEST", "Input", "inputs"]

FILE = Path(__file__).with_suffix(".toml")
_DATA = tomllib.loads(FILE.read_text(encoding="utf-8"))
# The values of the first group, which are no name of anything.
NAMES: list[str] = next(one["values"] for one in _DATA["cross"] if one["group"] == 1)


class Input(NamedTuple):
    """One of them: its group, the action with its arguments, and the code of its refusal."""

    group: int
    action: str
    arguments: dict[str, Any]
    code: str


def inputs() -> Iterator[Input]:
    """All inputs, in the order of the file."""
    for table in _DATA["cross"]:
        for value in table["values"]:
            for place in table["into"]:
                filled = {name: value if given == "?" else given for name, given in place.items()}
                yield _input(table["group"], filled, table["code"])
    for table in _DATA["single"]:
        for given in table["inputs"]:
            yield _input(table["group"], given, given["code"])


def _input(group: int, given: dict[str, Any], code: str) -> Input:
    arguments = {name: value for name, value in given.items() if name not in {"action", "code"}}
    return Input(group, given["action"], arguments, code)


COUNTS = Counter(str(one.group) for one in inputs())  # how many inputs each group has in the file
# What sends each of them through every channel.
TABLE_TEST = (
    "tests/server/test_bad_inputs.py::"
    "test_every_bad_input_of_the_table_is_refused_by_its_code_and_with_a_row_through_every_channel"
)
