"""Documentation cannot rot: every key of the policy, and every rule a verdict may name, stands in docs/policy.md."""

import re
import typing
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from infra_mcp.model.actions import ACTIONS, FIRST_EDITION
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.approval import SIGNED
from infra_mcp.model.peer import Caller, Strength
from infra_mcp.model.request import State
from infra_mcp.policy import decide, grants, matching, releases, systems, versions, zones
from infra_mcp.policy.policy import Policy, load
from infra_mcp.policy.schedule import Schedule

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"


RULES_OF = [import_module(f"infra_mcp.policy.actions.{name}") for name in ("base", *ACTIONS)]


def keys(model: type[BaseModel], prefix: str) -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        found.append(key)
        inner = [part for part in parts(field.annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
        for part in inner:
            is_map = typing.get_origin(field.annotation) is dict
            found += keys(part, f"{key}.NAME." if is_map else f"{key}.")
    return found


def parts(annotation: object) -> list[object]:
    inner = [part for argument in typing.get_args(annotation) for part in parts(argument)]
    return [annotation, *inner]


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_every_key_of_the_policy_is_explained(page):
    assert [key for key in keys(Policy, "") if f"`{key}`" not in page] == []


def test_no_key_is_explained_that_is_not_there(page):
    known = set(keys(Policy, ""))
    explained, _, _ = page.partition("\n## Guardrails\n")
    named = set(re.findall(r"^\| `([a-z_A-Z.]+)` \|", explained, re.MULTILINE))

    assert named == known


def test_every_rule_a_verdict_may_name_is_listed(page):
    sources = "".join(
        Path(module.__file__).read_text(encoding="utf-8")
        for module in (decide, grants, matching, systems, zones, *RULES_OF)
    )
    named = re.findall(r"(?:Refusal|_guarded)\(\s*f?\"([^\"]+)\"", sources)
    # One text, two rules: what a circle is granted, and what an attending session is.
    named = [name.replace("{to.rule}", who) for name in named for who in ("circles.NAME", "attend")]
    rules = {re.sub(r"\{[^}]*\}", "NAME", name) for name in named}

    assert len(rules) >= 20
    assert not [name for name in rules if f"`{name}`" not in page]


def test_every_value_that_can_be_chosen_is_explained(page):
    values = [*get_args(versions.Order), *get_args(Strength), SIGNED, "now", "rollback", "hold", *ACTIONS]
    assert [value for value in values if f"`{value}`" not in page] == []


def test_every_schedule_on_the_page_can_be_read(page):
    table = page.partition("| `schedule` |")[2].partition("\n\n")[0]
    schedules = [one for row in table.splitlines()[2:] for one in re.findall(r"`([^`]+)`", row.split("|")[1])]

    assert len(schedules) >= 5
    assert all(Schedule.parse(one).text == one for one in schedules)


def test_the_examples_on_the_page_are_policies(page):
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)

    assert len(examples) == 10
    assert sum(bool(load(example).circles) for example in examples) == 8  # the others restrict only


def test_the_examples_of_the_page_about_git_are_policies():
    examples = re.findall(r"```toml\n(.*?)```", PAGE.with_name("git.md").read_text(encoding="utf-8"), re.DOTALL)

    assert len(examples) >= 2
    assert any(load(example).tree.signing_key_file for example in examples)


def example(page: str, section: str) -> Policy:
    return load(re.findall(r"```toml\n(.*?)```", page.partition(f"\n## {section}\n")[2], re.DOTALL)[0])


def rows(page: str, section: str, head: str) -> list[list[str]]:
    table = page.partition(f"\n## {section}\n")[2].partition(f"| {head} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


def test_the_story_of_releases_is_what_happens(page):
    policy, docs = example(page, "Releases"), Caller(name="docs", circle="docs", strength="token")
    told = [row[0].strip("`") for row in rows(page, "Releases", "message")]
    found = [releases.match(policy, docs, message) for message in told]
    waiting = [("first", "0.13.4", State.SCHEDULED)]

    assert [[one.version for one in some] for some in found] == [["0.13.4"], [], ["0.13.5"], ["0.13.3"], []]
    assert releases.decide("semver", "0.13.4", None, waiting) == releases.Same("first")
    assert releases.decide("semver", "0.13.5", None, waiting) == releases.Take(("first",))
    waiting = [("second", "0.13.5", State.SCHEDULED)]
    assert releases.decide("semver", "0.13.3", None, waiting) == releases.Older("0.13.5")
    saturday = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert policy.apps["docs"].when.due(saturday, saturday) == datetime(2026, 11, 23, 8, tzinfo=UTC)


def test_the_story_of_attending_is_what_happens(page):
    policy, told = example(page, "Attending"), rows(page, "Attending", "what the session does")

    assert len(told) == 4
    for done, asker, said in told:
        name = asker.rpartition(" ")[2].strip("`")
        words = re.findall(r"`([^`]+)`", done)
        action = ProvisionNamespace(namespace=words[1]) if len(words) > 1 else Deploy(app="docs", version="1")
        verdict = decide.admit(policy, Caller(name=name, circle=name, strength="token"), action, attendant=True)
        rule = re.findall(r"`([^`]+)`", said)

        assert (verdict.decision, [verdict.rule]) == (("refuse", rule) if rule else ("allow", ["circles.docs.actions"]))


def test_the_story_of_approvals_is_what_happens(page):
    policy, docs = example(page, "Approvals"), Caller(name="docs", circle="docs", strength="token")
    verdict = decide.admit(policy, docs, ProvisionNamespace(namespace="docs-prod"))

    assert verdict.decision == "needs-approval"
    assert "2 approvals by different operators known by a token" in " ".join(page.split())
    assert "2 approvals by different operators known by a token within 8h" in verdict.would_pass


def test_the_changelog_names_every_action_that_a_policy_of_the_first_edition_does_not_grant_yet():
    text = (PAGE.parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")
    line = next(one for one in text.split("\n- ") if one.startswith("Run `infra-mcp policy accept` to grant"))

    assert set(re.findall(r"`([a-z_]+)`", line.partition(".")[0])) == ACTIONS.keys() - FIRST_EDITION
