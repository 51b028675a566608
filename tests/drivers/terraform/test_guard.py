"""What a workspace may run and change follows policy: judged before anything runs, and named in the plan."""

import pytest
from drivers.terraform.estate import BACKEND, MAIN, Estate, with_provider

from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("terraform.guard"), pytest.mark.bad_input("15")]

RUNS = """
resource "terraform_data" "runs" {{
  provisioner "local-exec" {{
    command = "touch {marker}"
  }}
}}
"""
READS = """
data "external" "reads" {{
  program = ["touch", "{marker}"]
}}
"""


@pytest.mark.trap("T5")
@pytest.mark.parametrize(
    ("more", "rule"),
    [
        (RUNS, "workspaces.network.allow"),
        (READS, "workspaces.network.allow"),
        ('data "http" "x" {{\n  url = "http://127.0.0.1:1/"\n}}\n', "workspaces.network.allow"),
        ('output "x" {{\n  value = file("/proc/self/environ")\n}}\n', "workspaces.network.allow"),
        ('output "x" {{\n  value = templatefile("~/.netrc", {{}})\n}}\n', "workspaces.network.allow"),
        ('output "x" {{\n  value = file("../../../../proc/self/environ")\n}}\n', "workspaces.network.allow"),
        ('output "x" {{\n  value = file("/proc/${{var.instances}}/environ")\n}}\n', "workspaces.network.allow"),
        ('check "x" {{\n  data "external" "y" {{\n    program = ["x"]\n  }}\n}}\n', "workspaces.network.allow"),
        ('module "x" {{\n  source = "git::https://git.example/x"\n}}\n', "workspaces.network.modules"),
        ('module "x" {{\n  source = "./inner"\n}}\n', "workspaces.network.allow"),
    ],
    ids=["provisioner", "program", "url", "environment", "home", "above", "computed", "check", "module", "in a module"],
)  # fmt: skip
async def test_what_policy_does_not_allow_is_refused_before_anything_runs(tmp_path, more, rule):
    marker = tmp_path / "states" / "marker"
    inner = {"inner/main.tf": RUNS.format(marker=marker)} if "./inner" in more else {}
    main = MAIN + more.replace("{marker}", str(marker))
    estate = Estate(tmp_path, main=main, **inner)
    async with estate.engine() as engine:
        done = await estate.ask(engine, variables={"instances": 3})

    assert done.state is State.REFUSED, done.receipt
    assert done.receipt["error"]["rule"] == rule
    assert "[workspaces.network]" in done.receipt["error"]["next"]
    assert not marker.exists()
    assert not list((tmp_path / "state" / "terraform" / "network").glob("run-*"))  # nothing was even prepared
    assert estate.git("log", "--format=%s") == "Begin"


async def test_another_backend_than_policys_is_refused(tmp_path):
    main = MAIN.replace(
        'backend "local" {{\n    path = "{state}"', 'backend "http" {{\n    address = "http://127.0.0.1:1"'
    )
    estate = Estate(tmp_path, main=main)
    async with estate.engine() as engine:
        done = await estate.ask(engine)

    assert done.receipt["error"]["rule"] == "workspaces.network.backend"


async def test_a_state_that_would_be_lost_is_refused(tmp_path):
    estate = Estate(tmp_path, main=MAIN.replace(BACKEND, ""))
    async with estate.engine() as engine:
        done = await estate.ask(engine)

    assert done.receipt["error"]["code"] == "plan-failed"
    assert "lost with it" in done.receipt["message"]


async def test_a_provider_that_is_not_granted_is_refused(tmp_path):
    options = with_provider(MAIN)
    options["more"] = options["more"].partition("providers")[0]
    estate = Estate(tmp_path, **options)
    async with estate.engine() as engine:
        done = await estate.ask(engine)

    assert done.receipt["error"]["rule"] == "workspaces.network.providers"
    assert "registry.example/acme/own" in done.receipt["message"]


async def test_a_provider_that_the_lock_file_does_not_hold_is_not_installed(tmp_path):
    options = with_provider(MAIN)
    del options[".terraform.lock.hcl"]
    estate = Estate(tmp_path, **options)
    async with estate.engine() as engine:
        done = await estate.ask(engine)

    assert done.state is State.FAILED, done.receipt
    assert "dependency" in done.receipt["message"].lower()


REPLACED = MAIN.replace("input = var.instances", "triggers_replace = var.instances")


