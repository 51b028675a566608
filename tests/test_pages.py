"""The pages for users say what is: every command in them parses, and every call names a tool and its arguments."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from infra_mcp.cli.main import parser
from infra_mcp.codes import CODES, Exit
from infra_mcp.server.tools import TOOLS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.joinpath("docs").glob("*.md"))]
ENDS = {"|", "||", ">", "&&", "&", ";"}  # what ends a command in a shell
CALL = re.compile(r"\b([a-z_]+)\(((?:[a-z_]+=[^()]*)?)\)")


GRAMMAR = cache(parser)  # the whole of it, which takes a while


def _blocks(page: Path) -> Iterator[str]:
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        yield block.replace("\\\n", " ")


def _commands(page: Path) -> Iterator[list[str]]:
    for block in _blocks(page):
        for line in block.splitlines():
            words = shlex.split(line.strip().removeprefix("$ "), comments=True) if "infra-mcp " in line else []
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words[:1] == ["infra-mcp"]:
                end = next((at for at, word in enumerate(words) if word in ENDS), len(words))
                yield words[1:end]


def _parses(words: list[str]) -> bool:
    try:
        GRAMMAR().parse_args(words)
    except SystemExit as ended:
        return ended.code == 0  # --help
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_on_a_page_is_one(page: Path) -> None:
    for words in _commands(page):
        assert _parses(words), f"{page.name}: infra-mcp {shlex.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_call_on_a_page_names_a_tool_and_its_arguments(page: Path) -> None:
    for block in _blocks(page):
        for name, arguments in CALL.findall(block):
            if name in {"spawn", "print"}:
                continue
            tool = TOOLS.get(name)
            assert tool is not None, f"{page.name}: {name}"
            given = set(re.findall(r"(?:^|, )([a-z_]+)=", arguments))
            assert given <= set(tool.arguments.model_fields), f"{page.name}: {name}({arguments})"


@pytest.mark.parametrize("name", ["peers.md", "operators.md", "attending.md", "ci.md"])
def test_each_user_has_a_page_with_commands_or_calls(name: str) -> None:
    page = ROOT / "docs" / name
    assert list(_commands(page)) or any(CALL.search(block) for block in _blocks(page))
    assert f"(docs/{name})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_codes_in_the_pages_are_codes() -> None:
    page = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)
    assert named
    assert set(named) <= set(CODES)


def test_what_the_page_on_security_claims_are_promises_and_each_guard_is_on_it() -> None:
    page = ROOT.joinpath("docs", "security.md").read_text(encoding="utf-8")
    promises = tomllib.loads(ROOT.joinpath("tests", "promises.toml").read_text(encoding="utf-8"))
    named = {one for group in re.findall(r"\((`[^)]*`)\)", page) for one in re.findall(r"`([^`]+)`", group)}

    assert named <= {one for table in promises.values() for one in table}
    assert set(promises["guard"]) <= named
    for attacker in ("An asker", "Text", "A manifest", "A Terraform plan", "The forge", "The mesh", "The network"):
        assert f"\n## {attacker}" in page
    parts = page.split("\n## ")[1:-1]
    assert all("**Not stopped" in one for one in parts), "each says what it does not stop"


# What each exit code is called, in any page: one of these words.
EXITS = {
    0: "landed|done",
    1: "failed",
    2: "well formed|invalid|wrong",
    3: "refused|policy says no",
    4: "approval",
    5: "understood",
    6: "cluster",
    7: "person|operator",
}


@pytest.mark.fault("f20")
@pytest.mark.parametrize("name", ["README.md", "docs/errors.md", "docs/cli.md", "docs/ci.md", "infra_mcp/cli/main.py"])
def test_every_list_of_exit_codes_tells_the_same_of_them(name):
    page = (ROOT / name).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (.*)$", page, re.MULTILINE)
    (listed,) = re.findall(r"\b(0 landed.*?\b7 [^.;,]*)", page, re.DOTALL) if not rows else [""]
    told = {int(code): words for code, words in rows or re.findall(r"(\d) (.*?)(?=, \d |\Z)", listed, re.DOTALL)}

    assert told.keys() >= set(map(int, Exit)) - {5}
    for code, words in told.items():
        assert re.search(EXITS[code], words), (code, words)
