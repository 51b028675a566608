"""What was approved is the saved plan and the folder it was made in: exactly these are applied. OpenTofu is real."""

import os
import subprocess

import pytest
from drivers.terraform.estate import BACKEND, MAIN, PAT, Estate, until
from drivers.terraform.own_provider import executable

from infra_mcp.clients.terraform import Cli
from infra_mcp.drivers.terraform.runner import Runner
from infra_mcp.model.approval import Decided
from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("terraform.saved-plan")]

SCRIPT = (
    BACKEND
    + """\
variable "instances" {{
  type = number
}}

resource "terraform_data" "web" {{
  input            = var.instances
  triggers_replace = var.instances
  provisioner "local-exec" {{
    command = "./hello.sh ${{self.input}}"
  }}
}}
"""
)
ALLOWED = 'allow = ["provisioner:local-exec"]\ndestroy = "allow"\n'


@pytest.fixture
def estate(tmp_path):
    return Estate(tmp_path)


def by_hand(estate, instances):
    """Somebody applies another number by hand."""
    folder = estate.home / "by-hand"
    folder.mkdir(exist_ok=True)
    for path in estate.folder.glob("*"):
        (folder / path.name).write_bytes(path.read_bytes())
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "TF_VAR_instances": str(instances)}
    (folder / "terraform.tfvars").unlink(missing_ok=True)
    for words in (["init", "-input=false"], ["apply", "-input=false", "-auto-approve"]):
        subprocess.run([executable(), *words], cwd=folder, env=env, check=True, capture_output=True)


async def test_a_variable_is_set_planned_committed_applied_and_confirmed(estate):
    async with estate.engine() as engine:
        done = await estate.ask(engine, variables={"instances": 3})
        again = await estate.ask(engine, variables={"instances": 3})

    assert done.state is State.LANDED, done.receipt
    assert estate.in_git().splitlines()[1] == "instances = 3 # two are enough"
    assert estate.web() == 3
    assert "created terraform_data.web" in done.receipt["message"]
    assert "outputs instances = 3" in done.receipt["message"]
    assert again.state is State.UNCHANGED, again.receipt
    assert estate.git("log", "--format=%s").splitlines() == ["Apply workspace network: instances", "Begin"]


async def test_without_variables_what_git_has_is_applied(estate):
    async with estate.engine() as engine:
        done = await estate.ask(engine)

    assert done.state is State.LANDED, done.receipt
    assert (estate.web(), done.commit) == (2, None)


async def test_a_setting_of_an_app_is_a_value_in_a_file_of_variables(estate):
    async with estate.engine() as engine:
        done = await estate.ask(engine, "configure", app="vpn", settings={"instances": 4})

    assert done.state is State.LANDED, done.receipt
    assert (estate.web(), estate.in_git().splitlines()[1]) == (4, "instances = 4 # two are enough")


async def test_a_preview_shows_the_plan_and_changes_nothing(estate):
    async with estate.engine() as engine:
        plans = [await estate.ask(engine, variables={"instances": 3}, dry_run=True) for _ in range(2)]

    plan = plans[0].receipt["plan"]
    assert [one.state for one in plans] == [State.PREVIEWED] * 2
    assert plans[0].receipt["effect_digest"] == plans[1].receipt["effect_digest"]
    assert {one["object"]: one["operation"] for one in plan["objects"]} == {
        "network/terraform_data/terraform_data.web": "create",
        "network/workspace/network": "run",
    }
    assert any("1 to create; applied is this plan in this folder" in note for note in plan["notes"])
    assert (estate.resources(), estate.in_git().splitlines()[1]) == ({}, "instances = 2 # two are enough")


