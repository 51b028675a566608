"""The reference pages say all there is, and nothing that is not."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest
from pages import PAGES, VERBS, verbs, with_verbs

from infra_mcp.cli.main import parser
from infra_mcp.cli.stopping import INTERRUPTED, TERMINATED
from infra_mcp.codes import CODES, Exit
from infra_mcp.engine.report import end_for
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.outcome import Receipt, exit_for
from infra_mcp.model.request import State
from infra_mcp.server.tools import TOOLS
from infra_mcp.settings import ENVIRONMENT

DOCS = Path(__file__).parents[2] / "docs"


def commands(tree: argparse.ArgumentParser, name: str = "infra-mcp"):
    """Every command that does something, with its own options."""
    inner = [action for action in tree._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield name, [word for action in tree._actions for word in action.option_strings if word.startswith("--")]
    for group in inner:
        for word, below in group.choices.items():
            yield from commands(below, f"{name} {word}")


def leaves(tree: argparse.ArgumentParser, name: str = "infra-mcp"):
    """Every command that does something, with its parser."""
    inner = [action for action in tree._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield name, tree
    for group in inner:
        for word, below in group.choices.items():
            yield from leaves(below, f"{name} {word}")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_made_from_the_code_is_up_to_date(name):
    made = (DOCS / name).read_text(encoding="utf-8")

    assert made == PAGES[name](), "run: python tests/pages.py"


def test_what_the_command_line_knows_of_the_actions_is_what_their_models_say():
    page = (DOCS / "cli.md").read_text(encoding="utf-8")

    assert VERBS.read_text(encoding="utf-8") == verbs(), "run: python tests/pages.py"
    assert page == with_verbs(page), "run: python tests/pages.py"


def test_every_tool_action_and_error_code_has_a_heading():
    for page, names in (("tools.md", [*TOOLS, *ACTIONS]), ("errors.md", CODES)):
        text = (DOCS / page).read_text(encoding="utf-8")
        assert [name for name in names if f"### {name}\n" not in text] == []


def test_every_command_and_option_is_on_the_page():
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    everywhere, _, own = page.partition("## Verbs")
    sections = {part.partition("\n")[0]: part for part in re.split(r"\n### ", own)}
    lacking = []
    for command, options in commands(parser()):
        verb, *inner = command.split()[1:]
        mine = sections.get(verb, "")
        if verb == "preview" and inner:  # it takes the fields of each action, which the action's own section has
            mine += sections.get(inner[0], "")
        named = "infra-mcp preview" if verb == "preview" else command
        lacking += [command] * (f"`{named}" not in mine)
        lacking += [f"{command} {option}" for option in options if option not in mine + everywhere]

    assert lacking == []


def test_every_option_on_the_page_is_one():
    known = {word for _, options in commands(parser()) for word in options} | {"--version"}
    page = (DOCS / "cli.md").read_text(encoding="utf-8")

    assert set(re.findall(r"--[a-z][a-z-]+", page)) <= known


def test_every_environment_variable_and_exit_code_is_on_the_page():
    page = (DOCS / "cli.md").read_text(encoding="utf-8")

    for variable in ENVIRONMENT:
        assert f"| `{variable}` |" in page
    for code in (*map(int, Exit), INTERRUPTED, TERMINATED):
        assert re.search(rf"\b{code} ", page.partition("## Exit codes")[2])


def test_the_page_for_pipelines_tells_their_exit_codes_and_what_a_key_is_made_from():
    page = (DOCS / "ci.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| ([\d, ]+) \|", page.partition("## Exit codes")[2], re.MULTILINE))

    # 5 is for words, which a pipeline has none of
    assert {int(code) for codes in told for code in codes.split(", ")} == {*map(int, Exit), 130, 143} - {5}
    for variable in ENVIRONMENT:
        assert variable in page or variable.startswith(("INFRA_MCP_", "KUBE")), variable


def test_every_command_explains_itself_with_examples_that_it_takes():
    for command, tree in leaves(parser()):
        shown = [line.strip() for line in (tree.epilog or "").partition("examples:\n")[2].splitlines()]

        assert shown, command
        for example in shown:
            words = shlex.split(re.split(r" [<>|] ", example)[0])
            assert " ".join(words).startswith(command), example
            assert parser().parse_args(words[1:]).run is not None, example


@pytest.mark.fault("f20")
def test_the_exit_code_that_the_page_gives_a_code_is_that_of_a_request_which_ended_by_it():
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    told = {code: int(exit_code) for code, exit_code in re.findall(r"### ([a-z-]+)\n\n.* Exit code (\d)\.\n", page)}
    ended = {}
    for code in told:
        error = InfraError(code, "It is so.")
        shape = {"request": "req-1", "message": error.what, "action": "deploy", "error": error.as_dict()}
        receipt = Receipt(state=end_for(error), **shape)
        ended[code] = int(exit_for(receipt.state.value, receipt.error["code"]))

    assert told.keys() == CODES.keys()
    assert ended == told


@pytest.mark.fault("f20")
def test_the_exit_code_of_every_end_is_in_the_table_and_an_end_that_is_no_error_has_its_own():
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    table = {int(code): words for code, words in re.findall(r"^\| (\d) \| (.*) \|$", page, re.MULTILINE)}

    assert table.keys() == set(map(int, Exit))
    assert {int(exit_for(state.value)) for state in State} == table.keys() - {int(Exit.INVALID)}
    assert "landed" in table[int(exit_for("landed"))]
    assert "rolled back" in table[int(exit_for("rolled_back", "cluster-unreachable"))]
    assert "approval" in table[int(exit_for("awaiting_approval"))]
    assert "wait ran out" in table[int(exit_for("applying"))]
    assert "person" in table[int(exit_for("needs_operator", "cluster-unreachable"))]
