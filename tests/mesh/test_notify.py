"""Notifies to infra: word for word a release, or a message that waits for whoever attends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest
from running_server import POLICY, running_server

from infra_mcp.engine.report import receipt
from infra_mcp.engine.run import Run
from infra_mcp.errors import InfraError
from infra_mcp.ledger.ids import request_id
from infra_mcp.mesh.inbox import look
from infra_mcp.mesh.intake import now
from infra_mcp.mesh.limits import UNREAD
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import State, Submission

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")
NAMESAKE = Caller(name="docs", circle="shop", strength="token")
SHOP = Caller(name="shop", circle="shop", strength="token")
INFRA = Address(name="infra")
BACK = Address(name="docs", circle="docs")
READY = "release/0.13.4 merged, ready to deploy"


def policy(**more: str) -> str:
    """the server's policy, whose app is deployed by a notify; `more` are further keys of the app."""
    keys = 'deploy_on = "release/{version} merged, ready to deploy"\n'
    keys += "".join(f"{key} = {value}\n" for key, value in more.items())
    return POLICY + keys


NOT_NOW = f'"{datetime.now(UTC) + timedelta(days=3):%a} 00:00-24:00 UTC"'
FREEZE = """
[[freeze]]
id = "for-ever"
from = 2020-01-01T00:00:00Z
until = 2090-01-01T00:00:00Z
match = { apps = ["docs"] }
reason = "the long weekend"
"""


async def take(at, text, caller=DOCS):
    return await at.service.releases.take(caller, text, text, at.service.limits)


async def outcomes(at) -> list:
    return [one for one in (await look(at.engine, BACK)).messages if one.kind == "outcome"]


@pytest.mark.promise("notify.catalogue")
async def test_the_words_of_the_catalogue_become_a_deploy_whose_outcome_is_notified_back(tmp_path):
    async with running_server(tmp_path, "unix", policy=policy()) as at:
        with at.engine.signals.waiter(BACK.signal) as told, anyio.fail_after(30):
            taken = await take(at, READY)
            (told_of,) = taken.requests
            await at.engine.wait(told_of["request"], 5)
            await told.wait()
        request = await at.engine.ledger.request(told_of["request"])
        (outcome,) = await outcomes(at)

        assert taken.id.startswith("notif-")
        assert (told_of["app"], told_of["version"], told_of["state"]) == ("docs", "0.13.4", "queued")
        assert (request.action.app, request.action.version) == ("docs", "0.13.4")
        assert (request.channel, request.words, request.notify) == ("notify", READY, taken.id)
        assert (request.caller.name, request.caller.circle) == ("docs", "docs")
        assert (outcome.text, outcome.reply_to) == ("deploy is done.", taken.id)
        assert (outcome.sender, outcome.request) == ("infra", request.id)
        assert (await look(at.engine, INFRA)).messages == ()


@pytest.mark.promise("notify.catalogue")
@pytest.mark.parametrize(
    ("caller", "text"),
    [
        (DOCS, "release/0.13.4 merged, ready to deploy, but wait for me"),
        (DOCS, "release/0.13.4 merged, do NOT deploy yet"),
        (DOCS, "please: release/0.13.4 merged, ready to deploy"),
        (DOCS, "release/0.13.4 merged, ready to deploy\nrelease/0.13.5 merged, ready to deploy"),
        (DOCS, "Release/0.13.4 merged, ready to deploy"),
        (DOCS, "the docs are fine"),
        (SHOP, READY),
        (NAMESAKE, READY),
    ],
)
async def test_anything_else_deploys_nothing_and_waits_in_infras_inbox(tmp_path, caller, text):
    async with running_server(tmp_path, "unix", policy=policy()) as at:
        taken = await take(at, text, caller)
        (message,) = (await look(at.engine, INFRA)).messages

        assert (taken.requests, taken.refused) == ((), ())
        assert (message.id, message.text, message.circle) == (taken.id, text, caller.circle)
        assert await at.engine.ledger.open_requests() == []


