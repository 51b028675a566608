"""Messages between peers from the shell: notify, inbox and ack."""

from __future__ import annotations

import re

import anyio
import pytest
from running_server import POLICY
from shell import distinct, shell

pytestmark = pytest.mark.process

RELEASES = POLICY + 'deploy_on = "release/{version} merged, ready to deploy"\nschedule = "now"\n'


@pytest.mark.anyio
@pytest.mark.promise("mesh.tools")
async def test_two_peers_ask_and_answer_each_other_from_two_shells(tmp_path):
    async with shell(tmp_path) as (at, run):
        await at.add("site", "docs")
        docs, site = at.tokens["docs"], at.tokens["site"]
        async with run.start("inbox", "--wait", "60", token=site) as waiting:
            asked = await run("ask", "--to", "site", "which version is live?", "--no-wait", token=docs)
            with anyio.fail_after(30):
                seen = b"".join([part async for part in waiting.stdout]).decode()
        ask_id = asked.out.strip()
        read = await run("inbox", "--read", ask_id, token=site)
        acked = await run("ack", ask_id, "-", stdin=b"0.13.4 is", token=site)
        twice = await run("ack", ask_id, "something else", "--json", token=site)
        answers = await run("inbox", "--json", token=docs)
        waited = await run("ask", "--to", "site", "and now?", "--wait", "0.1", token=docs)

        assert asked.code == 0, asked
        assert ask_id in seen
        assert "which version is live?" in seen
        assert read.code == 0, read
        assert acked.code == 0, acked
        assert ask_id in acked.out
        assert (twice.code, twice.json["code"]) == (2, "already-acked")
        assert "0.13.4 is" in answers.out
        assert waited.code == 6, waited
        assert "not acked yet" in waited.out


@pytest.mark.anyio
@pytest.mark.promise("mesh.durable")
async def test_looking_marks_nothing_and_read_marks_what_it_names(tmp_path):
    async with shell(tmp_path) as (at, run):
        await at.add("site", "docs")
        sent = await run("notify", "site", "tonight we move", token=at.tokens["docs"])
        looks = [await run("inbox", token=at.tokens["site"]) for _ in range(2)]
        await run("inbox", "--read", sent.out.strip(), token=at.tokens["site"])
        after = await run("inbox", token=at.tokens["site"])

        assert re.fullmatch(r"notif-\w+", sent.out.strip()), sent
        assert all("tonight we move" in one.out for one in looks)
        assert "tonight we move" not in after.out


@pytest.mark.anyio
@pytest.mark.promise("notify.catalogue")
async def test_a_release_notice_names_its_request_and_one_that_is_refused_its_code(tmp_path):
    async with shell(tmp_path, policy=RELEASES) as (at, run):
        token = at.tokens["docs"]
        taken = await run("notify", "infra", "release/0.13.4 merged, ready to deploy", token=token)
        words = await run("notify", "infra", "release/0.13.5 merged, do NOT deploy yet", token=token)
        request = re.search(r"req-\w+", taken.out)
        await run("request", "watch", request[0], token=token)
        older = await run("notify", "infra", "release/0.13.3 merged, ready to deploy", token=token)

        assert taken.code == 0, taken
        assert "docs 0.13.4" in taken.out
        assert words.code == 0, words
        assert "req-" not in words.out
        assert older.code == 3, older
        assert "older-version" in older.out
        assert len(distinct(at)) <= 1


@pytest.mark.anyio
async def test_a_name_that_several_circles_have_is_refused_until_the_circle_is_named(tmp_path):
    async with shell(tmp_path) as (at, run):
        await at.add("site", "docs")
        await at.add("site", "shop")
        refused = await run("notify", "site", "hello", "--json")
        removed = await run("peer", "remove", "site", "--json")
        token = await run("peer", "token", "site", "--circle", "shop", "--json")
        gone = await run("peer", "remove", "site", "--circle", "shop")
        left = await run("peer", "list", "--json")

        assert (refused.code, refused.json["code"]) == (2, "ambiguous-peer")
        assert (removed.code, removed.json["code"]) == (2, "ambiguous-peer")
        assert {"docs", "shop"} <= set(re.findall(r"\w+", removed.json["what"] + removed.json["next"]))
        assert token.json["revoked"] == 1
        assert gone.code == 0
        assert [peer["circle"] for peer in left.json["peers"] if peer["name"] == "site"] == ["docs"]


@pytest.mark.anyio
@pytest.mark.promise("auth.transport")
async def test_an_operator_with_a_token_manages_and_looks_but_changes_nothing(tmp_path):
    async with shell(tmp_path) as (_, run):
        added = await run("peer", "add", "alice", "--operator")
        token = added.out.strip()
        listed = await run("peer", "list", token=token)
        looked = await run("request", "list", token=token)
        changed = await run("deploy", "docs", "1", "--json", token=token)
        both = await run("peer", "add", "bob", "--operator", "--circle", "docs")
        neither = await run("peer", "add", "bob")
        ended = await run("peer", "remove", "alice", "--operator")
        after = await run("peer", "list", token=token)

        assert token.startswith("imcp_"), added
        assert "alice  operator  tokens: 1" in listed.out
        assert looked.code == 0, looked
        assert (changed.code, changed.json["code"]) == (3, "policy-denied")
        assert (both.code, neither.code) == (2, 2)
        assert ended.code == 0
        assert after.code == 3
