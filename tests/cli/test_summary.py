"""The summary for a pipeline's page: what came of it, and no markup that others wrote."""

from __future__ import annotations

import re

import pytest
from shell import shell

from infra_mcp.cli.summary import block, inline
from infra_mcp.errors import InfraError
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State

HOSTILE = (
    "**bold** [link](https://evil.example) <img src=x onerror=y> @team #1 | cell `code` ~~no~~ www.evil.example $x$"
)


@pytest.mark.process
@pytest.mark.anyio
async def test_the_outcome_is_appended_as_markdown(tmp_path):
    file = tmp_path / "summary.md"
    file.write_text("before\n", encoding="utf-8")
    async with shell(tmp_path) as (at, run):
        token = at.tokens["docs"]
        done = await run("deploy", "docs", "1.0", "--summary", str(file), token=token)
        await run("ask", "make it so", "--summary", str(file), token=token)
        await run("run", "deploy", "app=docs", "version=2", "--summary", str(file), "--json", token=token)
        request = re.search(r"req-\w+", done.out)[0]
        await run("request", "watch", request, "--summary", str(file), token=token)
    text = file.read_text(encoding="utf-8")

    assert text.startswith("before\n")
    assert "### infra-mcp deploy docs 1.0: done" in text
    assert f"| request | {request} |" in text
    assert "| commit | " + "c" * 40 in text
    assert "| exit code | 0 |" in text
    assert "### infra-mcp ask infra: not understood" in text
    assert "### infra-mcp run deploy: done" in text
    assert f"### infra-mcp request {request}: done" in text


@pytest.mark.process
@pytest.mark.anyio
async def test_failures_are_in_it_too_also_those_without_a_server(tmp_path):
    file = tmp_path / "summary.md"

    def script(request):
        error = InfraError("not-landed", HOSTILE).as_dict()
        return Receipt(request=request.id, state=State.ROLLED_BACK, message=HOSTILE, action="deploy", error=error)

    async with shell(tmp_path, script=script) as (at, run):
        failed = await run("deploy", "docs", "1", "--summary", str(file), token=at.tokens["docs"])
        away = await run("deploy", "docs", "1", "--url", "http://127.0.0.1:1/", "--summary", str(file), token="x")
    text = file.read_text(encoding="utf-8")

    assert (failed.code, away.code) == (1, 6), (failed, away)
    assert "deploy docs 1: failed" in text
    assert "server-unreachable" in text
    assert f"```text\nnot-landed: {HOSTILE[:10]}" in text


@pytest.mark.process
@pytest.mark.anyio
async def test_a_file_that_cannot_be_written_is_refused_before_anything_is_asked(tmp_path):
    async with shell(tmp_path) as (at, run):
        done = await run("deploy", "docs", "1", "--summary", str(tmp_path), token=at.tokens["docs"])

        assert done.code == 2, done
        assert at.engine.submitted == []


def test_in_a_line_nothing_that_others_wrote_is_markup():
    shown = inline(HOSTILE + "\n# heading\r\x1b[31m\u202e")
    bare = re.sub(r"\\[!-/:-@\[-`{-~]|&#?\w+;", "", shown)

    assert not set("*_[]<>@#|`~$&!{}") & set(bare)
    assert "://" not in shown
    assert "www." not in shown
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize("text", ["a\n```\n<b>\n```", "````````", "```text\n~~~", "`"])
def test_a_block_does_not_end_inside_its_text(text):
    first, *inner, last = block(text).split("\n")

    assert first == f"{last}text"
    assert set(last) == {"`"}
    assert not [line for line in inner if line.strip().startswith(last)]
    assert "\n".join(inner) == text


def test_what_is_long_is_cut_and_says_so():
    assert len(inline("x" * 10_000)) < 1_000
    assert block("x" * 100_000).endswith("…\n```")
