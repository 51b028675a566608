"""Small repositories, changes asked of each, and what a careful person would do. Run it to print the matrix.

`SHAPE/repo` is a repository after the shape of real ones. `SHAPE/cases.toml` has a table for each change asked of it:

    [[case]]
    id = "the-v-and-the-quotes-stay"
    change = "tag"                              the column of the matrix
    run = ["deploy", "pantry", "2.4.3"]         what follows `infra-mcp preview`
    after = "the-v-and-the-quotes-stay"         SHAPE/after/ID holds exactly the changed files, byte for byte
    says = ["2.7.0"]                            words that the answer must have beside the files: what was left as it is
    reaches = ["flux kubernetes/apps/x"]        a delivery and its root that the plan must name
    spares = ["overlays/production"]            a path that no root of the plan may be at or below
    builds = { "overlays/staging" = "x:1.5" }   a build that changes, and what it gives then; all other builds stay

or, instead of `after`: `unchanged = true`, or `refused = "code"` with the words that the refusal `says`, and `why` a
careful person would refuse too. A shape with several clusters names them first: `clusters = ["lab", "plant"]`.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["CHANGES", "Case", "files", "load", "main"]

HERE = Path(__file__).resolve().parent
CHANGES = ("tag", "digest", "chart", "value", "several", "masked", "automation", "wrong place", "again")


@dataclass(frozen=True)
class Case:
    """One cell; its fields are the keys of the table, see the module."""

    shape: str
    id: str
    change: str
    run: tuple[str, ...]
    after: dict[str, bytes] = field(default_factory=dict)  # by path
    reaches: tuple[str, ...] = ()
    spares: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    builds: dict[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()  # a code, or several where nothing says which it must be
    why: str = ""
    unchanged: bool = False

    @property
    def environment(self) -> str | None:
        """The environment that is asked for, if any."""
        return self.run[self.run.index("--environment") + 1] if "--environment" in self.run else None

    def __str__(self) -> str:
        """Shape and id."""
        return f"{self.shape}/{self.id}"


def load(root: Path = HERE) -> list[Case]:
    """All cells, by shape and in the order of their files."""
    return [case for file in sorted(root.glob("*/cases.toml")) for case in _cases(file)]


def _cases(file: Path) -> Iterator[Case]:
    for table in tomllib.loads(file.read_text(encoding="utf-8"))["case"]:
        values: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in table.items()}
        if "after" in values:
            values["after"] = files(file.parent / "after" / values["after"])
        if isinstance(values.get("refused"), str):
            values["refused"] = (values["refused"],)
        yield Case(shape=file.parent.name, **values)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def main() -> int:
    """Print the matrix: shapes and changes; how many cells have exact bytes, are refused, or change nothing."""
    cases = load()
    shapes = sorted({case.shape for case in cases})
    width = max(map(len, shapes)) + 1
    columns = [max(len(change), 7) for change in CHANGES]
    head = "".join(change.rjust(column + 2) for change, column in zip(CHANGES, columns, strict=True))
    lines = [" " * width + head]
    for shape in shapes:
        of = [[case for case in cases if (case.shape, case.change) == (shape, change)] for change in CHANGES]
        cells = "".join(_cell(some).rjust(column + 2) for some, column in zip(of, columns, strict=True))
        lines.append(shape.ljust(width) + cells)
    count = Counter(_kind(case) for case in cases)
    lines.append(
        f"{len(shapes)} repositories, {len(cases)} cells: {count['exact']} with exact bytes, "
        f"{count['refused']} refused by name (x), {count['unchanged']} unchanged (=)"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _kind(case: Case) -> str:
    if case.refused:
        return "refused"
    return "unchanged" if case.unchanged else "exact"


def _cell(cases: list[Case]) -> str:
    count = Counter(map(_kind, cases))
    marks = {"exact": "", "refused": "x", "unchanged": "="}
    return " ".join(f"{count[kind]}{mark}" for kind, mark in marks.items() if count[kind]) or "."


if __name__ == "__main__":
    sys.exit(main())
