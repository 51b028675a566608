"""The commands that mend the rights of a cluster, read by a real bash; kubectl is a script that notes its arguments."""

import json
import os
import subprocess
import sys

import pytest

from infra_mcp.doctor import cluster as doctor
from infra_mcp.drivers.kubernetes.installed import Comparison

# A binding may have any name without `/` and `%`; who may make one in a namespace chooses it.
NAMES = ("$(touch made)", "`touch made`", "a; touch made", "a'b\"c", "--all", "-A", "a b", "a\ntouch made", "a\\n\x1bb")


LISTED = ("infra-mcp-circle", "--all", "by hand", "$(touch made)", "a'b")
PROGRAM = f"""#!{sys.executable}
import json, sys
with open("notes", "a") as notes:
    print(json.dumps(sys.argv[1:]), file=notes)
if "get" in sys.argv:
    print(*{LISTED!r}, sep="\\n")
"""


@pytest.fixture
def ran(tmp_path):
    """Runs a command in bash, and returns the arguments of each kubectl and infra-mcp that it started."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("kubectl", "infra-mcp"):
        (tools / name).write_text(PROGRAM)
        (tools / name).chmod(0o700)

    def run(command):
        there = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", command], cwd=tmp_path, env=there, check=True, timeout=30)
        assert not (tmp_path / "made").exists()
        return [json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()]

    return run


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_a_tenant_chose_is_one_argument_of_the_printed_command_and_one_line(ran, name):
    found = Comparison("constrained", "", (), left=(f"RoleBinding docs-live/{name}", f"ClusterRoleBinding {name}"))
    commands = found.commands("prod")

    assert all(command.isprintable() for command in commands)
    dashes = ["--"] if name.startswith("-") else []
    for command, words in zip(commands, (["rolebinding", "-n", "docs-live"], ["clusterrolebinding"]), strict=True):
        assert ran(command)[-1] == ["--context", "prod", "delete", *words, *dashes, name]


def test_a_context_that_the_file_of_the_repository_names_is_one_argument_too(ran):
    found = Comparison("constrained", "", (), missing=("ClusterRole x",))
    (command,) = found.commands("prod; touch made", ["--cluster", "a b"])

    assert sorted(ran(command)) == [
        ["--context", "prod; touch made", "apply", "-f", "-"],
        ["rbac", "render", "--cluster", "a b"],
    ]


def test_the_doctor_takes_bindings_away_by_their_names_whatever_these_are(ran):
    command = doctor._unbind_fix("docs-live", "infra-mcp", "circle-docs", ["infra-mcp-circle"])

    assert ran(command)[-1] == ["-n", "docs-live", "delete", "rolebinding", "--", *LISTED[1:]]
