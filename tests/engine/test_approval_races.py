"""A yes that meets a cancel or a no at the same moment: one of them decides, and the other one is told so."""

import random

import anyio
import pytest
from engine.forge_ground import BEFORE
from engine.ledger_fixture import DOCS
from engine.two_kinds import APPROVAL, NEW, THINGS, Ground, register

from infra_mcp.errors import InfraError
from infra_mcp.model.approval import Decided
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("approval.digest"), pytest.mark.bad_input("18")]

ONE, OTHER = (Caller(name=name, circle=None, strength="token", operator=True) for name in ("one", "other"))
REFUSED = {"too-late", "approval-mismatch"}


@pytest.fixture
def ground(tmp_path, monkeypatch):
    register(monkeypatch)
    made = Ground(tmp_path)
    made.make(APPROVAL)
    return made


async def both(first, second, seed, spread=0.02):
    """Two calls that begin at almost the same moment; the codes of those that were refused."""
    chosen, codes = random.Random(seed), {}

    async def call(name, one, within):
        await anyio.sleep(chosen.uniform(0.0, within))
        try:
            await one()
        except InfraError as refused:
            codes[name] = refused.code

    async with anyio.create_task_group() as group:
        group.start_soon(call, "first", first, 0.02)
        group.start_soon(call, "second", second, spread)
    return codes


async def parked(ground, engine):
    request = await ground.ask(engine)
    assert request.state is State.AWAITING_APPROVAL
    return request, request.effect_digest


@pytest.mark.parametrize("seed", range(6))
async def test_a_cancel_beside_an_approval_leaves_nothing_or_everything(ground, seed):
    async with ground.engine() as engine:
        await engine.ledger.add_peer("one", "", operator=True)
        request, digest = await parked(ground, engine)
        codes = await both(
            lambda: engine.approve(ONE, request.id, digest, Decided(approve=True, way="cli")),
            lambda: engine.cancel(DOCS, request.id),
            seed,
            spread=0.2,  # an approved change can be cancelled until its first write
        )
        done = await engine.wait(request.id, 60, to_end=True)

    assert set(codes.values()) <= REFUSED
    if done.state is State.CANCELLED:
        assert ground.subjects() == []
        assert ground.live() == ground.in_git() == BEFORE
    else:
        assert (done.state, codes.get("second")) == (State.LANDED, "too-late")
        assert ground.live() == ground.in_git() == dict.fromkeys(THINGS, NEW)


@pytest.mark.parametrize("seed", range(6))
async def test_a_no_beside_a_yes_ends_it_with_nothing_or_comes_too_late(ground, seed):
    async with ground.engine() as engine:
        await engine.ledger.add_peer("one", "", operator=True)
        await engine.ledger.add_peer("other", "", operator=True)
        request, digest = await parked(ground, engine)
        codes = await both(
            lambda: engine.approve(ONE, request.id, digest, Decided(approve=True, way="cli")),
            lambda: engine.approve(OTHER, request.id, digest, Decided(approve=False, way="cli")),
            seed,
        )
        done = await engine.wait(request.id, 60, to_end=True)

    (loser,) = codes
    assert codes[loser] == "approval-mismatch"
    assert done.state is (State.REFUSED if loser == "first" else State.LANDED)
    assert (ground.subjects() == []) is (loser == "first")