@pytest.mark.promise("notify.catalogue")
@pytest.mark.parametrize(
    ("text", "held_by"),
    [(policy(schedule=NOT_NOW), "schedule"), (policy() + FREEZE, "freeze.for-ever")],
    ids=["window", "freeze"],
)
async def test_a_release_waits_for_its_window_and_for_the_end_of_a_freeze(tmp_path, text, held_by):
    async with running_server(tmp_path, "unix", policy=text) as at:
        (told,) = (await take(at, READY)).requests
        (waiting,) = await at.engine.ledger.parked()

        assert (told["state"], told["held_by"]) == ("scheduled", held_by)
        assert told["due"]
        assert (waiting.id, waiting.state) == (told["request"], State.SCHEDULED)


@pytest.mark.promise("notify.order")
async def test_a_newer_release_takes_the_place_of_the_one_that_waits_and_both_are_told(tmp_path):
    async with running_server(tmp_path, "unix", policy=policy(schedule=NOT_NOW)) as at:
        (first,) = (await take(at, "release/0.13.4 merged, ready to deploy")).requests
        (second,) = (await take(at, "release/0.13.10 merged, ready to deploy")).requests
        ended = await at.engine.ledger.request(first["request"])
        kinds = {event.state for event in await at.engine.ledger.trail(first["request"])}

        assert second["supersedes"] == [first["request"]]
        assert ended.state is State.SUPERSEDED
        assert State.SUPERSEDED in kinds
        assert [one.request for one in await outcomes(at)] == [first["request"]]
        assert [one.id for one in await at.engine.ledger.parked()] == [second["request"]]


@pytest.mark.promise("notify.order")
async def test_an_older_release_is_refused_and_its_sender_told_and_the_same_again_is_the_same(tmp_path):
    async with running_server(tmp_path, "unix", policy=policy(schedule=NOT_NOW)) as at:
        (first,) = (await take(at, "release/0.13.10 merged, ready to deploy")).requests
        older = await take(at, "release/0.13.4 merged, ready to deploy")
        again = await take(at, "release/0.13.10 merged, ready to deploy")
        (outcome,) = await outcomes(at)

        assert older.requests == ()
        assert older.refused[0]["code"] == "older-version"
        assert "0.13.10" in older.refused[0]["what"]
        assert (outcome.reply_to, outcome.text.partition(":")[0]) == (older.id, "older-version")
        assert again.requests[0]["request"] == first["request"]
        assert len(await at.engine.ledger.open_requests()) == 1
        assert (await at.engine.ledger.search("older-version", circle=None)).total == 1


@pytest.mark.promise("notify.order")
async def test_what_is_older_than_what_landed_is_refused(tmp_path):
    def script(request) -> Receipt:
        return Receipt(request=request.id, state=State.LANDED, message="landed", action="deploy")

    async with running_server(tmp_path, "unix", policy=policy(), script=script) as at:
        (first,) = (await take(at, "release/2.0.0 merged, ready to deploy")).requests
        await at.engine.wait(first["request"], 5)
        older = await take(at, "release/1.9.9 merged, ready to deploy")

        assert older.refused[0]["code"] == "older-version"
        assert await at.engine.ledger.open_requests() == []


@pytest.mark.promise("notify.order")
async def test_a_deploy_that_policy_has_not_let_through_stands_in_no_release_s_way(tmp_path):
    async with running_server(tmp_path, "unix", policy=policy()) as at:
        action = Deploy(app="docs", version="99.0.0")
        submission = Submission(caller=SHOP, action=action, channel="tool")
        await at.engine.ledger.accept(submission, request_id=request_id(), ask=None, now=now())
        taken = await take(at, READY)
        assert [one["version"] for one in taken.requests] == ["0.13.4"]
        assert taken.refused == ()


