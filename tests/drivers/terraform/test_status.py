"""What a workspace is like: its resources, outputs and drift, for those to whom it is granted."""

import json

import pytest
from drivers.terraform.estate import ASKER, BACKEND, Estate, with_provider

from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller

pytestmark = [pytest.mark.anyio, pytest.mark.promise("terraform.progress")]

MAIN = (
    BACKEND
    + """\
variable "instances" {{
  type = number
}}

variable "password" {{
  type      = string
  sensitive = true
}}

resource "own_record" "db" {{
  name   = "db"
  value  = tostring(var.instances)
  secret = var.password
}}

output "value" {{
  value = own_record.db.value
}}

output "password" {{
  value     = var.password
  sensitive = true
}}
"""
)


@pytest.mark.trap("T8")
async def test_status_names_resources_outputs_and_drift_and_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_VAR_password", "canary-status-3Kd8")
    options = with_provider(MAIN)
    options["more"] += 'environment = ["TF_VAR_password"]\n'
    estate = Estate(tmp_path, **options)
    async with estate.engine() as engine:
        await estate.ask(engine)
        quiet = await engine.status(ASKER, place="network")
        world = estate.records()
        world["db"]["value"] = "changed by hand"
        estate.world.write_text(json.dumps(world), encoding="utf-8")
        moved = await engine.status(ASKER, place="network")
        by_app = await engine.status(ASKER, app="vpn")

    assert quiet["resources"] == ["own_record.db"]
    assert (quiet["outputs"], quiet["drift"]) == ({"value": "2"}, [])
    assert len(moved["drift"]) == 1
    for words in ("own_record.db", ".value", "git '2'", "live 'changed by hand'"):
        assert words in moved["drift"][0]
    assert by_app["in"]["network"]["drift"] == moved["drift"]
    assert "canary-status" not in json.dumps([quiet, moved, by_app])


async def test_a_workspace_of_others_looks_like_one_that_is_not_there(tmp_path):
    estate = Estate(tmp_path)
    stranger = Caller(name="shop", circle="team-shop", strength="token")
    async with estate.engine() as engine:
        for caller, place in ((stranger, "network"), (ASKER, "nowhere")):
            with pytest.raises(InfraError) as caught:
                await engine.status(caller, place=place)
            assert caught.value.what == "There is no such zone or workspace, or it is not yours."
