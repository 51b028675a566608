"""Settings and versions of apps that stand in a workspace's files: what decides is set, in its own form, or refused."""

import posixpath

import pytest
from drivers.terraform.estate import BACKEND, MAIN, Estate

from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("terraform.saved-plan")]

NUMBER = 'variable "{}" {{{{\n  type = number\n}}}}\n'
EVERY = (
    BACKEND
    + "".join(f'variable "{name}" {{{{\n}}}}\n' for name in ("banner", "motto", "zones"))
    + 'variable "shape" {{\n  type = object({{ size = number, name = string }})\n}}\n'
    + """\
locals {{
  first = 1
}}

locals {{
  size = 2 # two are enough
}}

module "site" {{
  source    = "./site"
  instances = 2
}}

resource "terraform_data" "web" {{
  input = [var.banner, var.motto, var.zones, var.shape.size, local.size, local.color, module.site.instances]
}}
"""
)
FILES = {
    "site/main.tf": 'variable "instances" {\n  type = number\n}\n\noutput "instances" {\n  value = var.instances\n}\n',
    "colors.tf.json": '{"locals": {"color": "red"}}\n',
    "more.auto.tfvars.json": '{\n  "motto": "old",\n  "zones": ["a", "b"]\n}\n',
    "terraform.tfvars": 'banner = <<-EOT\n  hello\n  there\n  EOT\n\nshape = {\n  size = 2 # L\n  name = "x"\n}\n',
}
AT = {
    "banner": ("terraform.tfvars#banner", "string"),
    "shape": ("terraform.tfvars#shape.size", "string"),
    "motto": ("more.auto.tfvars.json#motto", "string"),
    "zone": ("more.auto.tfvars.json#zones[1]", "string"),
    "size": ("main.tf#locals.size", "integer"),
    "color": ("colors.tf.json#locals.color", "string"),
    "instances": ("main.tf#module.site.instances", "integer"),
}


def app(at: dict[str, tuple[str, str]], name: str = "site") -> str:
    """The section of an app with its settings in files of the workspace."""
    paths = {key: posixpath.normpath(f"terraform/network/{place}") for key, (place, _) in at.items()}
    lines = [f'settings.{key} = {{ at = "{paths[key]}", type = "{kind}" }}' for key, (_, kind) in at.items()]
    return "\n".join([f"[apps.{name}]", 'owner = "net"', *lines, ""])


async def test_values_in_every_form_are_set_where_they_stand_and_nothing_else_changes(tmp_path):
    estate = Estate(tmp_path, main=EVERY, more=app(AT), **FILES)
    wanted = {
        "banner": "a${b}",
        "shape": "4",
        "motto": "c${d}",
        "zone": "z",
        "size": 3,
        "color": "e${f}",
        "instances": 5,
    }
    async with estate.engine() as engine:
        done = await estate.ask(engine, "configure", app="site", settings=wanted)

    assert done.state is State.LANDED, done.receipt["message"]
    assert estate.web() == ["a${b}", "c${d}", ["a", "z"], 4, 3, "e${f}", 5]
    assert estate.in_git() == 'banner = "a$${b}"\n\nshape = {\n  size = 4 # L\n  name = "x"\n}'
    assert estate.in_git("more.auto.tfvars.json") == '{\n  "motto": "c${d}",\n  "zones": ["a", "z"]\n}'
    assert estate.in_git("colors.tf.json") == '{"locals": {"color": "e$${f}"}}'
    changed = [line for line in estate.git("diff", "-U0", "HEAD~1", "--", "*.tf").splitlines() if line[:1] in "+-"]
    assert [line for line in changed if line[1:3] != line[:1] * 2] == [
        "-  size = 2 # two are enough", "+  size = 3 # two are enough", "-  instances = 2", "+  instances = 5",
    ]  # fmt: skip


