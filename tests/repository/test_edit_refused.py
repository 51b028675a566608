"""A value that several places share changes for all of them or not at all; what would lose a comment is refused."""

from __future__ import annotations

from typing import Any

import pytest
from repository.edits import changed_lines, set_field, set_fields

from infra_mcp.errors import InfraError

ANCHORED = """\
kind: Deployment
x: &image site:1.0   # the one place
spec:
  containers:
  - name: web
    image: *image
  - name: job
    image: *image
    resources: &small
      limits: {cpu: 1}
  - name: other
    resources: *small
"""


def refusal(text: str, *edits: tuple[list[str | int], Any]) -> str:
    with pytest.raises(InfraError) as caught:
        set_fields(text.encode(), [(0, path, value) for path, value in edits])
    assert caught.value.code == "manifest-invalid"
    return caught.value.what


@pytest.mark.promise("plan.one-hunk")
def test_a_shared_value_changes_at_its_anchor_when_all_its_places_are_meant():
    places = [["x"], ["spec", "containers", 0, "image"], ["spec", "containers", 1, "image"]]

    after = set_fields(ANCHORED.encode(), [(0, path, "site:2.0") for path in places])

    assert changed_lines(ANCHORED.encode(), after) == [
        "-x: &image site:1.0   # the one place",
        "+x: &image site:2.0   # the one place",
    ]


def test_a_shared_value_is_refused_by_line_when_some_place_is_not_meant():
    assert "Line 2" in refusal(ANCHORED, (["spec", "containers", 0, "image"], "site:2.0"))
    assert "alias on line 6, 8" in refusal(ANCHORED, (["spec", "containers", 0, "image"], "site:2.0"))
    assert "Line 2" in refusal(ANCHORED, (["x"], "site:2.0"))
    both = [(["spec", "containers", i, "image"], "site:2.0") for i in (0, 1)]
    assert "Line 2" in refusal(ANCHORED, *both)
    assert "Line 2" in refusal(ANCHORED, *both, (["x"], "site:3.0"))
    assert "alias on line 12" in refusal(ANCHORED, (["spec", "containers", 1, "resources", "limits", "cpu"], 2))
    assert "Line 10" in refusal(ANCHORED, (["spec", "containers", 2, "resources", "limits", "cpu"], 2))
    refusal(ANCHORED, (["spec", "containers", 2, "resources", "requests"], {"cpu": 1}))
    refusal(ANCHORED, (["spec", "containers", 2, "resources"], {"limits": {"cpu": 2}}))


def test_an_anchor_that_is_used_nowhere_else_is_kept():
    assert set_field(b"a: &x one # c\n", 0, ["a"], "two") == b"a: &x two # c\n"
    assert set_field(b"a: &x\n  b: 1\n", 0, ["a", "c"], 2) == b"a: &x\n  b: 1\n  c: 2\n"
    assert set_field(b"a: &x\n- b\n", 0, ["a", 1], "c") == b"a: &x\n- b\n- c\n"


def test_a_merged_value_is_changed_only_where_it_is_its_own():
    text = "base: &base\n  image: a:1\nuse:\n  <<: *base\n  name: x\n"

    assert "Line 2" in refusal(text, (["use", "image"], "a:2"))
    after = set_fields(text.encode(), [(0, ["use", "image"], "a:2"), (0, ["base", "image"], "a:2")])
    assert changed_lines(text.encode(), after) == ["-  image: a:1", "+  image: a:2"]
    assert b"  name: z\n" in set_field(text.encode(), 0, ["use", "name"], "z")


def test_what_would_lose_a_comment_or_reformat_is_refused():
    assert "Line 2" in refusal("a:\n  b: 1 # why\n  c: 2\n", (["a"], ["x"]))
    refusal("a: # why\n  b: 1\n", (["a"], ["x"]))
    refusal("a: 1\n", (["a", "b"], 2))
    refusal("a: [1]\n", (["a", 5], 2))
    refusal("a: [1]\n", (["a", "b"], 2))
    refusal("a: 1\n", ([], 2))
    refusal("[1, 2]\n", (["a"], 2))
    refusal("a: b: c\n", (["a"], 2))
