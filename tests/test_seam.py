"""One seam: what stands above actions and drivers knows none of them by name, and their registries agree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra_mcp.actions.registry import EDITS
from infra_mcp.drivers.registry import DELIVERIES
from infra_mcp.mesh.blocks import EXTRAS
from infra_mcp.model.actions import ACTIONS
from infra_mcp.policy.actions import RULES
from infra_mcp.server.tools import TOOLS
from infra_mcp.server.tools.change import Options

PACKAGE = Path(__file__).resolve().parent.parent / "infra_mcp"
ABOVE = [
    *(path for room in ("engine", "server", "mesh", "ledger", "model") for path in (PACKAGE / room).rglob("*.py")),
    PACKAGE / "policy" / "decide.py",
]
# The models themselves; migrations, which speak of the past; the one definition of `Target.system` of Kubernetes; and
# the signs that deliveries interpret.
EXCEPT = {"model/actions", "ledger/migrations", "model/object_ref.py", "model/inert.py"}
MODULES = sorted(path for path in ABOVE if not any(path.is_relative_to(PACKAGE / place) for place in EXCEPT))

DRIVERS = {path.name for path in (PACKAGE / "drivers").iterdir() if (path / "__init__.py").exists()}
NAMES = {*ACTIONS, *(name.replace("_", "-") for name in ACTIONS), *DELIVERIES, *DRIVERS}
CONCRETE = (
    *(f"infra_mcp{room}.{name}" for room in (".model.actions", ".policy.actions", ".actions") for name in ACTIONS),
    *(f"infra_mcp.drivers.{name}" for name in DRIVERS),
    "infra_mcp.model.object_ref",
)


def known(source: str) -> Iterator[str]:
    """What a module knows of concrete actions and drivers: imports of theirs, and their names as whole strings."""
    tree = ast.parse(source)
    # The values of a Literal are no names of actions: `rollback` is also what is done with a change that fails.
    values = {id(part) for node in ast.walk(tree) if _is_literal(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {alias.name}" for alias in node.names if _concrete(alias.name))
        elif isinstance(node, ast.ImportFrom):
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (f"import {name}" for name in named if _concrete(name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _names_one(node.value):
            if id(node) in values:
                continue
            yield f"line {node.lineno}: {node.value!r}"


def _is_literal(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal"


def _names_one(text: str) -> bool:
    return text in NAMES or _concrete(text)


def _concrete(name: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in CONCRETE)


@pytest.mark.promise("seam.action")
@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_what_stands_above_knows_no_action_and_no_driver(module):
    assert list(known(module.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "from infra_mcp.model.actions.deploy import Deploy",
        "from infra_mcp.model.actions import ACTIONS, deploy",
        "import infra_mcp.policy.actions.provision_namespace as rules",
        "def f():\n    from infra_mcp.actions import deploy",
        "from infra_mcp.drivers import base, manifests",
        "from infra_mcp.drivers.kubernetes.ssa import apply",
        "from infra_mcp.model.object_ref import ObjectRef",
        "import_module('infra_mcp.drivers.manifests')",
        "if action.action == 'deploy': ...",
        "{'provision_namespace': 1}",
        "f'{place}' + 'kubernetes'",
        "match name:\n    case 'provision-namespace': ...",
    ],
)
def test_a_module_that_knows_one_is_found(source):
    assert list(known(source))


@pytest.mark.parametrize(
    "source",
    [
        "from infra_mcp.model.actions import ACTIONS, Release",
        "from infra_mcp.drivers.registry import DELIVERIES",
        "from infra_mcp.policy.actions.base import About",
        "'Edits the image and deploys.'",
    ],
)
def test_a_module_that_knows_what_all_have_in_common_is_not(source):
    assert not list(known(source))


@pytest.mark.promise("seam.action")
def test_every_action_has_a_model_rules_and_an_edit_each_in_a_file_of_its_name():
    assert ACTIONS.keys() == RULES.keys() == EDITS.keys()
    for name in ACTIONS:
        for room in ("model/actions", "policy/actions", "actions"):
            assert (PACKAGE / room / f"{name}.py").is_file(), (room, name)


@pytest.mark.parametrize("name", ACTIONS)
def test_what_a_model_says_of_its_action_fits_its_fields(name):
    model = ACTIONS[name]
    fields = model.model_fields.keys() - {"action"}
    needed = {field for field in fields if model.model_fields[field].is_required()}

    assert model.model_validate({"action": name, **_tuples(model.example)}).action == name
    assert needed <= model.example.keys() <= fields
    assert set(model.positional) <= fields
    assert all(name in model.positional or name in model.options for name in needed), "how is it given?"
    assert set(model.options) <= fields
    assert set(model.sentences) <= fields
    assert model.description.startswith("Use this")
    assert all(model.model_fields[field].description for field in fields)
    assert fields.isdisjoint({*Options.model_fields, *EXTRAS}), "a common option is called so"
    assert model.listed == (name in TOOLS)


def _tuples(example):
    return {key: tuple(value) if isinstance(value, list) else value for key, value in example.items()}


def test_no_verb_means_two_actions():
    verbs = [verb for model in ACTIONS.values() for verb in model.verbs]

    assert len(verbs) == len(set(verbs))
