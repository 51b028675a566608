"""A workspace in a change set: it must be the last step, since nothing of it is undone."""

import pytest
from drivers.terraform.estate import Estate

from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("terraform.saved-plan")]


async def test_a_workspace_is_the_last_step_of_a_change_set_or_none(tmp_path):
    estate = Estate(tmp_path)
    apply = {"name": "apply", "action": "terraform_apply", "arguments": {"workspace": "network"}}
    five = apply | {"arguments": {"workspace": "network", "variables": {"instances": 5}}}
    first = {"name": "first", "action": "configure", "arguments": {"app": "vpn", "settings": {"instances": 4}}}
    async with estate.engine() as engine:
        await estate.ask(engine)
        refused = await estate.ask(engine, "change_set", steps=[first, five])
        landed = await estate.ask(engine, "change_set", steps=[apply])

    assert refused.state is State.REFUSED, refused.receipt
    assert "must be the last" in refused.receipt["message"]
    assert landed.state in {State.LANDED, State.UNCHANGED}, landed.receipt
