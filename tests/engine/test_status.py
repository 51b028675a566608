"""What `status` reads, and in which order nobody has to wait."""

from datetime import UTC, datetime
from types import SimpleNamespace

import anyio
import pytest

from infra_mcp.engine.apps import healths
from infra_mcp.engine.status import status
from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State
from infra_mcp.policy.policy import load

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")


class Place:
    """A place whose driver says what the test says."""

    def __init__(self, observe):
        self.observe = observe

    async def driver(self, *_):
        return self

    async def status(self, context, question):
        return await self.observe(context, question)


def deps(observe, recent):
    async def head(branch):
        return branch

    async def tree(_, commit, __):
        return commit

    async def rolled_back_by(requests):
        assert not list(requests)
        return {}

    async def tokens(around):
        assert around > 0
        return []

    return SimpleNamespace(
        policy=lambda: load(CATALOGUE),
        now=lambda: datetime.now(UTC),
        git=SimpleNamespace(head=head),
        tree=tree,
        places=Place(observe),
        ledger=SimpleNamespace(recent=recent, rolled_back_by=rolled_back_by, tokens=tokens),
    )


async def test_the_cluster_and_the_ledger_are_read_side_by_side():
    asked, written = anyio.Event(), anyio.Event()

    async def observe(*_):
        asked.set()
        await written.wait()
        return {"health": "healthy"}

    async def recent(*_):
        written.set()
        await asked.wait()
        return []

    with anyio.fail_after(30):
        found = await status(deps(observe, recent), DOCS, None, "site")

    assert found == {"cluster": "sandbox", "app": "site", "health": "healthy", "open": [], "recent": []}


@pytest.mark.parametrize("code", ["not-found", "cluster-unreachable"])
async def test_an_error_of_the_cluster_is_raised_as_itself_whatever_the_ledger_does(code):
    async def observe(*_):
        raise InfraError(code, "no")

    async def recent(*_):
        await anyio.sleep_forever()

    with anyio.fail_after(30), pytest.raises(InfraError) as caught:
        await status(deps(observe, recent), DOCS, None, "site")

    assert caught.value.code == code


CATALOGUE = """
[clusters.sandbox]
context = "kwok-infra"
[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy"]
""" + "".join(
    f"""
[apps.{name}]
owner = "{owner}"
workload = "{space}/deployment/{name}"
image = "registry.example/{name}:{{version}}"
"""
    for name, owner, space in (
        ("site", "docs", "docs-live"),
        ("search", "docs", "docs-live"),
        ("shop", "shop", "shop-live"),
    )
)


@pytest.mark.fault("f20")
@pytest.mark.parametrize(
    ("caller", "shown"),
    [
        (DOCS, ["search", "site"]),
        (Caller(name="pat", circle=None, strength="token", operator=True), ["search", "shop", "site"]),
    ],
)
async def test_without_arguments_it_lists_the_apps_that_the_caller_may_see(caller, shown):
    async def observe(context, question):
        assert (question.tree, context.circle) == ("main", "docs")
        if question.app == "search":
            raise InfraError("cluster-denied", "no")
        return {"version": "1.2.3", "health": "healthy"}

    async def recent(*_):
        return []

    async def landed_version(_, *, confirmed):
        assert confirmed
        return "1.2.2"

    asked = deps(observe, recent)
    asked.ledger.landed_version = landed_version
    apps = (await status(asked, caller, None, None))["apps"]

    assert [one["app"] for one in apps] == shown
    assert {one["landed"] for one in apps} == {"1.2.2"}
    if caller is DOCS:
        by_name = {one["app"]: one for one in apps}
        assert (by_name["site"]["version"], by_name["site"]["health"]) == ("1.2.3", "healthy")
        assert by_name["search"]["health"] == "unknown"
        assert by_name["search"]["reason"]


