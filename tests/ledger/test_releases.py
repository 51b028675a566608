"""Notifies to the infra peer, what comes of them, and that their senders are told."""

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.ledger import Ledger, ReleaseIn
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio
NOW = "2026-11-22T10:00:00Z"


@pytest.fixture
def notified(ledger, docs, infra, submission):
    """Sends docs' notify of a version, as policy would have it taken: the version's own request id is `req-VERSION`."""

    async def run(version, *supersedes, scheduled=True, extra=(), caller=docs, **given):
        text = f"release/{version} merged, ready to deploy"
        given = {"channel": "notify", "words": text, "scheduled": scheduled} | given
        sent = submission(Deploy(app="docs", version=version), caller=caller, **given)
        release = ReleaseIn(submission=sent, request_id=f"req-{version}", supersedes=supersedes)
        return await ledger.mail.notified(caller, infra, text, [release, *extra], now=NOW)

    return run


async def told(ledger, at, caller):
    return (await ledger.mail.inbox(at(caller))).messages


@pytest.mark.promise("notify.catalogue")
async def test_a_notify_and_the_release_in_it_are_kept_and_it_waits_for_its_time(ledger, notified, docs, infra):
    notify, (taken,) = await notified("0.13.4")
    assert (taken.fresh, taken.request.id, taken.request.notify) == (True, "req-0.13.4", notify)
    assert (taken.request.state, taken.request.channel, taken.request.caller) == (State.SCHEDULED, "notify", docs)
    assert await ledger.parked() == await ledger.open_requests() == [taken.request]
    assert (await ledger.mail.inbox(infra)).messages == (), "the server has done with it"
    kinds = [(one.kind, one.text) for one in (await ledger.search("", circle="docs")).events]
    text = "release/0.13.4 merged, ready to deploy"
    assert kinds == [("received", text), ("notify", text)]
    assert (await ledger.verify([])).consistent


async def test_one_that_need_not_wait_is_queued(ledger, notified):
    _, (taken,) = await notified("0.13.4", scheduled=False)
    assert taken.request.state is State.QUEUED
    assert await ledger.parked() == []


async def test_a_notify_of_which_nothing_comes_waits_in_the_infra_peers_inbox(ledger, docs, infra):
    notify, taken = await ledger.mail.notified(docs, infra, "merged, do NOT deploy yet", [], now=NOW)
    (message,) = (await ledger.mail.inbox(infra)).messages
    assert (taken, message.id, message.text, message.sender) == ([], notify, "merged, do NOT deploy yet", "docs")
    assert (await ledger.search("deploy", circle="docs")).total == 1


@pytest.mark.promise("notify.catalogue")
async def test_the_sender_is_told_what_came_of_it_once(ledger, notified, receipt, docs, at, place):
    notify, (taken,) = await notified("0.13.4")
    await ledger.finish(taken.request.id, receipt(taken.request, message="docs 0.13.4 runs"), {})
    (message,) = await told(ledger, at, docs)
    assert (message.kind, message.text, message.sender, message.circle) == (
        "outcome",
        "docs 0.13.4 runs",
        "infra",
        None,
    )
    assert (message.request, message.reply_to, message.read) == (taken.request.id, notify, None)
    assert message.id.startswith("notif-")
    assert message.id != notify
    await ledger.aclose()
    again = await Ledger.open_in(place)
    try:
        assert await told(again, at, docs) == (message,)
        await again.mail.mark_read(at(docs), [message.id], now=NOW)
        assert await told(again, at, docs) == ()
        assert (await again.verify([])).consistent
    finally:
        await again.aclose()


@pytest.mark.promise("notify.catalogue")
async def test_end_and_outcome_are_written_together_or_not_at_all(ledger, notified, receipt, docs, at, monkeypatch):
    _, (taken,) = await notified("0.13.4")

    def fail(*_given):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("infra_mcp.ledger.messages.keep", fail)
        with pytest.raises(InfraError, match="ledger-unavailable"):
            await ledger.finish(taken.request.id, receipt(taken.request), {})
    assert (await ledger.request(taken.request.id)).state is State.SCHEDULED
    assert await told(ledger, at, docs) == ()


async def test_a_request_without_a_notify_notifies_nobody(ledger, accept, receipt, docs, at):
    taken = await accept(ledger)
    await ledger.finish(taken.request.id, receipt(taken.request), {})
    assert await told(ledger, at, docs) == ()


