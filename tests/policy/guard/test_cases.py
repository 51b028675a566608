"""What may become live at all: a table of rendered objects, allowed and refused, whatever brings them."""

from __future__ import annotations

import pytest
from policy.guard.guard_cases import CASES, refused_by

from infra_mcp.policy.guard.rules import GUARDRAILS

pytestmark = [
    pytest.mark.bad_input("8"),
    pytest.mark.bad_input("9"),
    pytest.mark.bad_input("10"),
    pytest.mark.bad_input("11"),
]


@pytest.mark.promise("effect.guarded")
@pytest.mark.promise("policy.dangerous")
@pytest.mark.promise("policy.protected")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_rendered_object_is_refused_by_the_guardrail_that_it_violates_and_else_allowed(case):
    assert refused_by(case) == case.rule


def test_the_table_has_allowed_and_refused_objects_of_every_guardrail():
    rules = {case.rule for case in CASES}

    assert len(CASES) >= 80
    assert sum(not case.rule for case in CASES) >= 30
    judged = [one for one in GUARDRAILS.values() if one.judges != "records"]  # those of zones have tests of their own
    named = {f"circles.docs.{one.name}" if one.instead else one.name for one in judged}
    # What cannot be permitted is refused by its own name; what is unrendered, and what the rest of the repository has,
    # have tests of their own.
    named = {one.removeprefix("circles.docs.") if "objects." in one else one for one in named}
    assert named - {"effect.unrendered", "hosts.taken"} <= rules
