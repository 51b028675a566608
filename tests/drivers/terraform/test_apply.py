"""A variable set, planned, committed, applied and confirmed, through the engine, on the real OpenTofu."""

import pytest
from drivers.terraform.estate import Estate

from infra_mcp.model.request import State

pytestmark = pytest.mark.anyio


@pytest.fixture
def estate(tmp_path):
    return Estate(tmp_path)


async def test_a_variable_is_set_planned_committed_applied_and_confirmed(estate):
    async with estate.engine() as engine:
        done = await estate.ask(engine, variables={"instances": 3})

    assert done.state is State.LANDED, done.receipt
    assert estate.in_git().splitlines()[1] == "instances = 3 # two are enough"
    assert estate.web() == 3
    assert "outputs instances = 3" in done.receipt["message"]