@pytest.mark.promise("notify.order")
async def test_a_newer_release_takes_the_place_of_one_that_waits_and_both_are_told(ledger, notified, docs, at):
    first, _ = await notified("0.13.4")
    _, (taken,) = await notified("0.13.5", "req-0.13.4")
    older = await ledger.request("req-0.13.4")
    assert (older.state, older.receipt["error"]["code"]) == (State.SUPERSEDED, "superseded")
    assert [one.id for one in await ledger.parked()] == [taken.request.id]
    (message,) = await told(ledger, at, docs)
    assert (message.request, message.reply_to) == ("req-0.13.4", first)
    assert "docs 0.13.4 was superseded by docs 0.13.5 (req-0.13.5)" in message.text
    assert [one.kind for one in await ledger.trail("req-0.13.4")] == ["received", "finished"]
    assert (await ledger.verify([])).consistent


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize("state", [State.QUEUED, State.PLANNED, State.APPLYING])
async def test_one_that_has_begun_meanwhile_keeps_its_place(ledger, notified, docs, at, state):
    await notified("0.13.4")
    await ledger.record("req-0.13.4", state, "due", {})
    await notified("0.13.5", "req-0.13.4", "req-none")
    assert (await ledger.request("req-0.13.4")).state is state
    assert await told(ledger, at, docs) == ()


@pytest.mark.promise("notify.order")
async def test_an_older_release_is_refused_recorded_and_told(ledger, docs, infra, at):
    refusal = {"code": "older-version", "what": "docs 0.13.4 is older than 0.13.5.", "next": "Deploy it by name."}
    text = "release/0.13.4 merged"
    notify, taken = await ledger.mail.notified(docs, infra, text, [ReleaseIn(refusal=refusal)], now=NOW)
    assert taken == []
    (message,) = await told(ledger, at, docs)
    assert message.text == "older-version: docs 0.13.4 is older than 0.13.5. Next: Deploy it by name."
    assert (message.kind, message.request, message.reply_to) == ("outcome", None, notify)
    newest = (await ledger.search("", circle="docs")).events[0]
    assert (newest.kind, newest.text, newest.data["code"]) == ("refused", text, "older-version")
    assert await ledger.open_requests() == []
    assert (await ledger.verify([])).consistent


@pytest.mark.promise("notify.order")
async def test_the_same_release_again_is_the_first_one(ledger, notified, docs, infra, at, receipt):
    first, _ = await notified("0.13.4")
    second, (taken,) = await ledger.mail.notified(docs, infra, "again", [ReleaseIn(same="req-0.13.4")], now=NOW)
    assert (taken.fresh, taken.request.id) == (False, "req-0.13.4")
    assert [one.id for one in await ledger.open_requests()] == ["req-0.13.4"]
    assert (await ledger.trail("req-0.13.4"))[-1].data["id"] == second
    await ledger.finish("req-0.13.4", receipt(taken.request), {})
    assert [one.reply_to for one in await told(ledger, at, docs)] == [first, second]


@pytest.mark.promise("notify.catalogue", "mesh.durable")
async def test_every_notify_that_a_request_answers_is_told_its_end_once(
    ledger, notified, docs, shop, infra, at, receipt, place
):
    first, (taken,) = await notified("0.13.4", idempotency_key="run-7")
    again = [ReleaseIn(same="req-0.13.4")]
    second, _ = await ledger.mail.notified(docs, infra, "again", again, now=NOW)
    third, _ = await notified("0.13.4", idempotency_key="run-7")
    other, _ = await ledger.mail.notified(shop, infra, "again", again, now=NOW)
    assert await told(ledger, at, docs) == await told(ledger, at, shop) == ()
    await ledger.finish("req-0.13.4", receipt(taken.request, message="docs 0.13.4 runs"), {})
    late, _ = await ledger.mail.notified(docs, infra, "again", again, now=NOW)
    await ledger.aclose()
    opened = await Ledger.open_in(place)
    try:
        got = await told(opened, at, docs)
        assert [one.reply_to for one in got] == [first, second, third, late]
        assert {(one.kind, one.text, one.request) for one in got} == {("outcome", "docs 0.13.4 runs", "req-0.13.4")}
        assert [one.reply_to for one in await told(opened, at, shop)] == [other]
        assert (await opened.verify([])).consistent
    finally:
        await opened.aclose()


@pytest.mark.promise("notify.order", "notify.catalogue")
async def test_whoever_repeated_a_release_that_gives_its_place_to_another_is_told(ledger, notified, docs, infra, at):
    first, _ = await notified("0.13.4")
    second, _ = await ledger.mail.notified(docs, infra, "again", [ReleaseIn(same="req-0.13.4")], now=NOW)
    await notified("0.13.5", "req-0.13.4")
    assert [one.reply_to for one in await told(ledger, at, docs)] == [first, second]


