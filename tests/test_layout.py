"""How the code is laid out: small modules, names that say something, and nothing of the machine it was written on."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "infra_mcp").rglob("*.py"))
MAX_LINES = 400
EMPTY_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc"}
# Assembled, so that this file does not hold what it looks for.
FORBIDDEN = [f"/{folder}/" for folder in ("root", "work")] + ["tmp/" + "proto"]
FORBIDDEN += ["shared/" + name for name in ("design", "notes", "promises", "hooks")]
TEXTS = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".cfg", ".mod", ".mako", ""}
FOLDERS = ("infra_mcp", "tests", "demo", "bench", "docs", "manifests", ".ci")


def _name(path):
    return path.relative_to(ROOT).as_posix()


def _files():
    found = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return sorted(path for path in found if path.suffix in TEXTS and "__pycache__" not in path.parts)


def test_there_are_modules_to_look_at():
    assert len(MODULES) > 50


def test_a_module_says_what_it_is_for_and_stays_short():
    texts = {_name(module): module.read_text(encoding="utf-8") for module in MODULES}
    silent = [name for name, text in texts.items() if text.strip() and not ast.get_docstring(ast.parse(text))]

    assert [name for name, text in texts.items() if len(text.splitlines()) > MAX_LINES] == [], "split them by step"
    assert silent == [], "a module begins with what it is for"


def test_no_module_has_a_name_that_says_nothing():
    assert [_name(path) for path in MODULES if path.stem in EMPTY_NAMES or path.parent.name in EMPTY_NAMES] == []


def test_nothing_refers_to_the_place_it_was_written_in():
    found = []
    for path in _files():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{_name(path)}: {word}" for word in FORBIDDEN if word in text]
    assert found == []


# What the walls stand on: whoever misspells one of these in one of two places has a hole.
SAFETY = {"infra-mcp-circle", "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"}


def _constants(module):
    """The strings of a module's code; docstrings and a whole page of text aside."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    said = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in said:
            yield node.value


@pytest.mark.fault("l06")
def test_each_name_and_type_that_safety_rests_on_is_written_down_once():
    found = [
        (value, _name(module))
        for module in MODULES
        for value in _constants(module)
        if value in SAFETY or value.startswith("infra-mcp.dev/")
    ]
    twice = {value: [where for other, where in found if other == value] for value, _ in found}

    assert twice.keys() >= SAFETY
    assert {value: where for value, where in twice.items() if len(where) > 1} == {}