@pytest.mark.promise("notify.order")
async def test_many_releases_at_once_leave_one_that_waits_the_newest(tmp_path):
    async with running_server(tmp_path, "unix", policy=policy(schedule=NOT_NOW)) as at:
        async with anyio.create_task_group() as group:
            for number in (3, 9, 1, 7, 12, 5, 11, 2):
                group.start_soon(take, at, f"release/0.{number}.0 merged, ready to deploy")
        (waiting,) = await at.engine.ledger.parked()
        assert waiting.action.version == "0.12.0"


@pytest.mark.promise("notify.catalogue")
async def test_one_message_releases_every_app_of_its_sender_that_it_names(tmp_path):
    more = """
[apps.search]
owner = "docs"
workload = "docs-live/deployment/search"
image = "registry.example/docs/search:{version}"
deploy_on = "release/{version} merged, ready to deploy"
"""
    async with running_server(tmp_path, "unix", policy=policy() + more) as at:
        taken = await take(at, READY)
        assert [(one["app"], one["version"]) for one in taken.requests] == [("docs", "0.13.4"), ("search", "0.13.4")]
        assert len({one["request"] for one in taken.requests}) == 2


async def test_without_a_policy_a_notify_is_kept(tmp_path):
    async with running_server(tmp_path, "unix", policy=None) as at:
        taken = await take(at, READY)
        assert taken.requests == ()
        assert [one.id for one in (await look(at.engine, INFRA)).messages] == [taken.id]


async def test_infras_inbox_is_bounded_for_each_sender(tmp_path):
    async with running_server(tmp_path, "unix", policy=policy()) as at:
        for _ in range(UNREAD):
            await at.engine.ledger.mail.post(DOCS, [INFRA], "x", now="2026-11-22T00:00:00Z")
        with pytest.raises(InfraError, match="too-many"):
            await take(at, "one more")
        assert (await take(at, "of another", SHOP)).id


@pytest.mark.promise("secrets.nowhere")
async def test_a_secret_in_a_notify_is_masked_before_anything_keeps_it(tmp_path):
    secret = "ghp_" + "Zb9" * 12
    async with running_server(tmp_path, "unix", policy=policy()) as at:
        await take(at, f"the token is {secret}")
        await take(at, f"release/{secret} merged, ready to deploy")
        seen = str(await look(at.engine, INFRA)) + str(await look(at.engine, BACK))
        seen += str(await at.engine.ledger.search("", circle=None, limit=200))
        assert secret not in seen
        assert at.engine.submitted == []


@pytest.mark.fault("f21")
async def test_an_outcome_says_when_the_order_of_its_release_could_not_be_told(tmp_path):
    def script(request):
        return receipt(Run.of(request), State.LANDED, "deploy is done.")

    async with running_server(tmp_path, "unix", policy=policy(order='"semver"'), script=script) as at:
        for version in ("1.10.0", "nightly"):
            (told,) = (await take(at, f"release/{version} merged, ready to deploy")).requests
            await at.engine.wait(told["request"], 5)
        first, second = [one.text for one in await outcomes(at)]

        assert first == "deploy is done."
        assert "semver" in second
        assert "arrival" in second
        assert "semver" in told["note"]


@pytest.mark.promise("notify.catalogue", "notify.order")
async def test_one_message_releases_an_app_to_each_environment_and_each_has_its_own_order(tmp_path):
    more = policy(schedule=NOT_NOW)
    more += "[apps.docs.environments.staging]\n[apps.docs.environments.production]\n"
    async with running_server(tmp_path, policy=more) as at:
        first = await take(at, READY)
        taken = {one["environment"]: one["request"] for one in first.requests}
        newer = await take(at, READY.replace("0.13.4", "0.13.5"))
        asked = {one.id: one.action.environment for one in await at.engine.ledger.open_requests()}

    assert set(taken) == {"staging", "production"}
    assert {one["environment"]: one["supersedes"] for one in newer.requests} == {
        name: [request] for name, request in taken.items()
    }
    assert sorted(asked.values()) == ["production", "staging"]
