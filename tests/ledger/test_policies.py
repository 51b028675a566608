"""The policy in force, as the ledger remembers it."""

import pytest

from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio


async def test_the_policy_accepted_last_is_the_one_in_force(ledger):
    assert await ledger.accepted_policy() is None
    await ledger.accept_policy("sha256:a", "first", "operator")
    await ledger.accept_policy("sha256:b", "second", "operator")
    assert await ledger.accepted_policy() == ("sha256:b", "second")
    await ledger.accept_policy("sha256:a", "first", "operator")
    assert await ledger.accepted_policy() == ("sha256:a", "first")


@pytest.mark.promise("audit.every-change")
async def test_acceptance_is_an_event_that_only_operators_see(ledger):
    await ledger.accept_policy("sha256:a", "the text", "operator")
    event = (await ledger.search("", circle=None)).events[0]
    assert (event.kind, event.peer, event.circle) == ("policy-accepted", "operator", None)
    assert event.data == {"digest": "sha256:a", "policy": "the text"}
    assert (await ledger.search("", circle="docs")).total == 0


@pytest.mark.promise("secrets.nowhere")
async def test_a_policy_with_a_secret_in_it_is_not_kept(ledger):
    with pytest.raises(InfraError) as caught:
        await ledger.accept_policy("sha256:a", 'password = "hunter2"', "operator")
    assert caught.value.code == "policy-invalid"
    assert "hunter2" not in str(caught.value)
    assert await ledger.accepted_policy() is None


@pytest.mark.promise("policy.accepted")
async def test_an_acceptance_notes_the_actions_there_were_and_an_older_one_notes_none(ledger):
    assert await ledger.accepted_actions("sha256:a") is None
    await ledger.accept_policy("sha256:a", "first", "operator")
    assert await ledger.accepted_actions("sha256:a") is None
    await ledger.accept_policy("sha256:a", "first", "operator", ["scale", "deploy"])
    await ledger.accept_policy("sha256:b", "second", "operator", ["deploy"])
    assert await ledger.accepted_actions("sha256:a") == {"deploy", "scale"}
    assert await ledger.accepted_actions("sha256:b") == {"deploy"}
    await ledger.accept_policy("sha256:a", "first", "operator", [])
    assert await ledger.accepted_actions("sha256:a") == set()
    newest = (await ledger.search("", circle=None)).events[0]
    assert newest.data == {"digest": "sha256:a", "policy": "first", "actions": []}
