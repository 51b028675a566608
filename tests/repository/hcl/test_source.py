"""HCL is read as the JSON values that Terraform's JSON syntax has for it; what is doubtful is refused."""

import pytest

from infra_mcp.repository.hcl.source import read
from infra_mcp.repository.nodes import Unreadable


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("a = 1\r\nb = -2.5\r\n", {"a": 1, "b": -2.5}),
        ("a = true\nb = null\nc = 1.0", {"a": True, "b": None, "c": 1}),
        ('a = "é\\n\\"q\\" $${x} \\u00e9"', {"a": 'é\n"q" $${x} é'}),
        ("a = <<EOT\n one\n  two\nEOT\n", {"a": " one\n  two\n"}),
        ("a = <<-EOT\n  one\n\n    two\n  EOT\n", {"a": "one\n\n  two\n"}),
        ('a = [1, "b", [true]]', {"a": [1, "b", [True]]}),
        ('a = { b = 1, "c d" : 2 }', {"a": {"b": 1, "c d": 2}}),
        ("a = var.b", {"a": "${var.b}"}),
        ('a = "x-${var.b}"', {"a": "x-${var.b}"}),
        ("a = [for x in var.b : x]", {"a": "${[for x in var.b : x]}"}),
        ("a = { (var.b) = 1 }", {"a": "${{ (var.b) = 1 }}"}),
        ('module "m" {\n  version = "1"\n}\n', {"module": {"m": {"version": "1"}}}),
        (
            'r "t" "n" {\n  d {\n    s = 1\n  }\n  d {\n    s = 2\n  }\n}\n',
            {"r": {"t": {"n": {"d": [{"s": 1}, {"s": 2}]}}}},
        ),
        ("locals {\n  a = 1\n}\nlocals {\n  b = 2\n}\n", {"locals": {"a": 1, "b": 2}}),
    ],
)
def test_a_file_has_the_value_that_terraform_reads(text, value):
    assert read(text.encode()).value == value


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = ", 1),
        ("a = 1\na = 2\n", 2),
        ("x = 1\nb = {c = 1, c = 2}", 2),
        ("{", 1),
        ("a = 1\nb {\n", 3),
        ("a = 1e400", 1),
        ("a = 1\na {\n}\n", 2),
        ("a = " + "[" * 200 + "]" * 200, 1),
    ],
)
def test_what_cannot_be_read_without_doubt_is_refused_with_its_line(text, line):
    with pytest.raises(Unreadable) as caught:
        read(text.encode())

    assert caught.value.line == line


def test_what_is_no_utf_8_is_refused():
    with pytest.raises(Unreadable):
        read(b'a = "\xff"')