@pytest.mark.parametrize(("main", "gone"), [(REPLACED, "replace"), (MAIN, "delete")])
async def test_destroying_and_replacing_need_an_approval(tmp_path, main, gone):
    estate = Estate(tmp_path, main=main.replace("terraform_data.web.output", "1"))
    async with estate.engine() as engine:
        await estate.ask(engine)
        if gone == "delete":
            lines = estate.in_git("main.tf").partition("resource")
            estate.write("main.tf", lines[0] + 'output "instances" {\n  value = 1\n}\n')
            estate.commit("Away with it")
        before = estate.resources()
        waiting = await estate.ask(engine, variables={"instances": 3})
        kept = estate.resources()
        done = await estate.approve(engine, waiting)

    assert waiting.state is State.AWAITING_APPROVAL, waiting.receipt
    assert kept == before
    plan = estate.rows("SELECT data FROM events WHERE kind = 'approval-needed'")[0]["data"]
    assert f"1 to {gone}" in plan
    assert "terraform_data.web" in plan
    assert done.state is State.LANDED, done.receipt
    assert estate.resources() != before


@pytest.mark.parametrize(("destroy", "state"), [("allow", State.LANDED), ("refuse", State.REFUSED)])
async def test_policy_may_always_allow_or_refuse_to_destroy(tmp_path, destroy, state):
    estate = Estate(tmp_path, main=REPLACED, more=f'destroy = "{destroy}"\n')
    async with estate.engine() as engine:
        first = await estate.ask(engine)
        second = await estate.ask(engine, variables={"instances": 3})

    assert (first.state, second.state) == (State.LANDED, state), second.receipt
    if destroy == "refuse":
        assert second.receipt["error"]["rule"] == "workspaces.network.destroy"


async def test_a_type_that_is_not_granted_is_not_changed(tmp_path):
    estate = Estate(tmp_path, more='types = ["own_*"]\n')
    async with estate.engine() as engine:
        done = await estate.ask(engine)

    assert done.receipt["error"]["rule"] == "workspaces.network.types"
    assert estate.resources() == {}


async def test_a_workspace_that_is_not_granted_is_like_one_that_is_not_there(tmp_path):
    estate = Estate(tmp_path)
    text = estate.settings.policy_file.read_text(encoding="utf-8")
    estate.settings.policy_file.write_text(text.replace('workspaces = ["network"]\n', "", 1), encoding="utf-8")
    async with estate.engine() as engine:
        messages = [(await estate.ask(engine, workspace=name)).receipt["message"] for name in ("network", "nowhere")]

    assert messages[0].replace("network", "nowhere") == messages[1]


async def test_the_environment_of_runs_holds_nothing_of_ours(tmp_path, monkeypatch):
    names = tmp_path / "states" / "names"
    main = MAIN + RUNS.replace("touch {marker}", f"env | cut -d= -f1 | sort > {names}")
    estate = Estate(tmp_path, main=main, more='allow = ["provisioner:local-exec"]\nenvironment = ["OWN_TOKEN"]\n')
    for name in ("KUBECONFIG", "INFRA_MCP_TOKEN", "SSH_AUTH_SOCK", "AWS_SECRET_ACCESS_KEY", "TF_LOG", "OWN_TOKEN"):
        monkeypatch.setenv(name, "x" * 12)
    async with estate.engine() as engine:
        done = await estate.ask(engine)

    assert done.state is State.LANDED, done.receipt
    there = set(names.read_text(encoding="utf-8").split())
    assert "OWN_TOKEN" in there
    assert there.isdisjoint({"KUBECONFIG", "INFRA_MCP_TOKEN", "SSH_AUTH_SOCK", "AWS_SECRET_ACCESS_KEY", "TF_LOG"})


async def test_what_differs_between_two_plans_is_refused_unless_policy_names_it(tmp_path):
    main = MAIN + 'resource "terraform_data" "stamp" {{\n  input = plantimestamp()\n}}\n'
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    strict = Estate(tmp_path / "one", main=main)
    lenient = Estate(tmp_path / "other", main=main, more='volatile = ["terraform_data.stamp.*"]\n')
    async with strict.engine() as engine:
        refused = await strict.ask(engine)
    async with lenient.engine() as engine:
        shown = [await lenient.ask(engine, dry_run=True) for _ in range(2)]

    assert refused.receipt["error"]["code"] == "plan-differs", refused.receipt
    assert "terraform_data.stamp.input" in refused.receipt["message"]
    assert shown[0].receipt["effect_digest"] == shown[1].receipt["effect_digest"]
    (stamp,) = [one for one in shown[0].receipt["plan"]["objects"] if one["object"].endswith("stamp")]
    assert ".input: absent → '(differs from plan to plan)'" in stamp["changes"]


async def test_a_file_that_another_workspace_reads_too_is_not_changed_for_one_alone(tmp_path):
    more = '[workspaces.other]\npath = "terraform/other"\nbackend = "local"\nreads = ["terraform/network"]\n'
    estate = Estate(tmp_path, more=more, **{"../other/main.tf": BACKEND.format(state=tmp_path / "states" / "other")})
    async with estate.engine() as engine:
        done = await estate.ask(engine, variables={"instances": 3})

    assert done.receipt["error"]["code"] == "shared-place", done.receipt
    assert "workspace other" in done.receipt["message"]
