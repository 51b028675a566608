"""From an object to who asked for it, and from a request to its objects and its commit, in one command each."""

from __future__ import annotations

import pytest
from shell import shell

from infra_mcp.model.outcome import Receipt
from infra_mcp.model.request import State

pytestmark = pytest.mark.process

SEED = "I need a namespace 'docs-staging' with image-pull secret X"
OBJECTS = {"deploy": "docs-live/deployment/docs", "provision_namespace": "namespace/docs-staging"}


def script(request):
    return Receipt(
        request=request.id,
        state=State.LANDED,
        message="It is so.",
        action=request.action.action,
        commit=("a" if request.action.action == "deploy" else "b") * 40,
        objects=(OBJECTS[request.action.action],),
    )


@pytest.mark.anyio
@pytest.mark.promise("audit.both-ways")
@pytest.mark.parametrize("channel", ["unix", "both"], ids=["socket", "url"])
async def test_an_object_leads_to_its_request_and_a_request_to_its_objects_and_commit(tmp_path, channel):
    async with shell(tmp_path, channel, script=script) as (at, here):
        run = here.but(INFRA_MCP_TOKEN=at.tokens["docs"], **({"INFRA_MCP_URL": at.url} if channel == "both" else {}))
        asked = await run("ask", SEED, "--json")
        deployed = await run("deploy", "docs", "1.0", "--json")
        (made,) = (await run("audit", "show", "namespace/docs-staging", "--json")).json["requests"]
        words = await run("audit", "show", "namespace/docs-staging")
        (brought,) = (await run("audit", "show", "docs-live/deployment/docs", "--json")).json["requests"]
        back = await run("audit", "show", made["request"])
        as_json = await run("audit", "show", deployed.json["request"], "--json")

        assert made["request"] == asked.json["request"]
        assert (made["caller"], made["door"], made["commit"]) == ("docs", "ask", "b" * 40)
        assert made["words"] == SEED
        assert made["created"] in words.out
        assert f"by ask: {SEED}" in words.out
        assert brought["request"] == deployed.json["request"]
        assert (brought["commit"], brought["door"]) == ("a" * 40, "cli")
        assert "commit " + "b" * 40 in back.out
        assert "objects namespace/docs-staging" in back.out
        assert "landed" in back.out
        assert as_json.json["objects"] == ["docs-live/deployment/docs"]
        assert as_json.json["events"][0]["kind"] == "received"


@pytest.mark.anyio
@pytest.mark.promise("read.scoped")
@pytest.mark.parametrize("channel", ["unix", "both"], ids=["socket", "url"])
async def test_another_circle_sees_neither_way_and_the_operator_both(tmp_path, channel):
    async with shell(tmp_path, channel, script=script) as (at, here):
        made = await here("deploy", "docs", "1.0", "--json", token=at.tokens["docs"])
        run = here.but(**({"INFRA_MCP_URL": at.url} if channel == "both" else {}))
        other = [
            await run("audit", "show", what, "--json", token=at.tokens["shop"])
            for what in (made.json["request"], "docs-live/deployment/docs", "req-000000000000", "docs-live/pod/x")
        ]
        listed = await run("request", "list", "--json", token=at.tokens["shop"])
        operator = await here("audit", "show", "docs-live/deployment/docs", "--json")

        assert [(one.code, one.json["code"]) for one in other] == [(2, "not-found")] * 4
        assert other[0].json["what"] == other[2].json["what"]
        assert listed.json["requests"] == []
        assert operator.json["requests"][0]["circle"] == "docs"


@pytest.mark.anyio
async def test_what_is_not_shown_is_counted(tmp_path):
    async with shell(tmp_path, script=script) as (at, run):
        for version in "123":
            await run("deploy", "docs", version, token=at.tokens["docs"])
        found = await run("audit", "show", "docs-live/deployment/docs", "--limit", "2", "--json")
        words = await run("audit", "show", "docs-live/deployment/docs", "--limit", "1")

        assert len(found.json["requests"]) == 2
        assert found.json["not_shown"] == 1
        assert "2 older requests not shown" in words.out


@pytest.mark.anyio
async def test_a_request_that_changed_nothing_is_found_by_what_it_was_about_too(tmp_path):
    """Refused and failed ones belong to an object's history: the newest stands first."""

    def failing(request):
        state = State.LANDED if request.action.version == "1" else State.FAILED
        return script(request).model_copy(update={"state": state, "commit": None})

    async with shell(tmp_path, script=failing) as (at, run):
        for version in "12":
            await run("deploy", "docs", version, token=at.tokens["docs"])
        found = await run("audit", "show", "docs-live/deployment/docs", "--json")

        assert [one["state"] for one in found.json["requests"]] == ["failed", "landed"]


@pytest.mark.anyio
async def test_watching_a_request_ends_with_it_and_exits_with_its_code(tmp_path):
    async with shell(tmp_path, script=script, held=True) as (at, run):
        started = await run("deploy", "docs", "1", "--no-wait", "--json", token=at.tokens["docs"])
        early = await run("request", "watch", started.json["request"], "--wait", "0.1")
        async with run.start("request", "watch", started.json["request"], "--json") as process:
            at.engine.gate.set()
            out = b"".join([part async for part in process.stdout]).decode()
            code = await process.wait()
        missing = await run("request", "watch", "req-000000000000")

        assert early.code == 6, early
        assert code == 0
        assert '"state": "landed"' in out
        assert missing.code == 2
