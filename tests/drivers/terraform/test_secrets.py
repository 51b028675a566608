"""No sensitive value is shown, kept or left behind: not of variables, credentials, providers or the state."""

import json
import logging
import tempfile
from pathlib import Path

import anyio
import pytest
from drivers.terraform.estate import ASKER, BACKEND, Estate, by_http, until, with_http, with_provider
from drivers.terraform.state_server import state_server

from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("terraform.progress")]

PASSWORD, TOKEN = "canary-tfvar-8Kq1zX", "canary-token-4Jw9pL"
MAIN = (
    BACKEND
    + """\
variable "value" {{
  type = string
}}

variable "password" {{
  type      = string
  sensitive = true
}}

resource "own_record" "db" {{
  name   = "db"
  value  = var.value
  secret = var.password
}}

resource "terraform_data" "copy" {{
  input = "user:${{var.password}}@db"
}}

output "copy" {{
  value = own_record.db.copy
}}

output "password" {{
  value     = var.password
  sensitive = true
}}
"""
)


@pytest.fixture
def estate(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_VAR_password", PASSWORD)
    monkeypatch.setenv("OWN_TOKEN", TOKEN)
    options = with_provider(MAIN)
    options["more"] += 'environment = ["TF_VAR_password", "OWN_TOKEN"]\n'
    made = Estate(tmp_path, **options)
    made.write("terraform.tfvars", 'value = "1.0.0"\n')
    made.commit("A value")
    return made


def everything(estate: Estate) -> dict[str, str]:
    """Every file of the server and of the repository, by path; the state and the provider's own world are no part."""
    places = [path for path in estate.home.rglob("*") if path.is_file() and "states" not in path.parts]
    found = {str(path): path.read_bytes().decode("latin-1") for path in places}
    return found | {"git": estate.git("log", "-p", "-U0", "--all")}


@pytest.mark.trap("T7")
@pytest.mark.trap("T11")
async def test_no_secret_is_in_the_plan_the_ledger_git_the_log_or_any_file_that_is_left(estate, caplog):
    caplog.set_level(logging.DEBUG)
    async with estate.engine() as engine:
        shown = await estate.ask(engine, variables={"value": "2.0.0"}, dry_run=True)
        done = await estate.ask(engine, variables={"value": "2.0.0"})
        again = await estate.ask(engine, variables={"value": "3.0.0"})
        seen = everything(estate)

    assert (done.state, again.state) == (State.LANDED, State.LANDED), again.receipt
    assert estate.records()["db"] == {"value": "3.0.0", "secret": PASSWORD, "serial": 2}
    texts = [json.dumps(one.receipt) for one in (shown, done, again)] + [caplog.text]
    texts += [json.dumps(row, default=str) for row in estate.rows("SELECT * FROM events")]
    for secret in (PASSWORD, TOKEN):
        assert [text for text in texts if secret in text] == []
        # While it runs, only the private folder of the last plan holds them; nothing is left when the server ends.
        held = [path for path, text in seen.items() if secret in text]
        assert [path for path in held if "/terraform/network/run-" not in path] == []
        assert [path for path, text in everything(estate).items() if secret in text] == []
    assert not list((estate.settings.state_dir / "terraform" / "network").glob("run-*"))
    fields = [field for one in shown.receipt["plan"]["objects"] for field in one["changes"]]
    assert any(field.startswith(".input: absent → 'hmac:") for field in fields), fields


async def test_the_saved_plan_and_the_files_of_variables_are_private(estate):
    modes = {}
    async with estate.engine() as engine:
        waiting = await estate.submit(engine, variables={"value": "slow-1"})
        base = estate.settings.state_dir / "terraform" / "network"
        await until(lambda: list(base.glob("runs/*.json")) and list(base.glob("run-*/plan")))
        for path in base.rglob("*"):
            if path.name in {"plan", "given.tfvars.json"} or path.name.startswith(("run-", "out-")):
                modes[path.name] = path.stat().st_mode & 0o077
        await estate.end(engine, waiting)

    assert {"given.tfvars.json"} <= modes.keys()
    assert set(modes.values()) == {0}


async def test_secrets_are_in_no_argument_of_a_child_and_no_environment_but_the_programs_own(estate):
    lines, environments = set(), {}
    async with estate.engine() as engine, anyio.create_task_group() as group:

        async def look():
            while True:
                await anyio.to_thread.run_sync(read_processes, lines, environments)
                await anyio.sleep(0.02)

        group.start_soon(look)
        done = await estate.ask(engine, variables={"value": "slow-0.5"})
        group.cancel_scope.cancel()

    assert done.state is State.LANDED, done.receipt
    assert any("apply" in line for line in lines)
    assert [line for line in lines if PASSWORD in line or TOKEN in line] == []
    assert [name for name, text in environments.items() if PASSWORD in text] == []
    ran = {name for name, text in environments.items() if TOKEN in text}
    assert ran <= {"tofu", "bwrap", "terraform-provider-own_v1.0.0"}
    for text in environments.values():
        assert "KUBECONFIG" not in text


def read_processes(lines, environments):
    for place in Path("/proc").glob("[0-9]*"):
        read_process(place, lines, environments)


def read_process(place, lines, environments):
    """The command line and the environment of a process that was started by this one."""
    try:
        line = (place / "cmdline").read_bytes().decode("latin-1").replace("\0", " ")
        text = (place / "environ").read_bytes().decode("latin-1")
        name = (place / "exe").readlink().name
    except OSError:
        return
    if "TF_IN_AUTOMATION" in text:
        lines.add(line)
        environments[name] = environments.get(name, "") + text


async def test_what_a_provider_says_in_an_error_is_masked(estate):
    async with estate.engine() as engine:
        done = await estate.ask(engine, variables={"value": "a-leak"})

    assert done.state is State.FAILED, done.receipt
    assert "refused with token" in done.receipt["message"]
    assert PASSWORD not in json.dumps(done.receipt)
    assert TOKEN not in json.dumps(done.receipt)


async def test_a_sensitive_variable_is_never_written_into_a_file(estate):
    estate.write("seed.tf", 'variable "seed" {\n  type      = string\n  default   = ""\n  sensitive = true\n}\n')
    estate.commit("A seed")
    async with estate.engine() as engine:
        done = await estate.ask(engine, variables={"seed": "green fields"})

    assert done.state is State.REFUSED
    assert done.receipt["error"]["code"] == "invalid-argument"
    assert 'environment = ["TF_VAR_seed"]' in done.receipt["error"]["next"]
    assert "green fields" not in json.dumps(done.receipt)
    assert estate.git("log", "-1", "--format=%s") == "A seed"


async def test_progress_names_what_is_done_and_shows_no_value(estate, monkeypatch):
    said = []
    async with estate.engine() as engine:
        monkeypatch.setattr("infra_mcp.engine.run.Run.say", lambda _, text: said.append(text))
        done = await estate.ask(engine, variables={"value": "slow-0.2"})

    assert done.state is State.LANDED, done.receipt
    for words in ("creating own_record.db", "created own_record.db", "reading own_record.db"):
        assert words in said
    assert not [text for text in said if PASSWORD in text or "slow-0.2" in text]


async def test_a_secret_that_people_put_into_a_file_of_variables_is_nowhere_else(estate, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    secret = "canary-in-tfvars-5Tz2"
    main = estate.in_git("main.tf").replace("secret = var.password", "secret = var.seed")
    seed = 'variable "seed" {\n  type      = string\n  sensitive = true\n}\n'
    estate.write("main.tf", f'{main}\n{seed}\noutput "seed" {{\n  value     = var.seed\n  sensitive = true\n}}\n')
    estate.write("terraform.tfvars", f'value = "1.0.0"\nseed  = "{secret}"\n')
    estate.commit("A seed")
    texts = []
    with tempfile.TemporaryDirectory(prefix="c") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)  # where runs have their sockets
        async with estate.engine() as engine:
            for value, options in (("2.0.0", {"dry_run": True}), ("2.0.0", {}), ("a-leak", {}), ("3.0.0", {})):
                done = await estate.ask(engine, variables={"value": value}, **options)
                texts.append(json.dumps(done.receipt))
            waiting = await estate.ask(engine, "rollback", request=done.id)
            texts.append(json.dumps(await engine.status(ASKER, place="network")))
            await estate.approve(engine, waiting)
        assert left(short) == []

    assert estate.records()["db"] == {"value": "2.0.0", "secret": secret, "serial": 3}
    texts += [caplog.text, *events(estate)]
    assert [text for text in texts if secret in text] == []
    held = {path: text.count(secret) for path, text in everything(estate).items() if secret in text}
    assert held == {"git": 1, str(estate.folder / "terraform.tfvars"): 1}  # the commit and the file of the people


@pytest.mark.parametrize("known", [True, False])
async def test_the_password_of_a_backend_is_named_in_policy_and_shown_nowhere(tmp_path, monkeypatch, caplog, known):
    caplog.set_level(logging.DEBUG)
    password = "canary-backend-6Hd4"
    monkeypatch.setenv("TF_HTTP_USERNAME", "infra-mcp")
    monkeypatch.setenv("TF_HTTP_PASSWORD", password)
    one = 'variable "value" {{\n}}\nresource "terraform_data" "one" {{\n  input = var.value\n}}\n'
    more = 'network = true\nenvironment = ["TF_HTTP_USERNAME", "TF_HTTP_PASSWORD"]\n'
    with state_server() as server:
        server.password = password if known else "another one"
        main, values = by_http(BACKEND, server.address) + one, {"terraform.tfvars": 'value = "1"\n'}
        estate = with_http(Estate(tmp_path, main=main, more=more, **values))
        async with estate.engine() as engine:
            done = await estate.ask(engine, variables={"value": "2"})

    assert (done.state is State.LANDED) == known, done.receipt
    assert bool(server.state) == known
    assert [text for text in (json.dumps(done.receipt), caplog.text, *events(estate)) if password in text] == []
    assert [path for path, text in everything(estate).items() if password in text] == []


def events(estate: Estate) -> list[str]:
    """The audit trail."""
    return [json.dumps(row, default=str) for row in estate.rows("SELECT * FROM events")]


def left(folder: str) -> list[Path]:
    """What is in a folder of temporary files."""
    return list(Path(folder).rglob("*"))
