"""Which tests stand for what must hold: `python tests/matrix.py` prints every matrix, `--gaps` only what is missing.

A matrix is a list of sentences by id and a mark of that name: promises, and faults that users and attackers found.
Tests are found without importing them, by their `@pytest.mark.promise("id")`. An id without a test is a gap, unless it
is one of the file's `pending`; so is a mark that names no id, and a pending id that has its test. `--page` prints
docs/promises.md.
"""

from __future__ import annotations

import ast
import functools
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bad_inputs import COUNTS, TABLE_TEST

__all__ = ["MATRICES", "Matrix", "load", "marked", "page"]

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Matrix:
    """Sentences by id, and the tests by their marks.

    Args:
        mark: of the tests, and what one sentence is called.
        sentences: by id, in the order of the file.
        tests: by every id that a mark names, sorted.
        pending: ids that may be without a test as yet.
    """

    mark: str
    sentences: dict[str, str]
    tests: dict[str, list[str]]
    pending: frozenset[str] = frozenset()

    @property
    def gaps(self) -> list[str]:
        """What is missing, a line each."""
        bare = [f"no test of {self.mark} {name}" for name in self.sentences if name not in {*self.tests, *self.pending}]
        known = [
            f"{name} is no {self.mark} ({', '.join(self.tests[name])})"
            for name in sorted(self.tests)
            if name not in self.sentences
        ]
        done = [
            f"{self.mark} {name} is pending and {'has a test' if name in self.tests else 'unknown'}"
            for name in sorted(self.pending)
            if name in self.tests or name not in self.sentences
        ]
        return bare + known + done


def load(mark: str, root: Path = HERE) -> Matrix:
    """The matrix of a mark, for the tests below a folder."""
    file, names = _FILES[mark]
    data = tomllib.loads((HERE / file).read_text(encoding="utf-8"))
    tables = [data[name] for name in names] if names else [table for table in data.values() if isinstance(table, dict)]
    sentences = {name: sentence for table in tables for name, sentence in table.items()}
    tests = marked(mark, root)
    if mark == "bad_input":  # the table itself says of which group each of its inputs is
        sentences = {name: f"{sentence} {COUNTS[name]} inputs in {file}." for name, sentence in sentences.items()}
        tests = {name: [*([TABLE_TEST] if COUNTS[name] else []), *tests.get(name, [])] for name in {*tests, *COUNTS}}
    return Matrix(mark, sentences, tests, frozenset(data.get("pending", ())))


# mark -> the file with the sentences, and in which of its tables; without names in all
_FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "promise": ("promises.toml", ()),
    "fault": ("traps.toml", ("faults",)),
    "trap": ("traps.toml", ("traps",)),
    "bad_input": ("bad_inputs.toml", ("groups",)),
}
MATRICES = tuple(_FILES)


def marked(mark: str = "promise", root: Path = HERE) -> dict[str, list[str]]:
    """The tests of every id that a mark names, as pytest would call them, sorted."""
    found: dict[str, list[str]] = {}
    for name, argument, test in _marks_below(root):
        if name == mark:
            found.setdefault(argument, []).append(test)
    return found


@functools.cache
def _marks_below(root: Path) -> tuple[tuple[str, str, str], ...]:
    """(mark, argument, test) for all marks of all tests; the argument is empty where there is none."""
    found = []
    for file in sorted(root.rglob("test_*.py")):
        where = file.relative_to(root.parent).as_posix()
        for mark, argument, test in _marks(ast.parse(file.read_bytes(), str(file))):
            found.append((mark, argument, f"{where}::{test}" if test else where))
    return tuple(found)


def _marks(module: ast.Module) -> Iterator[tuple[str, str, str]]:
    """For each mark on a test, on a class (all its tests), or in the module's `pytestmark` (no name)."""
    for node in module.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
            marks = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            yield from ((*one, "") for mark in marks for one in _arguments(mark))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield from ((*one, node.name) for mark in node.decorator_list for one in _arguments(mark))
        elif isinstance(node, ast.ClassDef):
            yield from ((*one, node.name) for mark in node.decorator_list for one in _arguments(mark))
            for mark, argument, test in _marks(ast.Module(node.body, [])):
                yield mark, argument, f"{node.name}::{test}"


def _arguments(mark: ast.expr) -> Iterator[tuple[str, str]]:
    called = mark if isinstance(mark, ast.Call) else ast.Call(mark, [], [])
    name = ast.unparse(called.func)
    if name.startswith("pytest.mark."):
        texts = [str(argument.value) for argument in called.args if isinstance(argument, ast.Constant)]
        yield from ((name.removeprefix("pytest.mark."), text) for text in texts or [""])


def page(matrix: Matrix) -> str:
    """The page docs/promises.md, as Markdown."""
    head = (
        "# What infra-mcp promises\n\n"
        "Each promise is proved by the tests named beside it; `make report` fails where one is missing, and\n"
        "`make prove` breaks the product on purpose to see that they notice. This page is generated:\n"
        "`python tests/matrix.py --page > docs/promises.md`.\n\n"
        "| promise | what it means | proved by |\n|---|---|---|\n"
    )
    return head + "".join(
        f"| `{name}` | {sentence.replace('|', '&#124;')} | {_links(matrix.tests.get(name, []))} |\n"
        for name, sentence in matrix.sentences.items()
    )


def _links(tests: list[str]) -> str:
    """In which files: names and numbers of single tests change too often for a page."""
    return ", ".join(f"[{file}](../{file})" for file in dict.fromkeys(test.partition("::")[0] for test in tests))


def main(arguments: list[str]) -> int:
    """Print the matrices, the gaps, or the page."""
    if arguments == ["--page"]:
        sys.stdout.write(page(load("promise")))
        return 0
    if arguments not in ([], ["--gaps"]):
        sys.stderr.write("usage: python tests/matrix.py [--gaps | --page]\n")
        return 2
    failing = {test for tests in marked("xfail").values() for test in tests}
    missing = 0
    for matrix in map(load, MATRICES):
        for name, sentence in () if arguments else matrix.sentences.items():
            tests = matrix.tests.get(name) or ["no test as yet"]
            lines = [f"    {test}{' (fails as yet)' if test in failing else ''}\n" for test in tests]
            sys.stdout.write(f"{name}: {sentence}\n{''.join(lines)}")
        count, proofs, gaps = len(matrix.sentences), sum(map(len, matrix.tests.values())), matrix.gaps
        as_yet = len({test for tests in matrix.tests.values() for test in tests} & failing)
        sys.stderr.write("".join(f"{line}\n" for line in gaps))
        sys.stdout.write(
            f"{count} {matrix.mark}s, {proofs} tests, {as_yet} of them fail as yet, "
            f"{len(matrix.pending)} pending, {len(gaps)} gaps\n"
        )
        missing += len(gaps)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
