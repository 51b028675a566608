"""A session that attends as infra: it claims an ask and acts for the asker, once, where both are allowed to."""

import anyio
import pytest
from e2e.scenario import Scenario
from mcp.types import ElicitResult

pytestmark = [pytest.mark.cluster, pytest.mark.anyio]

ATTEND = """
[attend]
namespaces = [{namespaces}]
actions = [{actions}]
images = ["registry.example/docs/*"]
"""
NEEDS_ONE = """
[[rules]]
id = "docs-need-one"
match = { apps = ["docs"] }
require = { approvals = 1, by = "operator" }
"""
WORDS = "the search box is broken since yesterday, could you get the fixed site out?"


def _attended(cluster_setup, home, namespaces='"docs-*", "shop-*"', actions='"deploy", "provision_namespace"', more=""):
    scenario = Scenario(cluster_setup, home)
    scenario.policy = scenario.apps() + ATTEND.format(namespaces=namespaces, actions=actions) + more
    return scenario


async def _asked(scenario, by="docs", words=WORDS):
    """An ask that the server cannot answer, with somebody there who may."""
    asked = await scenario.tool("ask", by=by, peer_name="infra", query=words)
    assert asked.ok, asked.text
    return asked.text


async def _claim(scenario, session, ask):
    claimed = await scenario.call(session, "inbox", claim=ask)
    assert claimed.ok, claimed.text
    return claimed


@pytest.mark.promise("attend.claim")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_claimed_ask_is_acted_on_in_the_asker_s_name_and_its_end_is_the_ack(cluster_setup, tmp_path, mode):
    async with _attended(cluster_setup, tmp_path) as scenario, scenario.attend(mode=mode) as session:
        ask = await _asked(scenario)
        assert WORDS in (await scenario.call(session, "inbox")).text
        await _claim(scenario, session, ask)

        done = await scenario.call(session, "deploy", app="docs", version="0.13.4", on_behalf_of=ask)

        assert done.ok, done.text
        acked = await scenario.ack(ask)
        assert acked.ok
        assert "0.13.4" in acked.text
        (row,) = scenario.requests()
        assert (row["state"], row["caller"], row["circle"], row["attendant"]) == ("landed", "docs", "docs", "infra")
        trailers = scenario.git("log", "-1", "--format=%(trailers)").splitlines()
        assert {"Requested-By: docs", "Acted-By: infra"} <= set(trailers)
        assert scenario.image() == "registry.example/docs/site:0.13.4"


@pytest.mark.promise("attend.claim")
async def test_one_ask_is_one_request(cluster_setup, tmp_path):
    async with _attended(cluster_setup, tmp_path) as scenario, scenario.attend() as session:
        ask = await _asked(scenario)
        await _claim(scenario, session, ask)
        await scenario.call(session, "deploy", app="docs", version="0.13.4", on_behalf_of=ask)

        again = await scenario.call(session, "deploy", app="docs", version="0.13.5", on_behalf_of=ask)

        assert again.data["code"] == "claim-taken", again.text
        assert len(scenario.requests()) == 1
        assert scenario.image() == "registry.example/docs/site:0.13.4"


@pytest.mark.promise("attend.claim")
async def test_a_session_acts_for_nobody_without_a_claim_and_never_for_itself(cluster_setup, tmp_path):
    async with _attended(cluster_setup, tmp_path) as scenario, scenario.attend() as session, scenario.attend() as other:
        ask = await _asked(scenario)
        await _claim(scenario, other, ask)

        taken = await scenario.call(session, "deploy", app="docs", version="0.13.4", on_behalf_of=ask)
        own = await scenario.call(session, "deploy", app="docs", version="0.13.4")
        peer = await scenario.tool("deploy", app="docs", version="0.13.4", on_behalf_of=ask)

        assert (taken.data["code"], own.data["code"]) == ("claim-taken", "policy-denied")
        assert not peer.ok
        assert scenario.requests() == []


@pytest.mark.promise("attend.claim")
async def test_what_the_asker_may_and_the_attendant_may_not_is_refused(cluster_setup, tmp_path):
    async with (
        _attended(cluster_setup, tmp_path, actions='"provision_namespace"') as scenario,
        scenario.attend() as session,
    ):
        ask = await _asked(scenario)
        await _claim(scenario, session, ask)

        refused = await scenario.call(session, "deploy", app="docs", version="0.13.4", on_behalf_of=ask)

        assert refused.data["state"] == "refused", refused.text
        assert "attend" in refused.data["error"]["rule"]
        assert "attend" in (await scenario.ack(ask)).text
        assert scenario.image() == "registry.example/docs/site:0.13.3"
        direct = await scenario.tool("deploy", app="docs", version="0.13.4")
        assert direct.ok, direct.text


