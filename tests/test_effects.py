"""The list of effects is complete: nothing writes to ledger, git or cluster without a mark that tests can stop at."""

import ast
import importlib
import pkgutil
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from effect_scan import (
    AT_A_FORGE,
    AT_A_REMOTE,
    BESIDE,
    GIT_COMMANDS,
    IN_SYSTEMS,
    IN_THE_MAIL,
    ON_THE_WAY,
    cluster_write,
    functions,
    git_write,
    ledger_write,
    unmarked,
)

import infra_mcp
from infra_mcp import effects
from infra_mcp.clients.git import Git
from infra_mcp.clients.kube import Cluster
from infra_mcp.ledger import Ledger

PACKAGE = Path(infra_mcp.__file__).parent

# The parts of the ledger, and what it hands out.
HANDED_OUT = ("Approvals.", "Mail.", "Mailbox.", "Peers.", "Policies.", "Requests.", "Search.")

# Writes without a mark that are no effects, each with the reason.
NO_EFFECT = {
    "Ledger": {
        "open": "makes or migrates the file, before there is a server",
        "open_in": "the same, for a state directory",
        "read_only": "opens a file that is there, for reading",
    },
    "Git": {},
    "Cluster": {},
}


@pytest.mark.parametrize(
    ("room", "writes", "entry"),
    [("clients/kube", cluster_write, Cluster), ("clients/git", git_write, Git), ("ledger", ledger_write, Ledger)],
    ids=["cluster", "git", "ledger"],
)
@pytest.mark.promise("recover.reobserve")
def test_every_public_write_is_marked_as_an_effect(room, writes, entry):
    there = functions(PACKAGE / room)
    found = unmarked(there, writes, entry.__name__)
    assert found, "the search finds nothing that writes, so it searches for the wrong thing"
    public = {name.split(".", 1)[1] for name in found if name.startswith(f"{entry.__name__}.")}
    assert {name for name in public if not name.startswith("_")} <= set(NO_EFFECT[entry.__name__])
    assert [one.effect for one in there if one.effect], "no effect is marked in this room"
    # What the ledger is made of, and what it hands out, is an entry, too.
    assert [name for name in found if name.startswith(HANDED_OUT) and "._" not in name] == []


@pytest.mark.parametrize(
    ("room", "writes", "entry"),
    [("clients/kube", cluster_write, "Cluster"), ("clients/git", git_write, "Git"), ("ledger", ledger_write, "Ledger")],
    ids=["cluster", "git", "ledger"],
)
def test_a_mark_that_is_missing_is_noticed(room, writes, entry):
    there = functions(PACKAGE / room)
    for one in [function for function in there if function.effect]:
        without = [replace(other, effect=None) if other is one else other for other in there]
        assert one.name in unmarked(without, writes, entry)


def test_only_the_doors_of_these_rooms_are_used_from_outside():
    inner = {
        "infra_mcp.clients.kube.": unmarked(functions(PACKAGE / "clients/kube"), cluster_write, "Cluster"),
        "infra_mcp.clients.git.": unmarked(functions(PACKAGE / "clients/git"), git_write, "Git"),
        "infra_mcp.ledger.": unmarked(functions(PACKAGE / "ledger"), ledger_write, "Ledger"),
    }
    found = []
    for file in PACKAGE.rglob("*.py"):
        module = "infra_mcp." + file.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module:
                for room, writers in inner.items():
                    if f"{node.module}.".startswith(room) and not module.startswith(room):
                        found += [f"{module} takes {one.name} from {node.module}" for one in node.names
                                  if one.name in writers]  # fmt: skip
    assert found == []


def test_no_git_command_is_started_that_nobody_has_judged():
    started = set()
    for function in functions(PACKAGE / "clients/git"):
        for call in (node for node in ast.walk(function.node) if isinstance(node, ast.Call)):
            named = isinstance(call.func, ast.Attribute) and call.func.attr in {"run", "start", "batch"} and call.args
            if named and isinstance(call.args[0], ast.Constant):
                started.add(call.args[0].value)
    assert "merge" in started
    assert started <= set(GIT_COMMANDS)


def test_the_list_of_effects_is_the_one_the_kill_test_stops_at():
    for module in pkgutil.walk_packages(infra_mcp.__path__, "infra_mcp."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    ours = {name for name, where in effects.EFFECTS.items() if where.startswith("infra_mcp.")}  # tests have their own
    assert ours == ON_THE_WAY | AT_A_REMOTE | AT_A_FORGE | IN_THE_MAIL | IN_SYSTEMS | BESIDE


def test_an_observer_hears_before_and_after_and_nothing_after_a_failure(monkeypatch):
    monkeypatch.setattr(effects, "EFFECTS", {})
    monkeypatch.setattr(effects, "_observers", [])
    heard = []
    effects.observe(lambda name, when: heard.append((name, when)))

    @effects.effect("test.one")
    async def one(fail):
        heard.append("it")
        if fail:
            raise ValueError

    anyio.run(one, False)
    with pytest.raises(ValueError):  # noqa: PT011 - it carries no words
        anyio.run(one, True)
    assert heard == [("test.one", "before"), "it", ("test.one", "after"), ("test.one", "before"), "it"]


def test_two_effects_of_one_name_are_refused_at_import(monkeypatch):
    monkeypatch.setattr(effects, "EFFECTS", {"test.one": "here"})
    with pytest.raises(ValueError, match=r"two effects are called test\.one"):
        effects.effect("test.one")(anyio.sleep)