async def test_a_version_is_deployed_where_policy_says_that_it_stands_and_rolled_back(tmp_path):
    main = MAIN + 'variable "tag" {{\n  type = string\n}}\nresource "terraform_data" "site" {{\n  input = var.tag\n}}\n'
    values = {"terraform.tfvars": 'instances = 2\ntag = "v1.0.0"\n'}
    more = app({"version": ("terraform.tfvars#tag", "version")})
    estate = Estate(tmp_path, main=main, more=more, **values)
    async with estate.engine() as engine:
        first = await estate.ask(engine)
        done = await estate.ask(engine, "deploy", app="site", version="1.1.0")
        again = await estate.ask(engine, "deploy", app="site", version="1.1.0")
        live = estate.resources()["terraform_data.site"]["input"]["value"]
        waiting = await estate.ask(engine, "rollback", request=done.id)
        back = await estate.approve(engine, waiting)

    assert (first.state, done.state, again.state) == (State.LANDED, State.LANDED, State.UNCHANGED), done.receipt
    assert (live, waiting.state, back.state) == ("v1.1.0", State.AWAITING_APPROVAL, State.LANDED)
    assert estate.resources()["terraform_data.site"]["input"]["value"] == "v1.0.0"
    assert estate.in_git() == 'instances = 2\ntag = "v1.0.0"'


@pytest.mark.parametrize("which", ["tofu", "terraform"])
async def test_values_that_policy_hands_over_decide_over_those_of_the_folder_for_the_plan_and_the_apply(
    tmp_path, monkeypatch, which
):
    monkeypatch.setenv("TF_VAR_size", "large")
    main = MAIN.replace("input = var.instances", "input = [var.instances, var.size]") + (
        'variable "size" {{\n  type = string\n}}\n'
    )
    more = 'var_files = ["terraform/vars/prod.tfvars"]\nenvironment = ["TF_VAR_size"]\n'
    more += app({"instances": ("../vars/prod.tfvars#instances", "integer")})
    files = {"terraform.tfvars": 'instances = 2\nsize = "small"\n', "../vars/prod.tfvars": "instances = 7\n"}
    estate = Estate(tmp_path, which, main=main, more=more, **files)
    async with estate.engine() as engine:
        first = await estate.ask(engine)
        second = await estate.ask(engine, "configure", app="site", settings={"instances": 8})

    assert (first.state, second.state) == (State.LANDED, State.LANDED), (first.receipt, second.receipt)
    assert estate.web() == [8, "large"]
    assert estate.git("show", "HEAD:terraform/vars/prod.tfvars") == "instances = 8"


MASKED = {"prod.auto.tfvars": "instances = 3\n"}
UNREAD = {"prod.tfvars": "instances = 3\n"}
UNCALLED = {"old/main.tf": "locals {\n  instances = 2\n}\n"}
HANDED = 'environment = ["TF_VAR_instances"]\n'
WITH_DEFAULT = MAIN.replace("type = number", "default = 1")
SECRET = MAIN.replace("type = number", "type = number\n  sensitive = true").replace("var.instances\n", "1\n")


@pytest.mark.parametrize(
    ("at", "main", "files", "more", "code", "says"),
    [
        ("terraform.tfvars#instances", MAIN, MASKED, "", "no-effect", "masked by terraform/network/prod.auto.tfvars"),
        ("main.tf#variable.instances.default", WITH_DEFAULT, {}, "", "no-effect", "masked by terraform/net"),
        ("prod.tfvars#instances", MAIN, UNREAD, "", "no-effect", "No run of workspace network reads"),
        ("terraform.tfvars#instances", MAIN, {}, HANDED, "no-effect", "decides over every"),
        ("old/main.tf#locals.instances", MAIN, UNCALLED, "", "no-effect", "of no module"),
        ("terraform.tfvars#other", MAIN, {"terraform.tfvars": "other = 2\n"}, "", "not-found", "declares no variable"),
        ("terraform.tfvars#instances", SECRET, {}, "", "invalid-argument", "is sensitive"),
        ("main.tf#output.instances.value", MAIN, {}, "", "manifest-invalid", "what it refers to decides"),
    ],
    ids=["masked", "default", "unread", "environment", "no module", "undeclared", "sensitive", "expression"],
)  # fmt: skip
async def test_a_place_that_does_not_decide_is_refused_and_what_decides_is_named(
    tmp_path, at, main, files, more, code, says
):
    estate = Estate(tmp_path, main=main, more=more + app({"count": (at, "integer")}), **files)
    async with estate.engine() as engine:
        done = await estate.ask(engine, "configure", app="site", settings={"count": 7654})

    assert done.state in {State.REFUSED, State.FAILED}, done.receipt
    assert done.receipt["error"]["code"] == code, done.receipt
    assert says in done.receipt["message"]
    assert estate.git("log", "--format=%s") == "Begin"
    assert not list((estate.settings.state_dir / "terraform").rglob("run-*"))  # and nothing ran


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [("string", "many", "Variable instances takes a number"), ("integer", 9, "At most three")],
    ids=["type", "validation"],
)
async def test_a_value_that_the_variable_does_not_take_is_refused_before_the_commit(tmp_path, kind, value, says):
    rule = 'validation {{\n    condition     = var.instances < 4\n    error_message = "At most three."\n  }}'
    main = MAIN.replace("type = number", f"type = number\n  {rule}")
    estate = Estate(tmp_path, main=main, more=app({"count": ("terraform.tfvars#instances", kind)}))
    async with estate.engine() as engine:
        done = await estate.ask(engine, "configure", app="site", settings={"count": value})

    assert says in done.receipt["message"], done.receipt
    assert (estate.git("log", "--format=%s"), estate.resources()) == ("Begin", {})


