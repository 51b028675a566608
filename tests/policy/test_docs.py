"""Documentation cannot rot: every key of the policy, and every rule a verdict may name, stands in docs/policy.md."""

import re
import typing
from pathlib import Path

import pytest
from pydantic import BaseModel

from infra_mcp.policy import decide, effects, grants, matching
from infra_mcp.policy.rules import Policy, load

PAGE = Path(__file__).parents[2] / "docs" / "policy.md"


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


@pytest.mark.parametrize("key", keys(Policy, ""))
def test_every_key_of_the_policy_is_explained(page, key):
    assert f"`{key}`" in page


def test_no_key_is_explained_that_is_not_there(page):
    known = set(keys(Policy, ""))
    explained, _, _ = page.partition("## What a refusal names")
    named = set(re.findall(r"^\| `([a-z_A-Z.]+)` \|", explained, re.MULTILINE))

    assert named == known


def test_every_rule_a_verdict_may_name_is_listed(page):
    sources = "".join(
        Path(module.__file__).read_text(encoding="utf-8") for module in (decide, effects, grants, matching)
    )
    named = re.findall(r"Refusal\(\s*f?\"([^\"]+)\"", sources)
    spelled = {re.sub(r"\{[^}]*\}", "NAME", name) for name in named}

    assert len(spelled) >= 14
    assert not [name for name in spelled if f"`{name}`" not in page]


def test_the_example_on_the_page_is_a_policy(page):
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)

    assert load(example).circles