async def test_a_script_that_is_changed_after_planning_does_not_run(tmp_path, monkeypatch):
    said = tmp_path / "states" / "said"
    estate = Estate(tmp_path, main=SCRIPT, more=ALLOWED, **{"hello.sh": f"#!/bin/sh\necho hello $1 >> {said}\n"})
    (estate.folder / "hello.sh").chmod(0o755)
    estate.commit("It runs")
    prepared = Runner.prepare
    folders = []

    async def remembered(self, *arguments):
        made = await prepared(self, *arguments)
        folders.append(made.folder)
        return made

    monkeypatch.setattr(Runner, "prepare", remembered)
    async with estate.engine() as engine:
        monkeypatch.setattr(engine._deps.git, "move", changed_first(engine._deps.git, folders, said))
        done = await estate.ask(engine, variables={"instances": 3})

    assert done.state is State.LANDED, done.receipt
    assert said.read_text(encoding="utf-8") == "hello 3\n"
    assert len(folders) > 1  # it was planned again, in another folder


def changed_first(git, folders, said):
    """The move of the branch; before the first one somebody changes the script where it was planned."""
    move = git.move

    async def moved(*arguments, **options):
        if len(folders) == 1:
            script = folders[0].work / "hello.sh"
            script.parent.chmod(0o700)
            script.unlink()
            script.write_text(f"#!/bin/sh\necho evil >> {said}\n", encoding="utf-8")
            script.chmod(0o755)
        return await move(*arguments, **options)

    return moved


@pytest.mark.trap("T3")
async def test_a_plan_of_an_empty_state_is_not_applied_to_one_that_others_have_filled_meanwhile(estate, monkeypatch):
    theirs, applies, apply = [], [], Cli.apply

    async def counted(self, *arguments):
        applies.append(arguments)
        return await apply(self, *arguments)

    # OpenTofu 1.12 and Terraform 1.11 refuse such a plan themselves, older ones do not: so it is not even tried.
    monkeypatch.setattr(Cli, "apply", counted)
    async with estate.engine() as engine:
        move = engine._deps.git.move

        async def moved(*arguments, **options):
            if not theirs:
                by_hand(estate, 7)
                theirs.append(estate.resources()["terraform_data.web"]["id"])
            return await move(*arguments, **options)

        monkeypatch.setattr(engine._deps.git, "move", moved)
        done = await estate.ask(engine, variables={"instances": 3})

    assert done.state is State.LANDED, done.receipt
    assert estate.web() == 3
    assert estate.resources()["terraform_data.web"]["id"] == theirs[0]  # it was updated, and no second one made
    assert len(applies) == 1


async def test_a_plan_that_others_overtook_is_not_applied_and_what_they_made_stays(tmp_path, monkeypatch):
    estate = Estate(tmp_path, more='[[rules]]\nid = "all"\nrequire = { approvals = 1 }\n')
    async with estate.engine() as engine:
        await estate.approve(engine, await estate.ask(engine))
        waiting = await estate.ask(engine, variables={"instances": 3})
        move = engine._deps.git.move

        async def moved(*arguments, **options):
            if estate.web() == 2:
                by_hand(estate, 7)
            return await move(*arguments, **options)

        monkeypatch.setattr(engine._deps.git, "move", moved)
        await engine.approve(PAT, waiting.id, waiting.effect_digest, Decided(approve=True, way="cli"))
        done = await engine.wait(waiting.id, 120.0, to_end=True)

    assert done.state is State.FAILED, done.receipt
    assert "differs from what was approved" in done.receipt["message"]
    assert "Nothing live was changed" in done.receipt["message"]
    assert (estate.web(), estate.in_git().splitlines()[1]) == (7, "instances = 2 # two are enough")


@pytest.mark.trap("T4")
async def test_two_requests_for_one_workspace_are_carried_out_one_after_the_other(estate):
    async with estate.engine() as engine:
        first = await estate.submit(engine, variables={"instances": 3})
        second = await estate.submit(engine, variables={"instances": 4})
        ends = [await estate.end(engine, one) for one in (first, second)]

    assert [one.state for one in ends] == [State.LANDED] * 2, [one.receipt for one in ends]
    assert estate.web() in {3, 4}
    assert estate.git("log", "--format=%s").count("Apply workspace") == 2