async def test_a_workspace_below_another_is_one_of_its_own(tmp_path):
    more = '[workspaces.inner]\npath = "terraform/network/inner"\nprogram = "tofu"\nbackend = "local"\n'
    more += app({"count": ("inner/terraform.tfvars#instances", "integer")})
    main = MAIN.format(state=tmp_path / "states" / "inner.tfstate")
    files = {"inner/main.tf": main, "inner/terraform.tfvars": "instances = 2\n"}
    estate = Estate(tmp_path, more=more, **files)
    policy = estate.settings.policy_file.read_text(encoding="utf-8")
    policy = policy.replace('workspaces = ["network"]', 'workspaces = ["network", "inner"]')
    estate.settings.policy_file.write_text(policy, encoding="utf-8")
    async with estate.engine() as engine:
        outer = await estate.ask(engine, variables={"instances": 3})
        shown = await estate.ask(engine, dry_run=True)
        inner = await estate.ask(engine, "configure", app="site", settings={"count": 6})
        later = await estate.ask(engine, dry_run=True)

    assert (outer.state, inner.state) == (State.LANDED, State.LANDED), inner.receipt["message"]
    assert "workspace inner" in inner.receipt["message"]
    assert estate.web() == 3
    assert later.receipt["effect_digest"] == shown.receipt["effect_digest"]  # the outer one does not see it


async def test_fewer_instances_destroy_the_others_and_need_an_approval(tmp_path):
    main = MAIN.replace("input = var.instances", "count = var.instances").replace("web.output", "web[*].id")
    estate = Estate(tmp_path, main=main)
    async with estate.engine() as engine:
        first = await estate.ask(engine)
        waiting = await estate.ask(engine, "configure", app="vpn", settings={"instances": 1})
        (asked,) = estate.rows("SELECT data FROM events WHERE kind = 'approval-needed'")
        done = await estate.approve(engine, waiting)

    assert (first.state, waiting.state, done.state) == (State.LANDED, State.AWAITING_APPROVAL, State.LANDED)
    assert "terraform_data.web[1]" in asked["data"]
    assert "terraform_data.web[0]" not in asked["data"]


@pytest.mark.parametrize(
    ("environment", "code", "says"),
    [
        (None, "environment-needed", "site is deployed by environment: live, test."),
        ("nowhere", "not-found", "site has no environment nowhere; it has live, test."),
        ("live", None, "+instances = 5"),
    ],
)
async def test_an_app_of_several_workspaces_is_deployed_in_the_environment_that_is_named(
    tmp_path, environment, code, says
):
    more = (
        '[workspaces.test]\npath = "terraform/test"\nprogram = "tofu"\nbackend = "local"\n[apps.site]\nowner = "net"\n'
    )
    for name, path in (("live", "network"), ("test", "test")):
        more += f'environments.{name} = {{ at = ["terraform/{path}/terraform.tfvars#instances"] }}\n'
    estate = Estate(tmp_path, more=more, **{"../test/main.tf": MAIN, "../test/terraform.tfvars": "instances = 2\n"})
    async with estate.engine() as engine:
        done = await estate.ask(engine, "deploy", app="site", version="5", environment=environment)

    if code:
        assert (done.receipt["error"]["code"], done.receipt["message"]) == (code, says)
        return
    assert done.state is State.LANDED, done.receipt
    assert says in estate.git("show", "-U0", "HEAD")
    assert estate.web() == 5
