"""Terraform has no undo: a rollback is a request of its own, and a person approves what it would do."""

import pytest
from drivers.terraform.estate import MAIN, Estate

from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("terraform.guard")]

BROKEN = (
    MAIN
    + """
resource "terraform_data" "after" {{
  triggers_replace = terraform_data.web.output
  provisioner "local-exec" {{
    command = "test ${{terraform_data.web.output}} = 2"
  }}
}}
"""
)
ALLOWED = 'destroy = "allow"\nallow = ["provisioner:local-exec"]\n'


async def test_a_rollback_is_planned_and_waits_for_a_person_also_where_policy_allows_everything(tmp_path):
    estate = Estate(tmp_path, more=ALLOWED)
    async with estate.engine() as engine:
        first = await estate.ask(engine)
        second = await estate.ask(engine, variables={"instances": 3})
        waiting = await estate.ask(engine, "rollback", request=second.id)
        kept = estate.web(), estate.in_git().splitlines()[1]
        done = await estate.approve(engine, waiting)

    assert (first.state, second.state, waiting.state) == (State.LANDED, State.LANDED, State.AWAITING_APPROVAL)
    assert kept == (3, "instances = 3 # two are enough")
    (asked,) = estate.rows("SELECT data FROM events WHERE kind = 'approval-needed'")
    assert "workspaces.network.rollback" in asked["data"]
    assert done.state is State.LANDED, done.receipt
    assert (estate.web(), estate.in_git().splitlines()[1]) == (2, "instances = 2 # two are enough")


async def test_what_failed_and_was_kept_can_be_rolled_back_too(tmp_path):
    estate = Estate(tmp_path, main=BROKEN, more=ALLOWED)
    async with estate.engine() as engine:
        first = await estate.ask(engine)
        failed = await estate.ask(engine, variables={"instances": 3})
        kept = estate.web()
        waiting = await estate.ask(engine, "rollback", request=failed.id)
        done = await estate.approve(engine, waiting)

    assert (first.state, failed.state, kept) == (State.LANDED, State.FAILED, 3), failed.receipt
    assert done.state is State.LANDED, done.receipt
    assert (estate.web(), estate.in_git().splitlines()[1]) == (2, "instances = 2 # two are enough")


async def test_what_was_taken_back_cannot_be_rolled_back(tmp_path):
    estate = Estate(tmp_path, main=MAIN.replace("input = var", "input = local.nothing + var"))
    async with estate.engine() as engine:
        failed = await estate.ask(engine, variables={"instances": 3})
        refused = await estate.ask(engine, "rollback", request=failed.id)

    assert failed.state is State.FAILED
    assert refused.receipt["error"]["code"] == "no-rollback", refused.receipt
