"""An expired token over both channels, as clients see it: the SDK's, and the command line."""

from __future__ import annotations

import httpx2
import pytest
from hosts import MODERN
from mcp.client.auth.utils import (
    extract_field_from_www_auth,
    extract_resource_metadata_from_www_auth,
    handle_protected_resource_response,
)
from running_server import running_server
from shell import shell

from infra_mcp.server.operator import OPERATOR

pytestmark = pytest.mark.anyio
NOW = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/list",
}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": MODERN}}


async def expired(at) -> str:
    """A token that was valid until now."""
    return await at.engine.ledger.issue_token("docs", seconds=0.0)


@pytest.mark.promise("auth.tokens", "http.tokens")
async def test_over_http_the_sdks_client_reads_why_and_finds_the_metadata_of_what_it_called(tmp_path):
    async with running_server(tmp_path, "both") as at, httpx2.AsyncClient(timeout=30) as web:
        token = await expired(at)
        answer = await web.post(at.url, json=LIST, headers=NOW | {"Authorization": f"Bearer {token}"})
        where = extract_resource_metadata_from_www_auth(answer)
        metadata = await handle_protected_resource_response(await web.get(where))

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert extract_field_from_www_auth(answer, "error") == "invalid_token"
        described = extract_field_from_www_auth(answer, "error_description")
        assert "expired" in described
        assert "infra-mcp peer token docs --circle docs" in described
        assert answer.json()["code"] == "token-expired"
        assert str(metadata.resource) == at.url
        assert token not in answer.text + str(answer.headers)


@pytest.mark.process
@pytest.mark.promise("auth.tokens")
async def test_the_command_line_says_over_both_channels_that_a_token_has_expired(tmp_path):
    async with shell(tmp_path, "both") as (at, run):
        token = await expired(at)
        answers = [await run("status", token=token), await run("status", "--url", at.url, token=token)]

        for answer in answers:
            assert answer.code == 3, answer
            assert "token-expired: The token of docs expired at" in answer.err
            assert "infra-mcp peer token docs --circle docs" in answer.err


@pytest.mark.process
@pytest.mark.promise("auth.tokens", "token.sponsor")
async def test_tokens_are_given_out_listed_and_renewed_from_the_command_line(tmp_path):
    async with shell(tmp_path, "unix") as (at, run):
        added = await run("peer", "add", "ci", "--circle", "docs", "--sponsor", "ann@example.com")
        renewed = await run("peer", "token", "ci", "--overlap", "24h", "--expires", "30d", "--sponsor", "ben")
        listed = await run("peer", "list")
        data = (await run("peer", "list", "--json")).json["peers"]
        wrong = [
            await run("peer", "token", "ci", *given)
            for given in (("--expires", "soon"), ("--expires", "400d"), ("--overlap", "-1h"), ("--sponsor", "a;id"))
        ]

        assert (added.code, renewed.code, listed.code) == (0, 0, 0)
        assert "valid for 90d" in added.err
        assert "Earlier tokens of ci that stay valid for 24h at most: 1." in renewed.err
        assert "valid for 30d" in renewed.err
        for token in (added.out.strip(), renewed.out.strip()):
            assert (await at.engine.ledger.caller_for_token(token)).name == "ci"
        lines = [line for line in listed.out.splitlines() if "sponsor ann@example.com" in line]
        assert len(lines) == 1
        assert lines[0].endswith("replaced")
        assert "sponsor ben" in listed.out
        assert "without expiry" in listed.out, "those of docs, shop and reader, which the test made so"
        issued = next(one["issued"] for one in data if one["name"] == "ci")
        assert [one["sponsor"] for one in issued] == ["ann@example.com", "ben"]
        assert [one.code for one in wrong] == [2] * 4
        assert "expires must be a duration of at most 366d, such as 12h or 90d, or never" in wrong[1].err
        assert len(await at.engine.ledger.tokens()) == 5, "what is wrong issues nothing and ends nothing"


@pytest.mark.promise("token.sponsor")
async def test_who_gives_a_token_out_answers_for_it_unless_another_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    async with running_server(tmp_path, "unix") as at:
        await at.operator.call(OPERATOR, "operator/peer.add", {"name": "olga", "operator": True})
        olga = OPERATOR.model_copy(update={"name": "olga", "strength": "token"})
        for caller, name, given in ((OPERATOR, "one", {}), (olga, "two", {}), (olga, "three", {"sponsor": "ben"})):
            await at.operator.call(caller, "operator/peer.add", {"name": name, "circle": "docs"} | given)
        await at.operator.call(OPERATOR, "operator/peer.add", {"name": "none", "circle": "docs", "token": False})

        found = {one.peer: one.sponsor for one in await at.engine.ledger.tokens()}
        assert {name: found[name] for name in ("olga", "one", "two", "three")} == {
            "olga": "olga",
            "one": "ann",
            "two": "olga",
            "three": "ben",
        }
        assert "none" not in found
