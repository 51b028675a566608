"""The dashboard in a real browser, the machine's Chromium: both themes, a phone, live, and not to be forged.

Where there is no Chromium the tests are skipped and say so; in CI they run. The server is real but for its engine,
which plans and lands what the tests ask for.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from approval_server import approval_server, waiting
from dashboard_visits import link
from outside.environments import Missing, npm_tool

from infra_mcp.model.approval import Decided
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State
from infra_mcp.server.operator import OPERATOR

pytestmark = [pytest.mark.outside, pytest.mark.anyio]

PAGES = ("needs-you", "apps", "trail", "peers", "waiting", "policy", "chain", "requests/{ended}", "requests/{open}")
PHONE, DESK = {"width": 390, "height": 800}, {"width": 1100, "height": 800}
HOSTILE = (
    "<img src=x onerror=alert(1)><script>document.title='owned'</script><a href=//evil.example>ready</a> to deploy"
)


@pytest.fixture
async def at(tmp_path, monkeypatch):
    async with approval_server(tmp_path, monkeypatch, "both") as server:
        yield server


@asynccontextmanager
async def _chromium() -> AsyncIterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise Missing("no chromium on PATH")
    from playwright.async_api import async_playwright  # noqa: PLC0415 - 0.3 s, only where there is a browser

    # Chromium's own sandbox does not start as root, which CI's containers are.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=flags)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def _page(browser: Any, at: Any, first: str = "needs-you", **options: Any) -> AsyncIterator[Any]:
    """A page of a fresh session; what its console says, and each address it asked for, are in its lists."""
    context = await browser.new_context(**options)
    page = await context.new_page()
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    try:
        await page.goto(await link(at, first))
        await page.wait_for_url(f"**/{first}")
        page.home = page.url.removesuffix(first)
        yield page
    finally:
        await context.close()


@pytest.mark.promise("web.closed")
async def test_every_page_is_accessible_in_both_themes_and_on_a_phone_and_asks_nobody_else(at):
    axe = npm_tool("axe-core", "axe.min.js").read_text(encoding="utf-8")
    ended = await waiting(at, reason=HOSTILE)
    await at.engine.approve(OPERATOR, ended.id, ended.effect_digest, Decided(approve=True, way="cli"))
    left = await waiting(at, reason=HOSTILE, version="3")
    receipt = Receipt(request=left.id, state=State.NEEDS_OPERATOR, message=HOSTILE, action="deploy")
    await at.engine.ledger.finish(left.id, receipt, {})
    at.engine.health_of["docs"] = {"health": "Failed", "reason": HOSTILE, "version": "1.3.9"}
    opened = await waiting(at, reason=HOSTILE)
    pages = (*PAGES, "requests/{open}/approval", f"requests/{left.id}", "nowhere")
    names = [one.format(ended=ended.id, open=opened.id) for one in pages]
    origin = at.url.removesuffix("/mcp")
    async with _chromium() as browser:
        for scheme, viewport in (("light", DESK), ("dark", DESK), ("light", PHONE), ("dark", PHONE)):
            async with _page(browser, at, color_scheme=scheme, viewport=viewport) as page:
                await page.context.add_init_script(axe)
                for name in names:
                    await page.goto(page.home + name)
                    found = await page.evaluate("axe.run()")
                    faults = [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]]
                    assert faults == [], (name, scheme, viewport)
                    wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
                    assert wide <= 0, f"{name} is wider than the window of {viewport['width']}"
                    assert "owned" not in await page.title()
                    assert await page.locator("main img, main script, main a[href*=evil]").count() == 0
                assert {one for one in page.asked if not one.startswith((f"{origin}/dashboard/", "chrome"))} == set()
                assert [one for one in page.said if "404" not in one] == [], (
                    "`nowhere` is not found, and no more is said"
                )


@pytest.mark.promise("web.closed")
@pytest.mark.promise("web.approve")
async def test_without_script_and_by_keyboard_alone_a_change_is_looked_at_and_approved(at):
    request = await waiting(at)
    async with _chromium() as browser, _page(browser, at, java_script_enabled=False) as page:
        await page.get_by_role("link", name="Look and decide").focus()
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/requests/{request.id}/approval")
        assert await page.get_by_text(".spec.image:").is_visible()
        await page.get_by_role("button", name="Approve").focus()
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"**/requests/{request.id}")
        assert await page.get_by_text("by operator (page)").count() == 1
    assert (await at.engine.ledger.request(request.id)).state is State.LANDED
    assert at.engine.decided == [(request.effect_digest, True, "page")]


@pytest.mark.promise("web.trail")
async def test_a_request_is_followed_live_from_asked_to_landed_without_a_reload(at):
    async with _chromium() as browser, _page(browser, at) as page:
        await page.get_by_text("Nothing waits for an approval").wait_for()
        request = await waiting(at)  # its news bring the card
        await page.get_by_role("heading", name="One change needs you").wait_for()
        await page.keyboard.press("j")
        await page.keyboard.press("o")
        await page.wait_for_url(f"**/requests/{request.id}/approval")
        await page.goto(f"{page.home}requests/{request.id}")
        await page.get_by_role("list", name="Steps").get_by_text("approval needed").wait_for()
        loaded = len([one for one in page.asked if one.endswith(".css")])
        await at.engine.approve(OPERATOR, request.id, request.effect_digest, Decided(approve=True, way="cli"))
        at.engine.signals.wake(request.id)
        await page.get_by_role("list", name="Steps").get_by_text("landed").wait_for()
        assert len([one for one in page.asked if one.endswith(".css")]) == loaded, "the page was not loaded again"


@pytest.mark.promise("web.approve")
async def test_evidence_that_moved_under_a_person_is_named_and_its_form_decides_nothing(at):
    request = await waiting(at)
    async with _chromium() as browser, _page(browser, at, f"requests/{request.id}/approval") as page:
        news = page.get_by_text("Something has happened to this request since it was shown.")
        assert not await news.is_visible()
        await page.wait_for_load_state("load")
        assert await at.engine.park(request, "moved")
        await news.wait_for()
        await page.get_by_role("button", name="Approve").click()
        await page.get_by_text("approval-mismatch").wait_for()
        assert (await at.engine.ledger.request(request.id)).state is State.AWAITING_APPROVAL


@pytest.mark.promise("web.approve")
async def test_a_page_of_another_server_on_this_machine_can_neither_frame_a_page_nor_post_its_form(at):
    request = await waiting(at)
    async with _chromium() as browser, _page(browser, at, f"requests/{request.id}/approval") as page:
        fields = await page.locator("form.decide input[type=hidden]").evaluate_all(
            "all => all.map(one => one.outerHTML)"
        )
        evil = f"""<!doctype html><iframe src="{page.url}"></iframe>
            <form method="post" action="{page.url}">{"".join(fields)}<button>Win</button></form>"""

        async def serve(stream: Any) -> None:
            async with stream:
                await stream.receive()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(evil)}\r\n\r\n"
                await stream.send((head + evil).encode())

        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, serve)
            other = await page.context.new_page()  # the same browser, with the session's cookie
            await other.goto(f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/")
            assert await other.frame_locator("iframe").get_by_role("button", name="Approve").count() == 0
            await other.get_by_role("button", name="Win").click()
            await other.get_by_text("policy-denied").wait_for()
            group.cancel_scope.cancel()
        assert await at.engine.ledger.approvals.of(request.id) == []
        await page.get_by_role("button", name="Approve").click()  # the person's own still counts
        await page.wait_for_url(f"**/requests/{request.id}")
