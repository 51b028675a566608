"""A field that its file sets no more is removed from the live object where it is ours, and only there."""

import json

import pytest
from drivers.test_conformance import GOAL, ManifestsKit, _empty
from e2e.cluster_setup import CLUSTER, ClusterSetup

from infra_mcp.actions.base import set_fields
from infra_mcp.drivers.base import Context, Share
from infra_mcp.errors import InfraError
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import Edit
from infra_mcp.repository.render import dump

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.promise("rollback.request")]

NOTE = {"spec": {"template": {"metadata": {"annotations": {"note": "ours"}}}}}
REPLICAS = {"spec": {"replicas": 3}}


@pytest.fixture(scope="module")
def on(control_plane, tmp_path_factory):
    folder = tmp_path_factory.mktemp("removal")
    made = ClusterSetup(control_plane.kubectl, control_plane.kubeconfig, control_plane.context, folder)
    made.prepare()
    yield made
    made.leave()


@pytest.fixture
def kit(on):
    made = ManifestsKit(on)
    yield made
    made.leave()


def shares(kit, sets, *, without=()):
    """A change of the first Deployment, and the one that takes it back."""
    body = kit._deployment("one", "1.0.0")
    for key in without:
        del body["spec"][key]
    before = _empty(CLUSTER).write("one.yaml", dump(body))
    done = set_fields(Edit(before, GOAL), before.require(kit._ref("one")), sets)
    back = apply_edits(done.tree, [one.inverted() for one in done.changes])
    assert back.read("one.yaml") == before.read("one.yaml")
    return (
        Share(done.addressed, (), before, done.tree, GOAL),
        Share(done.addressed, (), done.tree, back, GOAL),
    )


async def carried_out(driver, context, share):
    prepared = await driver.plan(context, share)
    await driver.apply(context, prepared)
    await driver.verify(context, prepared, 60.0)
    return prepared


def note(kit):
    found = json.loads(kit.on.run("-n", kit.space, "get", "deployment", "one", "-o", "json").stdout)
    return found["spec"]["template"]["metadata"].get("annotations", {}).get("note")


def context(kit, request):
    return Context(request, kit.circle, kit.policy, nonce=request)


async def test_it_is_shown_removed_and_an_undo_puts_it_back(kit):
    there, back = shares(kit, NOTE)
    async with kit.connect() as driver:
        await carried_out(driver, context(kit, "req-1"), there)
        assert note(kit) == "ours"
        removed = await carried_out(driver, context(kit, "req-2"), back)

        assert note(kit) is None
        (field,) = [one for change in removed.changes for one in change.fields if one.path[-1] == "note"]
        assert (field.before, field.has) == ("ours", False)
        again = await driver.plan(context(kit, "req-3"), back)
        assert ([one.operation for one in again.changes], again.writes) == (["unchanged"], ())
        assert await driver.observe(context(kit, "req-2"), removed.writes)
        undone = await driver.undo(context(kit, "req-2"), removed.writes)
        assert (len(undone.restored), undone.skipped, note(kit)) == (1, (), "ours")
        assert not await driver.observe(context(kit, "req-2"), removed.writes)


async def test_an_undo_leaves_what_someone_else_set_meanwhile(kit):
    there, back = shares(kit, NOTE)
    async with kit.connect() as driver:
        await carried_out(driver, context(kit, "req-1"), there)
        removed = await carried_out(driver, context(kit, "req-2"), back)
        kit.on.run("-n", kit.space, "patch", "deployment", "one", "-p", json.dumps(theirs("theirs")))

        undone = await driver.undo(context(kit, "req-2"), removed.writes)

    assert undone.restored == ()
    assert "someone else changed" in undone.skipped[0]
    assert note(kit) == "theirs"


async def test_what_others_set_stays_and_is_no_change(kit):
    _, back = shares(kit, NOTE)
    kit.on.run("-n", kit.space, "patch", "deployment", "one", "-p", json.dumps(theirs("theirs")))
    async with kit.connect() as driver:
        planned = await driver.plan(context(kit, "req-1"), back)

    assert [one.operation for one in planned.changes] == ["unchanged"]


async def test_what_others_own_too_is_refused_with_their_name(kit):
    there, back = shares(kit, NOTE)
    async with kit.connect() as driver:
        await carried_out(driver, context(kit, "req-1"), there)
        body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "one"}} | theirs("ours")
        words = ("apply", "--server-side", "--field-manager=others", "-f", "-")
        kit.on.run("-n", kit.space, *words, stdin=json.dumps(body))

        with pytest.raises(InfraError, match="others owns it too") as caught:
            await driver.plan(context(kit, "req-2"), back)

    assert (caught.value.code, note(kit)) == ("field-conflict", "ours")


async def test_a_field_that_the_server_would_set_otherwise_is_refused(kit):
    there, back = shares(kit, REPLICAS, without=("replicas",))
    async with kit.connect() as driver:
        await carried_out(driver, context(kit, "req-1"), there)

        with pytest.raises(InfraError, match="the API server would set 1") as caught:
            await driver.plan(context(kit, "req-2"), back)

    assert caught.value.code == "no-rollback"


def theirs(value):
    return {"spec": {"template": {"metadata": {"annotations": {"note": value}}}}}