@pytest.mark.fault("d05")
@pytest.mark.parametrize("later", [10, 300])
async def test_every_open_request_of_the_circle_is_shown_however_many_newer_ones_have_ended(ledger_fixture, later):
    slow = await ledger_fixture.deploy("1.0.0")
    await ledger_fixture.ledger.record(slow.id, State.VERIFYING, "applied", {})
    other = await ledger_fixture.deploy("1.0.0", caller=Caller(name="shop", circle="shop", strength="token"))
    await ledger_fixture.dry_runs(later)

    async def observe(*_):
        return {"health": "healthy"}

    made = deps(observe, None)
    made.policy, made.ledger = ledger_fixture.policy.current, ledger_fixture.ledger
    found = await status(made, DOCS, None, None)
    everyone = await status(made, Caller(name="pat", circle=None, strength="token", operator=True), None, None)

    assert [line["request"] for line in found["open"]] == [slow.id]
    assert [line["request"] for line in everyone["open"]] == [other.id, slow.id]
    assert {line["state"] for line in found["recent"]} == {"previewed"}
    assert len(found["recent"]) == 10


@pytest.mark.fault("d09")
async def test_a_repository_that_cannot_be_read_hides_nothing_of_the_cluster():
    async def observe(_, question):
        return {"health": "healthy", "drift": [], "given": question.tree}

    async def recent(*_):
        return []

    async def broken(*_):
        raise InfraError("setup-failed", "The branch is not there.")

    made = deps(observe, recent)
    made.git.head = broken
    found = await status(made, DOCS, None, "site")

    assert (found["health"], found["given"]) == ("healthy", None)
    assert found["drift"] == ["not known: The branch is not there."]


@pytest.mark.promise("auth.tokens")
async def test_operators_see_which_tokens_end_soon_or_have_ended_and_nobody_else_does(ledger_fixture):
    ledger = ledger_fixture.ledger
    await ledger.add_peer("ci", "docs")
    for seconds in (0.0, 86_400.0, 90 * 86_400.0, None):
        await ledger.issue_token("ci", sponsor="ann", seconds=seconds)

    async def observe(*_):
        return {"health": "healthy"}

    made = deps(observe, None)
    made.policy, made.ledger = ledger_fixture.policy.current, ledger
    everyone = await status(made, Caller(name="pat", circle=None, strength="token", operator=True), None, None)
    peer = await status(made, DOCS, None, None)

    shown = [(one["peer"], one["sponsor"], one["expired"]) for one in everyone["expiring_tokens"]]
    assert shown == [("ci", "ann", True), ("ci", "ann", False)]
    assert "expiring_tokens" not in peer


LINES = [
    {"app": name, "environment": None, "cluster": "sandbox", "namespace": space}
    for name, space in (("site", "docs-live"), ("search", "docs-live"), ("shop", "shop-live"), ("stray", "docs-live"))
]


async def test_a_pages_health_is_read_side_by_side_as_the_owners_circle_and_a_slow_app_holds_nothing():
    asked, together = [], anyio.Event()

    async def observe(context, question):
        asked.append((question.app, context.circle))
        if len(asked) > 1:
            together.set()
        await together.wait()  # each waits for the other: one after the other, neither would end
        if question.app == "search":
            await anyio.sleep_forever()
        return {"health": "Current", "version": "1.2.3", "drift": []}

    with anyio.fail_after(30):
        found = await healths(deps(observe, None), LINES, 1.0)

    assert found == [{"health": "Current", "reason": None, "version": "1.2.3"}, None, None, None]
    assert sorted(asked) == [
        ("search", "docs"),
        ("site", "docs"),
    ]  # no circle reaches the shop's, and policy has no stray


async def test_of_several_instances_only_the_one_that_was_read_has_a_health():
    async def observe(context, question):  # noqa: ARG001 - a driver's
        return {"health": "InProgress", "reason": "it is not ready"}

    lines = [LINES[0] | {"environment": name, "namespace": f"docs-{name}"} for name in ("live", "staging")]
    live, staging = await healths(deps(observe, None), lines, 10.0)
    assert (live["health"], live["reason"], staging) == ("InProgress", "it is not ready", None)
