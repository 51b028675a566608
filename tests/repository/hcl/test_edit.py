"""Setting a value in HCL changes that value and nothing else: one hunk, comments and alignment kept."""

import difflib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.errors import InfraError, Moved
from infra_mcp.repository.edits import SetValue
from infra_mcp.repository.hcl.edit import set_value
from infra_mcp.repository.hcl.source import read
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.partial import get_path

VALUES = """\
# the network
region    = "eu-west-1" # home
instances = 3

tags = {
  owner = "docs" // us
  stage = "live"
}
zones = ["a", "b"]
hosts = [
  "one", # first
  "two"
]
ports = [
  80,
  443,
]
"""
MODULE = """\
terraform {
  required_version = ">= 1.5"
  required_providers {
    own = {
      source  = "registry.example/acme/own"
      version = "~> 5.0"
    }
  }
}

module "app" {
  source  = "./modules/app"
  version = "1.2.3" # released on Monday
  size    = var.size
  text    = "size ${var.size}"

  disk {
    size = 1
  }
  disk {
    size = 2
  }
}
"""


def change(text, field, after):
    data = text.encode()
    before = get_path(read(data).value, field)[1]
    return set_value(data, SetValue(path="x.tf", field=field, before=before, after=after)).decode()


def hunk(before, after):
    """The changed lines; more than one hunk is a failure."""
    rows = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))[2:]
    assert sum(row.startswith("@@") for row in rows) == 1
    return [row for row in rows if not row.startswith("@@")]


@pytest.mark.promise("plan.one-hunk")
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("text", "field", "value", "rows"),
    [
        (VALUES, ("region",), "eu", ['-region    = "eu-west-1" # home', '+region    = "eu" # home']),
        (VALUES, ("instances",), 5, ["-instances = 3", "+instances = 5"]),
        (VALUES, ("instances",), None, ["-instances = 3"]),
        (VALUES, ("tags", "owner"), "me", ['-  owner = "docs" // us', '+  owner = "me" // us']),
        (VALUES, ("tags", "new"), "x", ['+  new   = "x"']),
        (VALUES, ("tags", "a key"), "x", ['+  "a key" = "x"']),
        (VALUES, ("tags", "stage"), None, ['-  stage = "live"']),
        (VALUES, ("zones",), ["a", "b", "c"], ['-zones = ["a", "b"]', '+zones = ["a", "b", "c"]']),
        (VALUES, ("zones",), ["b"], ['-zones = ["a", "b"]', '+zones = ["b"]']),
        (VALUES, ("zones",), [], ['-zones = ["a", "b"]', "+zones = []"]),
        (VALUES, ("hosts",), ["one", "two", "three"], ['-  "two"', '+  "two",', '+  "three"']),
        (VALUES, ("hosts",), ["zero", "one", "two"], ['+  "zero",']),
        (VALUES, ("hosts",), ["two"], ['-  "one", # first']),
        (VALUES, ("hosts", 1), "deux", ['-  "two"', '+  "deux"']),
        (VALUES, ("ports",), [80, 443, 8080], ["+  8080,"]),
        (VALUES, ("ports",), [443], ["-  80,"]),
        (VALUES, ("fresh",), True, ["+fresh = true"]),
        (VALUES, ("fresh",), {"a": [1], "bc": {}}, ["+fresh = {", "+  a  = [1]", "+  bc = {}", "+}"]),
        (
            MODULE,
            ("module", "app", "version"),
            "1.3.0",
            ['-  version = "1.2.3" # released on Monday', '+  version = "1.3.0" # released on Monday'],
        ),
        (MODULE, ("module", "app", "disk", 1, "size"), 3, ["-    size = 2", "+    size = 3"]),
        (MODULE, ("module", "app", "count"), 2, ["+  count   = 2"]),
        (
            MODULE,
            ("terraform", "required_version"),
            ">= 1.6",
            ['-  required_version = ">= 1.5"', '+  required_version = ">= 1.6"'],
        ),
        (
            MODULE,
            ("terraform", "required_providers", "own", "version"),
            "~> 6.0",
            ['-      version = "~> 5.0"', '+      version = "~> 6.0"'],
        ),
    ],
)
def test_a_value_is_set_in_one_hunk(text, field, value, rows, newline):
    text = text.replace("\n", newline)

    after = change(text, field, value)

    assert hunk(text, after) == rows
    assert after.count("\r\n") == (after.count("\n") if newline == "\r\n" else 0)


@pytest.mark.parametrize(("text", "after"), [("", "b = 1\n"), ("# c\n", "# c\nb = 1\n"), ("a = 1", "a = 1\nb = 1")])
def test_a_value_is_added_to_a_file_without_any_or_without_a_last_newline(text, after):
    assert change(text, ("b",), 1) == after


def test_setting_the_value_that_stands_there_changes_no_byte():
    assert change(VALUES, ("tags",), {"stage": "live", "owner": "docs"}) == VALUES


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (("module", "app", "size"), 3),
        (("module", "app", "text"), "size 3"),
        (("module", "other", "version"), "1"),
        (("module", "app"), {}),
        (("module", "app", "version", "x"), 1),
        (("locals", "x"), 1),
    ],
)
def test_an_expression_is_never_replaced_and_a_block_never_made(field, value):
    with pytest.raises(Unreadable):
        change(MODULE, field, value)


def test_a_value_that_others_changed_is_not_set():
    edit = SetValue(path="x.tf", field=("instances",), before=4, after=5)

    with pytest.raises(Moved):
        set_value(VALUES.encode(), edit)


def test_a_field_with_keys_is_refused():
    with pytest.raises(InfraError) as caught:
        set_value(b"a = [1]", SetValue(path="x.tf", field=("a", {"name": "b"}), before=None, after=1))

    assert caught.value.code == "manifest-invalid"


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="$%"), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcdef") | TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(
    values=st.dictionaries(st.sampled_from(["a", "bb", "ccc", "d-d"]), JSON.filter(lambda one: one is not None)),
    name=st.sampled_from(["a", "bb", "ccc", "d-d", "new"]),
    value=JSON.filter(lambda one: one is not None),
)
def test_any_value_can_be_set_and_is_read_back(values, name, value):
    text = ""
    for key, item in values.items():
        text = change(text, (key,), item)
    assert read(text.encode()).value == values

    after = change(text, (name,), value)

    assert json.dumps(read(after.encode()).value, sort_keys=True) == json.dumps({**values, name: value}, sort_keys=True)
