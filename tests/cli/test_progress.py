"""How far it is: one live line on a terminal, plain lines elsewhere, nothing for those who parse."""

from __future__ import annotations

import os
import pty
import sys

import anyio
import anyio.lowlevel
import pytest
from shell import ARGV, shell

from infra_mcp.cli import output as module
from infra_mcp.cli.output import Progress

pytestmark = pytest.mark.process


async def shown(master, until=None):
    """What comes out of a terminal until these bytes stand in it, or until the other side closes it."""
    seen = b""
    with anyio.fail_after(30):
        while until is None or until not in seen:
            await anyio.wait_readable(master)
            try:
                part = os.read(master, 65_536)
            except OSError:  # as Linux says when the last writer is gone
                break
            if not part:
                break
            seen += part
    return seen


@pytest.mark.anyio
@pytest.mark.promise("report.progress")
async def test_on_a_terminal_one_line_lives_while_the_change_goes_on(tmp_path):
    async with shell(tmp_path, held=True) as (at, run):
        master, slave = pty.openpty()
        env = run.env | {"INFRA_MCP_TOKEN": at.tokens["docs"], "TERM": "xterm", "COLUMNS": "100"}
        argv = [*ARGV, "deploy", "docs", "1"]
        async with await anyio.open_process(argv, env=env, cwd=tmp_path / "repo", stderr=slave) as process:
            os.close(slave)
            live = await shown(master, b"req-")
            live += await shown(master, b"0:00:0")
            at.engine.gate.set()
            out = b"".join([part async for part in process.stdout]).decode()
            end = await shown(master)
            assert await process.wait() == 0
        os.close(master)

    assert b"\x1b[" in live  # it lives
    assert b"\x1b[2K" in end  # and is gone
    assert "is done." in out
    assert "\x1b" not in out


@pytest.mark.anyio
@pytest.mark.promise("report.progress")
async def test_elsewhere_each_thing_is_said_once_in_a_plain_line(tmp_path):
    async with shell(tmp_path, held=True) as (at, run):
        async with run.start("deploy", "docs", "1", token=at.tokens["docs"]) as process:
            err = b""
            with anyio.fail_after(30):
                while b"req-" not in err:
                    err += await process.stderr.receive()
            at.engine.gate.set()
            err += b"".join([part async for part in process.stderr])
            assert await process.wait() == 0
        lines = err.decode().splitlines()

    assert "\x1b" not in err.decode()
    assert len(lines) == len(set(lines)) == 1


@pytest.mark.anyio
async def test_for_those_who_parse_there_is_none(tmp_path):
    async with shell(tmp_path) as (at, run):
        done = await run("deploy", "docs", "1", "--json", token=at.tokens["docs"])

        assert done.err == ""
        assert done.json["state"] == "landed"


def test_what_is_said_again_is_shown_again_after_a_while_only(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    with Progress() as told:
        for clock[0] in (0.0, 1.0, 29.0, 31.0, 32.0):
            told("applying")
        told("verifying")

    assert capsys.readouterr().err.splitlines() == ["applying", "applying", "verifying"]


def test_nothing_that_others_wrote_is_obeyed_by_a_terminal(capsys):
    with Progress() as told:
        told("\x1b]0;title\x07 \x9b31m [bold]x[/bold]\nsecond" + "x" * 1000)
    err = capsys.readouterr().err

    assert not {"\x1b", "\x07", "\x9b"} & set(err)
    assert "[bold]x[/bold] second" in err
    assert len(err) < 400


@pytest.mark.anyio
async def test_without_a_terminal_nothing_is_imported_for_one(tmp_path):
    async with shell(tmp_path) as (at, run):
        script = (
            "import sys; from infra_mcp.cli.main import main; code = main(['deploy', 'docs', '1']);"
            "known = set(sys.stdlib_module_names) | {'infra_mcp', '__main__', '__mp_main__'};"
            "print('FOREIGN', sorted({name.partition('.')[0] for name in sys.modules} - known))"
        )
        done = await run(token=at.tokens["docs"], argv=[sys.executable, "-S", "-c", script])

        assert done.out.splitlines()[-1] == "FOREIGN []", done
