"""`infra-mcp check`: its exit codes, and texts of people that mean nothing in a comment."""

from __future__ import annotations

import json
import re

import pytest
from pull_requests import PullRequest

from infra_mcp.cli import check as command
from infra_mcp.cli.check_page import markdown
from infra_mcp.cli.main import main

pytestmark = pytest.mark.promise("ci.headless")

POLICY = '[circles.docs]\nnamespaces = ["docs"]\nimages = ["registry.example/*"]\n'
POD = (
    "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: docs}}\n"
    "spec: {{containers: [{{name: a, image: {}}}]}}\n"
)
BASE = {"infra.toml": POLICY, "a.yaml": POD.format("registry.example/a:1")}
HOSTILE = (
    "/close",
    "/merge",
    "@team",
    "Closes #1",
    "[skip ci]",
    "![x](https://evil.example/x.png)",
    "<img src=x onerror=alert(1)>",
    "</details><script>",
    "```",
    "``````\n/approve",
    "~~~",
    "\u202egnp.exe",
    "\x1b[31mred",
    "\r\n/lgtm",
    "$(touch owned)",
    "{{ .Secret }}",
    "::error::x",
    "::set-output name=a::b",
    "| a | b |",
    "<!-- hidden",
)


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Runs the command on a pull request; returns exit code, standard output and standard error."""
    for name in ("INFRA_MCP_TOKEN", "INFRA_MCP_URL", "INFRA_MCP_REPO", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("INFRA_MCP_STATE", str(tmp_path / "state"))

    made = []

    def run(base, head, *options, given="main..head", links=None):
        made[:] = made or [PullRequest(tmp_path / "infra", base, head, links)]
        capsys.readouterr()
        code = main(["check", given, "--repo", str(made[0].repo), *options])
        printed = capsys.readouterr()
        assert not (tmp_path / "state").exists()
        return code, printed.out, printed.err

    return run


@pytest.mark.parametrize(
    ("head", "code", "says"),
    [
        ({"a.yaml": POD.format("registry.example/a:2")}, 0, "nothing in policy is against it"),
        ({"a.yaml": POD.format("evil.example/a:2")}, 3, "policy refuses it"),
        ({"infra.toml": POLICY + "# more\n"}, 4, "people must approve it"),
    ],
)
def test_the_exit_code_is_the_verdict(check, head, code, says):
    ended, out, _ = check(BASE, head)

    assert (ended, says in out.splitlines()[0]) == (code, True), out


def test_a_base_whose_policy_is_invalid_is_2_and_a_commit_that_is_not_there_is_6(check):
    code, _, err = check(BASE | {"infra.toml": "[["}, {"b": ""})
    assert (code, "policy-invalid" in err) == (2, True)


def test_a_commit_that_is_not_there_is_6(check):
    code, _, err = check(BASE, {"b": ""}, given="gone..head")
    assert (code, "has no commit" in err) == (6, True)


def test_json_has_everything(check):
    code, out, _ = check(BASE, {"a.yaml": POD.format("evil.example/a:2")}, "--format", "json")
    found = json.loads(out)

    assert (code, found["decision"]) == (3, "refuse")
    assert [one["rule"] for one in found["findings"]] == ["circles.docs.images"]


def test_the_summary_is_markdown_and_the_log_is_text(check, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")

    _, out, _ = check(BASE, {"a.yaml": POD.format("registry.example/a:2")}, "--summary", str(summary))

    page = summary.read_text(encoding="utf-8")
    assert page.startswith("before\n### infra-mcp check: nothing in policy is against it\n")
    assert "```diff\n# update docs/pod/a by a.yaml\n" in page
    assert "```" not in out


def test_a_check_that_takes_too_long_is_ended_and_says_so(check):
    code, _, err = check(BASE, {"b": ""}, "--timeout", "0")

    assert (code, "did not end within 0 s" in err) == (6, True)


def test_nothing_is_imported_from_the_repository_that_is_checked(tmp_path, monkeypatch):
    """Modules of the pull request with the names of those that the check imports."""
    hostile = f"open({str(tmp_path / 'owned')!r}, 'w')\n"
    names = ("yaml.py", "json.py", "infra_mcp/__init__.py", "infra_mcp/cli/check.py", "sitecustomize.py", "anyio.py")
    made = PullRequest(tmp_path / "other", BASE, dict.fromkeys(names, hostile))
    monkeypatch.chdir(made.repo)

    code = main(["check", "main..head"])

    assert (code, (tmp_path / "owned").exists()) == (4, False)  # people look at files that nothing is known to read


def outside_of_blocks(page: str) -> list[str]:
    """The lines that no fenced block holds (CommonMark 0.31, 4.5)."""
    found, fence = [], ""
    for line in page.splitlines():
        if fence:
            if re.fullmatch(rf" {{0,3}}`{{{len(fence)},}}[ \t]*", line):
                fence = ""
        elif opened := re.match(r" {0,3}(`{3,})[^`]*$", line):
            fence = opened[1]
        else:
            found.append(line)
    assert not fence, "a block is not closed"
    return found


OURS = re.compile(
    r"|### infra-mcp check: [a-z ]+"
    r"|`[0-9a-f]{12}` compared with `[0-9a-f]{12}`, by "
    r"(policy `sha256:[0-9a-f]{12}` of the base|no infra.toml in the base)\. "
    r"Files: \d+\. Deliveries: \d+\. Objects: \d+\."
    r"|\*\*[A-Z][a-z ]+\*\*"
    r"|(<details><summary>Rendered difference</summary>|</details>)"
    r"|\d+ more objects differ: the comment has no room for them\."
    r"|The rest has no room here\."
)


@pytest.mark.parametrize("text", HOSTILE)
def test_in_a_comment_texts_of_people_stand_in_blocks_and_begin_no_line(check, text):
    quoted = json.dumps(text)
    name = text.replace("/", "_").replace("\n", " ").replace("\r", " ")
    meta = f"{{name: a, namespace: docs, annotations: {{note: {quoted}}}}}"
    spec = f"{{containers: [{{name: {quoted}, image: {quoted}}}]}}"
    head = {
        "a.yaml": f"apiVersion: v1\nkind: Pod\nmetadata: {meta}\nspec: {spec}\n",
        f"{name}/{name}.yaml": "a: 1\n",
        "values.yaml": f"{quoted}: {quoted}\n",
        "infra.toml": f"[circles.docs]\n{quoted} = 1\n",
    }

    code, page, _ = check(BASE | {"values.yaml": "a: 1\n"}, head, "--format", "markdown")

    assert code == 3, page
    assert [line for line in outside_of_blocks(page) if not OURS.fullmatch(line)] == []
    inside = [line for line in page.splitlines() if line not in outside_of_blocks(page)]
    assert [line for line in inside if not re.match(r"[ +\-#`]|@@", line)] == []
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)


def test_in_a_pipelines_log_no_line_is_a_command_to_its_runner(check):
    """What a runner takes for one: `::` at the beginning of a line behind spaces, and `##[` anywhere."""
    head = {"::warning::x.yaml": "::add-mask::a: '##[error]x'\n", "::stop-commands::y/kustomization.yaml": "x: 1\n"}

    for options in ((), ("--format", "markdown")):
        _, out, _ = check(BASE | {"::warning::x.yaml": "a: 1\n"}, head, *options)

        assert "warning" in out
        assert [line for line in out.splitlines() if line.lstrip().startswith("::") or "##[" in line] == []


def found_of(**parts):
    """What a check found, with nothing in it but these parts."""
    lists = ("findings", "settings", "values", "reach", "objects", "unrendered", "files", "lacks", "notes")
    commits = {"base": "a" * 40, "head": "b" * 40, "compared_with": "a" * 40, "policy": "", "decision": "refuse"}
    return commits | {name: [] for name in lists} | parts


def test_a_row_of_backticks_ends_no_block():
    one = {"target": "x", "operation": "update", "root": "y", "diff": "@@\n`````\n/close\n"}

    page = markdown(found_of(objects=[one]))

    assert [line for line in outside_of_blocks(page) if not OURS.fullmatch(line)] == []


def test_a_comment_has_room_for_the_verdict_whatever_there_is_beside_it():
    long = "x" * 390
    found = found_of(
        findings=[{"decision": "refuse", "rule": long, "reason": long, "would_pass": long}] * 500,
        values=[{"at": long, "before": long, "after": long}] * 500,
        objects=[{"target": long, "operation": "update", "root": long, "diff": f"+{long}\n" * 1000}] * 100,
    )

    for parts in ({}, {"findings": []}, {"findings": [], "values": []}):
        page = markdown(found | parts)
        assert len(page) <= 65_536
        assert page.startswith("### infra-mcp check: policy refuses it\n")
        assert [line for line in outside_of_blocks(page) if not OURS.fullmatch(line)] == []


def test_a_process_that_dies_is_said_and_no_verdict_is_made_up(check, monkeypatch):
    monkeypatch.setattr(command.sys, "executable", "/bin/false")

    code, out, err = check(BASE, {"b": ""})

    assert (code, out, "run-stopped" in err) == (1, "", True)
