"""`infra-mcp dashboard` from the shell: a link from a server that the command starts, and a browser sent to it."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import httpx2
import pytest
from hosts import put_down, repository
from running_server import POLICY
from shell import Shell

pytestmark = [pytest.mark.anyio, pytest.mark.process]


@pytest.fixture
def run(tmp_path):
    repository(tmp_path / "repo", POLICY)
    with put_down(tmp_path / "state"):
        yield Shell(tmp_path)


def _sent_to(told: Path) -> tuple[Path, str, int]:
    """The file that the browser was sent to, its text and its mode."""
    file = Path(told.read_text(encoding="utf-8").removeprefix("file://"))
    return file, file.read_text(encoding="utf-8"), stat.S_IMODE(file.stat().st_mode)


@pytest.mark.promise("web.approve")
async def test_the_command_opens_the_page_without_the_link_in_any_argument(run, tmp_path):
    told, browser = tmp_path / "told", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {told}.new && mv {told}.new {told}\n', encoding="utf-8")
    browser.chmod(0o700)
    opened = await run.but(BROWSER=f"{browser} %s")("dashboard", "trail?q=site")
    assert opened.code == 0, opened
    link = opened.out.strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/dashboard/open/[\w-]{43}", link)

    file, text, mode = _sent_to(told)
    assert file == tmp_path / "state" / "run" / "dashboard.html"
    assert (link in text, mode) == (True, 0o600)
    async with httpx2.AsyncClient(timeout=30) as web:
        entered = await web.get(link)
        (to,) = set(re.findall(r'href="(/dashboard/[0-9a-f]{32}/[^"]*)', entered.text))
        page = await web.get(link.split("/dashboard/")[0] + to)
        assert (page.status_code, 'value="site"' in page.text) == (200, True)

    printed = await run("dashboard", "--print", "--json")
    assert (printed.code, sorted(printed.json)) == (0, ["seconds", "url"])
    unknown = await run("dashboard", "nowhere", "--print")
    assert (unknown.code, "not-found" in unknown.err) == (2, True)


async def test_a_server_that_is_started_with_the_dashboard_off_has_none(run):
    off = await run.but(INFRA_MCP_DASHBOARD="off")("dashboard", "--print")
    assert off.code != 0
    assert "INFRA_MCP_DASHBOARD=off" in off.err
