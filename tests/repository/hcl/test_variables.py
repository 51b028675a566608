"""A value fits the type of its `variable` block, or is refused by name and without being repeated."""

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.repository.hcl.source import read
from infra_mcp.repository.hcl.variables import fit, templated, variables

BLOCKS = b"""
variable "text" { type = string }
variable "count" { type = number }
variable "on" { type = bool }
variable "free" {}
variable "names" { type = set(string) }
variable "pair" { type = tuple([string, number]) }
variable "password" {
  type      = string
  default   = ""
  sensitive = true
}
variable "token" {
  ephemeral = true
}
variable "disk" {
  type = object({
    name = string # which
    sizes = optional(list(number), [1, 2])
    more  = map(object({ on = bool }))
  })
}
"""
FOUND = variables({"variables.tf": read(BLOCKS).value})


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("text", "a", "a"),
        ("count", 3, 3),
        ("count", "3", 3),
        ("on", "true", True),
        ("free", {"a": [1, None]}, {"a": [1, None]}),
        ("names", ["a"], ["a"]),
        ("names", '["a"]', ["a"]),
        ("pair", ["a", "2"], ["a", 2]),
        ("disk", {"name": "d", "more": {}}, {"name": "d", "more": {}}),
        ("disk", {"name": "d", "sizes": ["1"], "more": {}}, {"name": "d", "sizes": [1], "more": {}}),
        ("disk", {"name": "d", "more": {"x": {"on": "false"}}}, {"name": "d", "more": {"x": {"on": False}}}),
    ],
)
def test_a_value_of_the_type_passes(name, value, written):
    assert fit(FOUND[name], value) == written


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", 1),
        ("text", None),
        ("text", "a\x1bb"),
        ("count", "three"),
        ("count", True),
        ("on", 1),
        ("names", ["a", 1]),
        ("names", "[s3cret"),
        ("pair", ["a"]),
        ("disk", {"name": "d"}),
        ("disk", {"name": "d", "more": {}, "s3cret": 1}),
        ("disk", {"name": "d", "more": {"x": {}}}),
    ],
)
def test_any_other_value_is_refused_and_the_variable_named(name, value):
    with pytest.raises(InfraError) as caught:
        fit(FOUND[name], value)

    assert caught.value.code == "invalid-argument"
    assert name in caught.value.what
    assert "s3cret" not in caught.value.what or name == "disk"


def test_what_is_required_and_what_is_secret_is_known():
    assert {name for name, one in FOUND.items() if not one.is_required} == {"password"}
    assert {name for name, one in FOUND.items() if one.is_secret} == {"password", "token"}


@pytest.mark.parametrize("text", ["${var.x}", "%{ if true }", "$${x}", "a $ b", "plain"])
def test_a_text_is_written_as_a_template_that_gives_the_text(text):
    source = templated({"a": [text]})["a"][0]

    assert "${" not in source.replace("$${", "")
    assert source.replace("$${", "${").replace("%%{", "%{") == text or text.startswith("$$")
