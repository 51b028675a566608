"""Which test proves which promise: `python tests/promises.py`, and with `--table` the table of docs/promises.md.

Tests are found without importing them, by their `@pytest.mark.promise("id")`. A promise without a test is a gap, and so
is a mark that names no promise: either way this ends with 1.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["gaps", "load", "marked", "table"]

HERE = Path(__file__).resolve().parent


def load(file: Path = HERE / "promises.toml") -> dict[str, str]:
    """All promises: id and sentence, in the order of the file."""
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    return {name: sentence for table in tables.values() for name, sentence in table.items()}


def marked(root: Path = HERE) -> dict[str, list[str]]:
    """The tests of every id that a mark names, as pytest would call them, sorted."""
    found: dict[str, list[str]] = {}
    for file in sorted(root.rglob("test_*.py")):
        where = file.relative_to(root.parent).as_posix()
        for promise, test in _marks(ast.parse(file.read_bytes(), str(file))):
            found.setdefault(promise, []).append(f"{where}::{test}" if test else where)
    return found


def _marks(module: ast.Module) -> Iterator[tuple[str, str]]:
    """(id, test) for each mark: on a test, on a class (all its tests), or as the module's `pytestmark` (no name)."""
    for node in module.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
            marks = node.value.elts if isinstance(node.value, ast.List | ast.Tuple) else [node.value]
            yield from ((promise, "") for mark in marks for promise in _ids(mark))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield from ((promise, node.name) for mark in node.decorator_list for promise in _ids(mark))
        elif isinstance(node, ast.ClassDef):
            yield from ((promise, node.name) for mark in node.decorator_list for promise in _ids(mark))
            for inner in _marks(ast.Module(node.body, [])):
                yield inner[0], f"{node.name}::{inner[1]}"


def _ids(mark: ast.expr) -> Iterator[str]:
    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.promise":
        yield from (str(argument.value) for argument in mark.args if isinstance(argument, ast.Constant))


def gaps(promises: dict[str, str], tests: dict[str, list[str]]) -> list[str]:
    """What is missing, a line each."""
    unproved = [f"no test proves {name}" for name in promises if name not in tests]
    unknown = [f"{name} is no promise ({', '.join(tests[name])})" for name in sorted(tests) if name not in promises]
    return unproved + unknown


def table(promises: dict[str, str], tests: dict[str, list[str]]) -> str:
    """The page docs/promises.md, as Markdown."""
    head = (
        "# What infra-mcp promises\n\n"
        "Each promise is proved by the tests named beside it; `make promises` fails where one is missing, and\n"
        "`make prove` breaks the product on purpose to see that they notice. This page is generated:\n"
        "`python tests/promises.py --table > docs/promises.md`.\n\n"
        "| promise | what it means | proved by |\n|---|---|---|\n"
    )
    return head + "".join(
        f"| `{name}` | {sentence.replace('|', '&#124;')} | {_files(tests.get(name, []))} |\n"
        for name, sentence in promises.items()
    )


def _files(tests: list[str]) -> str:
    """In which files: names and numbers of single tests change too often for a page."""
    return ", ".join(f"[{file}](../{file})" for file in dict.fromkeys(test.partition("::")[0] for test in tests))


def main(arguments: list[str]) -> int:
    """Print the promises with their tests, or the table."""
    promises, tests = load(), marked()
    if arguments == ["--table"]:
        sys.stdout.write(table(promises, tests))
        return 0
    if arguments:
        sys.stderr.write("usage: python tests/promises.py [--table]\n")
        return 2
    for name, sentence in promises.items():
        proofs = "".join(f"    {test}\n" for test in tests.get(name, []))
        sys.stdout.write(f"{name}: {sentence}\n{proofs}")
    missing = gaps(promises, tests)
    sys.stderr.write("".join(f"{line}\n" for line in missing))
    sys.stdout.write(f"{len(promises)} promises, {sum(map(len, tests.values()))} proofs, {len(missing)} gaps\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