@pytest.mark.trap("T1")
async def test_an_approval_is_not_for_a_plan_with_another_variable(tmp_path, monkeypatch):
    main = (
        MAIN.replace("input = var.instances", "input = [var.instances, var.size]")
        + 'variable "size" {{\n  type = string\n}}\n'
    )
    more = 'environment = ["TF_VAR_size"]\n[[rules]]\nid = "all"\nrequire = { approvals = 1 }\n'
    estate = Estate(tmp_path, main=main, more=more)
    monkeypatch.setenv("TF_VAR_size", "small")
    async with estate.engine() as engine:
        waiting = await estate.ask(engine, variables={"instances": 3})
        monkeypatch.setenv("TF_VAR_size", "large")
        await engine.approve(PAT, waiting.id, waiting.effect_digest, Decided(approve=True, way="cli"))
        await until(lambda: estate.rows("SELECT * FROM events WHERE kind = 'approval-needed'")[1:])
        asked = await engine.wait(waiting.id, 60.0)

        assert asked.state is State.AWAITING_APPROVAL
        assert asked.effect_digest != waiting.effect_digest
        assert estate.resources() == {}
        done = await estate.approve(engine, asked)

    assert done.state is State.LANDED, done.receipt
    assert estate.web() == [3, "large"]


@pytest.mark.trap("T2")
async def test_other_commits_meanwhile_do_not_take_an_approval_away(tmp_path):
    estate = Estate(tmp_path, more='[[rules]]\nid = "all"\nrequire = { approvals = 1 }\n')
    async with estate.engine() as engine:
        waiting = await estate.ask(engine, variables={"instances": 3})
        (estate.repo / "NOTES.md").write_text("another commit\n", encoding="utf-8")
        estate.commit("Notes")
        done = await estate.approve(engine, waiting)

    assert waiting.state is State.AWAITING_APPROVAL
    assert done.state is State.LANDED, done.receipt
    assert done.receipt["effect_digest"] == waiting.effect_digest
    assert estate.web() == 3


@pytest.mark.trap("T8")
async def test_a_change_of_outputs_alone_is_planned_applied_and_confirmed(estate):
    async with estate.engine() as engine:
        await estate.ask(engine)
        main = estate.in_git("main.tf") + '\noutput "more" {\n  value = "words"\n}\n'
        estate.write("main.tf", main)
        estate.commit("One more output")
        done = await estate.ask(engine)
        again = await estate.ask(engine)

    assert done.state is State.LANDED, done.receipt
    assert 'more = "words"' in done.receipt["message"]
    assert again.state is State.UNCHANGED


@pytest.mark.trap("T12")
async def test_a_plan_without_changes_is_not_applied(estate):
    async with estate.engine() as engine:
        await estate.ask(engine)
        before = estate.state.read_bytes()
        again = await estate.ask(engine)

    assert again.state is State.UNCHANGED, again.receipt
    assert estate.state.read_bytes() == before


async def test_what_fails_halfway_is_held_and_said(tmp_path):
    broken = (
        MAIN
        + """
resource "terraform_data" "after" {{
  input = terraform_data.web.id
  provisioner "local-exec" {{
    command = "exit 3"
  }}
}}
"""
    )
    estate = Estate(tmp_path, main=broken, more=ALLOWED)
    async with estate.engine() as engine:
        done = await estate.ask(engine, variables={"instances": 3})

    assert done.state is State.FAILED, done.receipt
    assert done.receipt["error"]["code"] == "not-landed"
    for words in ("Done by then: terraform_data.web", "terraform_data.after", "What was made is kept", "stays"):
        assert words in done.receipt["message"], done.receipt["message"]
    assert (estate.web(), estate.in_git().splitlines()[1]) == (3, "instances = 3 # two are enough")
