"""What `status` reads, and in which order nobody has to wait."""

from types import SimpleNamespace

import anyio
import pytest

from infra_mcp.clients.kube import KubeError
from infra_mcp.engine.status import status
from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State
from infra_mcp.policy.rules import load

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")


def tools(observe, recent):
    policy = SimpleNamespace(
        service_account=lambda circle: f"circle-{circle}",
        app=lambda _: SimpleNamespace(owner="docs"),
        tree=SimpleNamespace(branch="main"),
    )

    async def head(branch):
        return branch

    async def tree(_, commit):
        return commit

    return SimpleNamespace(
        cluster="sandbox",
        policy=lambda: policy,
        git=SimpleNamespace(head=head),
        tree=tree,
        driver=SimpleNamespace(observe_app=observe),
        ledger=SimpleNamespace(recent=recent),
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

    with anyio.fail_after(5):
        found = await status(tools(observe, recent), DOCS, None, "docs")

    assert found == {"cluster": "sandbox", "app": "docs", "health": "healthy", "open": [], "recent": []}


@pytest.mark.parametrize(("code", "told"), [(403, "not-found"), (404, "not-found"), (0, "cluster-unreachable")])
async def test_what_the_cluster_says_arrives_as_itself_whatever_the_ledger_does(code, told):
    async def observe(*_):
        raise KubeError(code, "No", "no")

    async def recent(*_):
        await anyio.sleep_forever()

    with anyio.fail_after(5), pytest.raises(InfraError) as caught:
        await status(tools(observe, recent), DOCS, None, "docs")

    assert caught.value.code == told


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
    policy = load(CATALOGUE)

    async def observe(_, app, user, tree):
        assert tree == "main"
        assert user == policy.service_account("docs")
        if app == "search":
            raise KubeError(403, "Forbidden", "no")
        return {"version": "1.2.3", "health": "healthy"}

    async def recent(*_):
        return []

    async def landed_version(_):
        return "1.2.2"

    asked = tools(observe, recent)
    asked.policy, asked.ledger.landed_version = lambda: policy, landed_version
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

    made = tools(observe, None)
    made.policy, made.ledger = ledger_fixture.policy.current, ledger_fixture.ledger
    found = await status(made, DOCS, None, None)
    everyone = await status(made, Caller(name="pat", circle=None, strength="token", operator=True), None, None)

    assert [line["request"] for line in found["open"]] == [slow.id]
    assert [line["request"] for line in everyone["open"]] == [other.id, slow.id]
    assert {line["state"] for line in found["recent"]} == {"previewed"}
    assert len(found["recent"]) == 10


@pytest.mark.fault("d09")
async def test_a_repository_that_cannot_be_read_hides_nothing_of_the_cluster():
    async def observe(*given):
        return {"health": "healthy", "drift": [], "given": given[-1]}

    async def recent(*_):
        return []

    async def broken(*_):
        raise InfraError("setup-failed", "The branch is not there.")

    made = tools(observe, recent)
    made.git.head = broken
    found = await status(made, DOCS, None, "docs")

    assert (found["health"], found["given"]) == ("healthy", None)
    assert found["drift"] == ["not known: The branch is not there."]
