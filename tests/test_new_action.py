"""A new action is three files and its lines in the registries: everything at the outside follows from them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

MODEL = '''"""An app that is left alone for a while."""

from typing import ClassVar, Literal

from pydantic import Field

from infra_mcp.model.actions.base import AppAction


class Pause(AppAction):
    """An app of the catalogue, left alone for a while."""

    title: ClassVar[str] = "Pause an app"
    description: ClassVar[str] = "Use this to leave an app alone for a while."
    summary: ClassVar[str] = "leave an app alone for a while"
    example: ClassVar[dict[str, object]] = {"app": "docs", "minutes": 30, "tells": ["shop"]}
    positional: ClassVar[tuple[str, ...]] = ("app", "minutes")
    options: ClassVar[dict[str, str]] = {"silent": "quietly"}
    verbs: ClassVar[frozenset[str]] = frozenset({"pause", "halt"})

    action: Literal["pause"] = "pause"
    minutes: int = Field(ge=1, le=600, description="How long.")
    tells: tuple[str, ...] = Field((), description="Who is told.")
    notes: dict[str, str] = Field(default_factory=dict, description="What is written down.")
    way: Literal["soft", "hard"] = Field("soft", description="How hard.")
    silent: bool = Field(False, description="Say nothing.")
'''
RULES = '''"""What policy asks of a pause."""

from infra_mcp.policy.actions.base import WORKLOADS, ActionRules, app_about, app_refusals, is_workload

RULES = ActionRules(
    writes=WORKLOADS,
    about=app_about,
    is_about=is_workload,
    refusals=app_refusals,
    effect_refusals=lambda policy, caller, action, change: iter(()),
)
'''
EDIT = '''"""A pause changes no file."""

from infra_mcp.repository.edits import Edit, Goal


async def edit(look, action):
    """Change nothing."""
    return Edit(look.tree, Goal(title=f"Pause {action.app}"))
'''
FILES = {"model/actions/pause.py": MODEL, "policy/actions/pause.py": RULES, "actions/pause.py": EDIT}
LINES = {
    "model/actions/__init__.py": (
        ("_MODELS: tuple[type[ActionModel], ...] = (", "_MODELS: tuple[type[ActionModel], ...] = (Pause, "),
        (
            "from infra_mcp.model.actions.base",
            "from infra_mcp.model.actions.pause import Pause\nfrom infra_mcp.model.actions.base",
        ),
    ),
    "policy/actions/__init__.py": (
        ("RULES: dict[str, ActionRules] = {", 'RULES: dict[str, ActionRules] = {"pause": pause.RULES,'),
        ("from infra_mcp.policy.actions import (", "from infra_mcp.policy.actions import (\n    pause,"),
    ),
    "actions/registry.py": (
        ("EDITS: dict[str, EditOf] = {", 'EDITS: dict[str, EditOf] = {"pause": pause.edit,'),
        ("from infra_mcp.actions import (", "from infra_mcp.actions import (\n    pause,"),
    ),
}

# Run with the copied package: what its server and its registries say, as one JSON object.
ASKED = r"""
import json, sys
from pathlib import Path

import anyio
from running_server import POLICY
from shell import shell

from infra_mcp.actions.registry import EDITS
from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.peer import Caller
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.decide import admit
from infra_mcp.policy.policy import load

GRANTED = POLICY.replace('actions = ["provision_namespace", "deploy"]', 'actions = ["deploy", "pause"]')
TOLD = {}


async def main(folder):
    policy = load(GRANTED)
    action = ACTIONS["pause"](app="docs", minutes=30)
    for name in ("docs", "shop"):
        verdict = admit(policy, Caller(name=name, circle=name, strength="token"), action)
        TOLD[f"policy for {name}"] = [verdict.decision, verdict.rule]
    TOLD["locks"] = sorted(RULES["pause"].about(policy, action).keys)
    TOLD["edited by"] = EDITS["pause"].__module__
    async with shell(folder, policy=GRANTED) as (at, run):
        async with at.unix("shop") as client:
            TOLD["tools of shop"] = [tool.name for tool in (await client.list_tools()).tools]
        async with at.unix("docs") as client:
            TOLD["tools"] = [tool.name for tool in (await client.list_tools()).tools]

            async def call(tool, **arguments):
                return (await client.call_tool(tool, arguments)).structured_content

            async def ask(words):
                sent = await client.call_tool("ask", {"peer_name": "infra", "query": words})
                return await call("wait_on_ack", correlation_id=sent.content[0].text)

            given = {"app": "docs", "minutes": 30}
            TOLD["all"] = await call("describe")
            TOLD["one"] = await call("describe", action="pause")
            TOLD["done"] = await call("change", action="pause", arguments=given)
            TOLD["wrong"] = await call("change", action="pause", arguments=given | {"minutes": 0})
            TOLD["unknown"] = await call("change", action="pause", arguments=given | {"hours": 1})
            TOLD["block"] = await ask("```infra\n" + json.dumps({"action": "pause", **given}) + "\n```")
            TOLD["sentence"] = await ask("please pause docs for 45 minutes")
            TOLD["too much"] = await ask("please halt docs for 4500 minutes")
            TOLD["help"] = await ask("hm")
        words = ["--note", "a=b", "--tell", "shop", "--quietly", "--way", "hard", "--dry-run", "--json"]
        for command in (["pause", "docs", "5", *words], ["run", "pause", "app=docs", "minutes=6", "--reason", "why"]):
            done = await run(*command, token=at.tokens["docs"])
            TOLD[command[0]] = [done.code, done.out, done.err]
        TOLD["submitted"] = {}
        for one in at.engine.submitted:
            said = one.action.model_dump(mode="json", exclude_defaults=True)
            TOLD["submitted"].setdefault(one.channel, []).append([said, one.dry_run, one.reason])