async def test_an_outcome_told_to_somebody_else_differs_from_the_chain(ledger, notified, docs, infra, receipt, raw):
    _, (taken,) = await notified("0.13.4")
    await ledger.mail.notified(docs, infra, "again", [ReleaseIn(same="req-0.13.4")], now=NOW)
    await ledger.finish("req-0.13.4", receipt(taken.request), {})
    raw().execute("UPDATE messages SET receiver = 'shop' WHERE kind = 'outcome'")
    assert len((await ledger.verify([])).differing) == 2


async def test_an_argument_that_cannot_be_kept_is_told_too(ledger, notified, docs, at):
    _, taken = await notified("ghp_" + "a1B2" * 9)
    assert taken == []
    (message,) = await told(ledger, at, docs)
    assert message.text.startswith("invalid-argument: ")
    assert "ghp_" not in message.text
    assert (await ledger.verify([])).consistent


@pytest.mark.promise("notify.order")
async def test_all_that_comes_of_a_notify_is_written_or_nothing(ledger, notified, docs, at, infra):
    await notified("0.13.4")
    head = await ledger.head()
    # The last of them cannot be: its request id is taken.
    twice = (await ledger.request("req-0.13.4")).id
    sent = ReleaseIn(refusal={"code": "older-version", "what": "old", "next": "-"})
    with pytest.raises(InfraError, match="UNIQUE"):
        await notified("0.13.5", "req-0.13.4", extra=[sent, _taken_id(docs, twice)])
    assert await ledger.head() == head
    assert (await ledger.request("req-0.13.4")).state is State.SCHEDULED
    assert await ledger.request("req-0.13.5") is None
    assert await told(ledger, at, docs) == ()
    assert (await ledger.mail.inbox(infra)).messages == ()


def _taken_id(caller, request_id):
    from infra_mcp.model.request import Submission  # noqa: PLC0415 - only here

    action = Deploy(app="site", version="1")
    return ReleaseIn(submission=Submission(caller=caller, action=action, channel="notify"), request_id=request_id)


async def test_a_key_makes_a_notify_sent_twice_one_release(ledger, notified):
    await notified("0.13.4", idempotency_key="run-7")
    _, (again,) = await notified("0.13.4", idempotency_key="run-7")
    assert (again.fresh, again.request.id) == (False, "req-0.13.4")
    assert len(await ledger.open_requests()) == 1


# -- what is there of an app


async def test_the_version_that_landed_last_is_the_one_that_ended_last(ledger, accept, receipt):
    async def deploy(version, state=None, **given):
        taken = await accept(ledger, Deploy(app="docs", version=version), **given)
        if state:
            await ledger.finish(taken.request.id, receipt(taken.request, state), {})
        return taken.request

    assert await ledger.landed_version("docs") is None
    slow = await deploy("0.14.0")
    await deploy("0.13.4", State.LANDED)
    assert await ledger.landed_version("docs") == "0.13.4"
    for other in (State.FAILED, State.ROLLED_BACK, State.REFUSED, State.SUPERSEDED, State.CANCELLED):
        await deploy("0.13.9", other)
    await deploy("0.13.8", State.PREVIEWED, dry_run=True)
    await deploy("0.13.7")
    assert await ledger.landed_version("docs") == "0.13.4"
    await ledger.finish(slow.id, receipt(slow), {})
    assert await ledger.landed_version("docs") == "0.14.0", "it was asked first and landed last"
    await deploy("0.13.6", State.UNCHANGED)
    assert await ledger.landed_version("docs") == "0.13.6"
    assert await ledger.landed_version("site") is None


@pytest.mark.promise("delivery.external")
@pytest.mark.parametrize("end", [State.PUSHED, State.MERGED, State.COMMITTED])
async def test_a_version_that_nothing_confirmed_is_the_newest_on_the_branch_and_is_not_called_landed(
    ledger, accept, receipt, end
):
    for version, state in (("0.13.4", State.LANDED), ("0.13.5", end)):
        taken = await accept(ledger, Deploy(app="docs", version=version))
        await ledger.finish(taken.request.id, receipt(taken.request, state), {})

    assert await ledger.landed_version("docs") == "0.13.5"
    assert await ledger.landed_version("docs", confirmed=True) == "0.13.4"


async def test_open_releases_are_an_apps_deploys_on_their_way(ledger, accept, notified, receipt):
    tool = (await accept(ledger, Deploy(app="docs", version="0.13.3"))).request
    await accept(ledger, Deploy(app="docs", version="0.13.9"), dry_run=True)
    await accept(ledger, Deploy(app="site", version="1"))
    await notified("0.13.4")
    assert [one.id for one in await ledger.open_releases("docs")] == [tool.id, "req-0.13.4"]
    await ledger.finish(tool.id, receipt(tool), {})
    assert [one.id for one in await ledger.open_releases("docs")] == ["req-0.13.4"]
