"""What a configuration reads of this machine is found before anything of it runs."""

import pytest

from infra_mcp.repository.hcl.configuration import module


@pytest.mark.trap("T5")
@pytest.mark.promise("terraform.guard")
@pytest.mark.parametrize(
    ("expression", "reads"),
    [
        ('file("/etc/x")', ["/etc/x"]),
        ('"a ${filebase64("/etc/x")} b"', ["/etc/x"]),
        ('{ x = [templatefile("~/x", {})] }', ["~/x"]),
        ('file("../../../proc/self/environ")', ["../../../proc/self/environ"]),
        ('file("${path.module}/../../x")', ["../../x"]),
        # Such a path may be what a request's variable says.
        ("file(var.x)", ["(computed)"]),
        ('file("${var.x}")', ["(computed)"]),
        ('file("${path.module}/${var.x}")', ["(computed)"]),
        ('file(/* a */ "/etc/x")', ["(computed)"]),
        ('file("\\u002fetc/x")', ["(computed)"]),
        ('file(format("/%s", "etc/x"))', ["(computed)"]),
        ('fileset(pathexpand("~"), "*")', ["(computed)", "~"]),
        # What is in the repository.
        ('file("x.sh")', []),
        ('file("../scripts/x.sh")', []),
        ('file("${path.module}/x.sh")', []),
        ('templatefile("${path.root}/x.tpl", { a = var.x })', []),
        ('fileset(path.module, "*.json")', []),
        ('"the file (optional)"', []),
    ],
)
def test_a_file_outside_of_the_repository_and_one_whose_path_is_computed_are_named(expression, reads):
    found = module("net", {"net/main.tf": f"locals {{\n  a = {expression}\n}}\n".encode()})

    assert [(one.rule, one.value) for one in found.facts] == [("file", path) for path in reads]


@pytest.mark.trap("T5")
@pytest.mark.promise("terraform.guard")
@pytest.mark.parametrize("suffix", [".tf", ".tf.json"])
def test_whatever_runs_programs_or_reads_elsewhere_is_named_in_both_syntaxes(suffix):
    texts = {
        ".tf": 'data "external" "a" {}\nephemeral "http" "b" {}\naction "local_command" "c" {}\n'
        'resource "x" "d" {\n  provisioner "local-exec" {}\n}\n',
        ".tf.json": '{"data": {"external": {"a": {}}}, "ephemeral": {"http": {"b": {}}}, "action": {"local_command": '
        '{"c": {}}}, "resource": {"x": {"d": {"provisioner": {"local-exec": {}}}}}}',
    }

    facts = module("net", {f"net/main{suffix}": texts[suffix].encode()}).facts

    assert {(one.rule, one.value) for one in facts} == {
        ("data", "external"),
        ("data", "http"),
        ("action", "local_command"),
        ("provisioner", "local-exec"),
    }