anyio.run(main, Path(sys.argv[1]))
print(json.dumps(TOLD))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs Python with a copy of the package that has the new action; its pages are made."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "infra_mcp", folder / "infra_mcp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs", folder / "docs")
    for name, text in FILES.items():
        (folder / "infra_mcp" / name).write_text(text, encoding="utf-8")
    for name, changes in LINES.items():
        text = (folder / "infra_mcp" / name).read_text(encoding="utf-8")
        for before, after in changes:
            assert text.count(before) == 1, (name, before)
            text = text.replace(before, after)
        (folder / "infra_mcp" / name).write_text(text, encoding="utf-8")
    (folder / "asked.py").write_text(ASKED, encoding="utf-8")

    def run(*words):
        env = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
        argv = [sys.executable, *map(str, words)]
        done = subprocess.run(
            argv, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(ROOT / "tests" / "pages.py", folder / "docs")
    run.folder = folder
    return run


@pytest.fixture(scope="module")
def told(run):
    """What a server of the copy says."""
    (run.folder / "running_server").mkdir()
    return json.loads(run("asked.py", run.folder / "running_server"))


pytestmark = [pytest.mark.process, pytest.mark.promise("seam.action")]


def test_a_new_action_goes_through_change_for_those_who_are_granted_it(told):
    assert {"change", "describe"} <= set(told["tools"])
    assert not {"pause", "provision_namespace"} & set(told["tools"])
    assert not {"change", "describe", "pause"} & set(told["tools of shop"])
    assert told["all"]["actions"].keys() == {"deploy", "pause"}
    assert told["one"]["arguments"]["properties"].keys() == {"app", "minutes", "tells", "notes", "way", "silent"}
    assert told["one"]["arguments"]["required"] == ["app", "minutes"]
    assert told["one"]["example"] == {"app": "docs", "minutes": 30, "tells": ["shop"]}
    assert told["done"]["state"] == "landed"
    assert (told["wrong"]["code"], "minutes" in told["wrong"]["what"]) == ("invalid-argument", True)
    assert (told["unknown"]["code"], "hours" in told["unknown"]["what"]) == ("unknown-argument", True)


def test_a_new_action_is_asked_for_by_a_block_and_what_means_it_is_answered_with_one(told):
    assert told["block"]["state"] == "landed"
    assert '{"action": "pause", "app": "docs", "minutes": 45}' in told["sentence"]["reply"]
    assert '"app": "docs"' in told["too much"]["reply"]
    assert "4500" not in told["too much"]["reply"]
    assert 'leave an app alone for a while: an infra block with "action": "pause"' in told["help"]["reply"]
    assert told["submitted"]["ask"] == told["submitted"]["tool"] == [[{"app": "docs", "minutes": 30}, False, ""]]


def test_a_new_action_has_its_rules_and_its_locks(told):
    assert told["policy for docs"] == ["allow", "circles.docs.actions"]
    assert told["policy for shop"] == ["refuse", "circles.shop.actions"]
    assert told["locks"] == ["app|docs"]
    assert told["edited by"] == "infra_mcp.actions.pause"


def test_a_new_action_is_a_verb_of_the_command_with_help_and_completion(run):
    top = run("-m", "infra_mcp.cli.main", "--help")
    shown = run("-m", "infra_mcp.cli.main", "pause", "--help")
    script = run("-m", "infra_mcp.cli.main", "completion", "bash")

    assert "pause" in top
    assert "leave an app alone for a while" in shown
    for words in (
        "APP MINUTES",
        "--tell TELL",
        "--note KEY=VALUE",
        "{soft,hard}",
        "--quietly",
        "pause docs 30 --tell shop",
    ):
        assert words in shown, words
    assert "_shtab_infra_mcp_pause_option_strings=" in script
    assert "--quietly" in script


def test_a_new_action_is_done_from_the_command_line_with_an_option_for_each_field(told):
    own = {"app": "docs", "minutes": 5, "tells": ["shop"], "notes": {"a": "b"}, "way": "hard", "silent": True}

    assert (told["pause"][0], told["run"][0]) == (0, 0), (told["pause"], told["run"])
    assert [
        one for index, one in enumerate(told["submitted"]["cli"]) if one not in told["submitted"]["cli"][:index]
    ] == [
        [own, True, ""],
        [{"app": "docs", "minutes": 6}, False, "why"],
    ]


def test_a_new_action_stands_on_the_pages(run):
    for page in ("tools.md", "asking.md", "cli.md"):
        text = (run.folder / "docs" / page).read_text(encoding="utf-8")
        assert "### pause\n" in text, page
        assert "How long." in text or "`infra-mcp pause APP MINUTES`" in text, page