@pytest.mark.promise("attend.claim")
@pytest.mark.promise("rbac.impersonated")
async def test_what_the_attendant_may_and_the_asker_may_not_is_refused(cluster_setup, tmp_path):
    async with _attended(cluster_setup, tmp_path) as scenario, scenario.attend() as session:
        name = scenario.fresh(circle="shop")
        ask = await _asked(scenario)
        await _claim(scenario, session, ask)

        refused = await scenario.call(session, "provision_namespace", namespace=name, on_behalf_of=ask)

        assert refused.data["state"] == "refused", refused.text
        assert refused.data["error"]["rule"] == "circles.docs.namespaces"
        assert scenario.live_object("namespace", name) is None

        other = await _asked(scenario, by="shop", words="our shop needs a place of its own, please")
        await _claim(scenario, session, other)
        made = await scenario.call(session, "provision_namespace", namespace=name, on_behalf_of=other)
        assert made.ok, made.text
        assert scenario.live_object("namespace", name) is not None


@pytest.mark.promise("attend.claim")
async def test_without_a_section_of_policy_an_attending_session_may_do_nothing(cluster_setup, tmp_path):
    scenario = Scenario(cluster_setup, tmp_path)
    async with scenario, scenario.attend() as session:
        ask = await _asked(scenario)
        await _claim(scenario, session, ask)

        refused = await scenario.call(session, "deploy", app="docs", version="0.13.4", on_behalf_of=ask)

        assert refused.data["state"] == "refused", refused.text
        assert scenario.image() == "registry.example/docs/site:0.13.3"


@pytest.mark.promise("attend.claim")
@pytest.mark.promise("mesh.durable")
@pytest.mark.parametrize("end", ["session", "server"])
async def test_when_a_session_or_its_server_dies_the_ask_is_free_for_the_next(cluster_setup, tmp_path, end):
    async with _attended(cluster_setup, tmp_path) as scenario:
        async with scenario.attend() as first:
            ask = await _asked(scenario)
            await _claim(scenario, first, ask)
            if end == "server":
                await scenario.kill()
        if end == "server":
            await scenario.start()

        async with scenario.attend() as second:
            with anyio.fail_after(30):
                while not (await scenario.call(second, "inbox", claim=ask)).ok:  # noqa: ASYNC110 - another process's news
                    await anyio.sleep(0.02)
            done = await scenario.call(second, "deploy", app="docs", version="0.13.4", on_behalf_of=ask)
            assert done.ok, done.text
        assert (await scenario.ack(ask)).ok
        assert len(scenario.requests()) == 1


@pytest.mark.promise("approval.digest")
@pytest.mark.promise("approval.not-self")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_person_of_the_session_is_asked_and_their_yes_lets_it_land(cluster_setup, tmp_path, mode):
    shown = []

    async def asked(_context, params):
        shown.append(params.message)
        return ElicitResult(action="accept", content={"approve": True})

    async with (
        _attended(cluster_setup, tmp_path, more=NEEDS_ONE) as scenario,
        scenario.attend(mode=mode, elicitation_callback=asked) as session,
    ):
        ask = await _asked(scenario)
        await _claim(scenario, session, ask)
        parked = await scenario.call(session, "deploy", app="docs", version="0.13.4", on_behalf_of=ask)
        assert parked.data["state"] == "awaiting_approval", parked.text
        assert scenario.image() == "registry.example/docs/site:0.13.3"

        await scenario.call(session, "approve", request_id=parked.data["request"])

        assert (await scenario.ack(ask)).ok
        assert len(shown) == 1
        assert parked.data["effect_digest"] in shown[0]
        (given,) = scenario.rows("SELECT * FROM approvals")
        assert (given["approver"], given["way"], given["strength"]) == ("operator", "elicitation", "same-user")
        assert scenario.image() == "registry.example/docs/site:0.13.4"


@pytest.mark.promise("approval.no-fallback")
async def test_a_host_that_cannot_ask_a_person_approves_nothing_and_names_the_command(cluster_setup, tmp_path):
    async with _attended(cluster_setup, tmp_path, more=NEEDS_ONE) as scenario, scenario.attend() as session:
        ask = await _asked(scenario)
        await _claim(scenario, session, ask)
        parked = await scenario.call(session, "deploy", app="docs", version="0.13.4", on_behalf_of=ask)

        said = await scenario.call(session, "approve", request_id=parked.data["request"])

        assert f"infra-mcp approve {parked.data['request']} {parked.data['effect_digest']}" in said.text
        assert scenario.requests()[0]["state"] == "awaiting_approval"
        assert scenario.rows("SELECT * FROM approvals") == []
