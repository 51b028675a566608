"""The connections to places end by themselves, and never the server with them."""

import anyio
import pytest

from infra_mcp.drivers.base import Delivery, Place, Setup
from infra_mcp.engine.places import Places
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio


@pytest.mark.fault("f08")
@pytest.mark.parametrize("fault", [ValueError("no"), ExceptionGroup("several", [KeyError("x")]), RecursionError()])
async def test_a_fault_while_connecting_fails_the_caller_and_not_the_server(ledger_fixture, fault):
    def connect(*_):
        raise fault

    delivery = Delivery("kubernetes", "kubernetes", lambda _, name: Place(name, name), connect)
    places = Places(Setup(None, None, None), {"kubernetes": delivery})

    async with anyio.create_task_group() as group:
        await group.start(places.keep, ledger_fixture.policy, lambda: None)
        with pytest.raises(InfraError) as caught:
            await places.driver(ledger_fixture.policy.current(), "kubernetes", "sandbox")
        group.cancel_scope.cancel()

    assert caught.value.code == places.trouble["sandbox"].code == "internal"


async def test_a_place_that_is_down_fails_only_its_own_callers(ledger_fixture):
    class Up:
        async def excess(self):
            return ""

    def connect(_, __, name):
        return _Opened(Up(), fails=name == "down")

    delivery = Delivery("kubernetes", "kubernetes", lambda _, name: Place(name, name), connect)
    places = Places(Setup(None, None, None), {"kubernetes": delivery})

    async with anyio.create_task_group() as group:
        await group.start(places.keep, ledger_fixture.policy, lambda: None)
        policy = ledger_fixture.policy.current()
        with pytest.raises(InfraError, match="down is not there"):
            await places.driver(policy, "kubernetes", "down")
        up = await places.driver(policy, "kubernetes", "up")
        assert up is await places.driver(policy, "kubernetes", "up")
        group.cancel_scope.cancel()


class _Opened:
    def __init__(self, driver, *, fails):
        self.driver, self.fails = driver, fails

    async def __aenter__(self):
        if self.fails:
            raise InfraError("setup-failed", "down is not there")
        return self.driver

    async def __aexit__(self, *_):
        return None
