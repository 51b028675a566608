"""The pipelines of docs/ci, run as they stand there, against a server over HTTP."""

from __future__ import annotations

import os
import re
from pathlib import Path

import anyio
import pytest
import yaml
from pipelines import Runner, wheel
from shell import Shell, distinct, shell

pytestmark = pytest.mark.process

DOCS = Path(__file__).parents[2] / "docs"
GITHUB, GITLAB, SCRIPT = DOCS / "ci" / "github-actions.yaml", DOCS / "ci" / "gitlab.yaml", DOCS / "ci" / "deploy.sh"


class Action(Runner):
    """A job of GitHub Actions, as far as the example uses it."""

    def __init__(self, folder: Path, known: dict[str, str], run: str) -> None:
        super().__init__(folder, RUNNER_TEMP=str(folder / "temp"))
        (folder / "temp").mkdir()
        self.files = {name: folder / "temp" / name for name in ("GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        self.env |= {name: str(file) for name, file in self.files.items()}
        self.env |= {"GITHUB_RUN_ID": run, "GITHUB_REPOSITORY": "a/docs", "GITHUB_JOB": "deploy"}
        self.job = yaml.safe_load(GITHUB.read_text(encoding="utf-8"))["jobs"]["deploy"]
        for name, value in self.job["env"].items():
            self.env[name] = re.sub(r"\$\{\{ ([\w.]+) \}\}", lambda found: known[found[1]], value)

    async def run(self) -> list[tuple[int, str]]:
        """Run the steps until one fails, each with what those before put into GITHUB_PATH."""
        ended = []
        for step in self.job["steps"]:
            assert "${{" not in step["run"]
            added = self.files["GITHUB_PATH"].read_text().splitlines() if self.files["GITHUB_PATH"].exists() else []
            ended.append(await self(step["run"], PATH=os.pathsep.join([*reversed(added), self.env["PATH"]])))
            if ended[-1][0]:
                break
        return ended


def known(at, version):
    return {"vars.INFRA_MCP_URL": at.url, "secrets.INFRA_MCP_TOKEN": at.tokens["docs"], "github.ref_name": version}


@pytest.mark.anyio
@pytest.mark.promise("intake.dedupe")
async def test_the_workflow_deploys_what_its_tag_names_once_and_writes_its_summary(tmp_path):
    async with shell(tmp_path, "both") as (at, _):
        known_here = known(at, "0.13.4")
        (tmp_path / "one").mkdir()
        action = Action(tmp_path / "one", known_here | {"vars.INFRA_MCP_PACKAGE": str(wheel(tmp_path))}, "77")
        first = await action.run()
        again = await action.run()
        summary = action.files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")

        assert [code for code, _ in first] == [0, 0, 0], first
        assert [code for code, _ in again] == [0, 0, 0], again
        assert "idempotency key github/77/" in first[-1][1]
        changes = [one for one in distinct(at) if not one.dry_run]
        assert [(one.action.version, one.channel, one.reason) for one in changes] == [
            ("0.13.4", "cli", "release 0.13.4")
        ]
        assert summary.count("### infra-mcp deploy docs 0.13.4: done") == 2
        assert at.tokens["docs"] not in str(first) + str(again) + summary


@pytest.mark.anyio
async def test_a_tag_that_is_a_script_is_a_word_like_any_other(tmp_path):
    async with shell(tmp_path, "both") as (at, _):
        tag = '1.0"; touch owned; echo "'
        (tmp_path / "one").mkdir()
        action = Action(tmp_path / "one", known(at, tag) | {"vars.INFRA_MCP_PACKAGE": str(wheel(tmp_path))}, "77")
        ended = await action.run()

        assert [code for code, _ in ended] == [0, 2], ended
        assert not (tmp_path / "one" / "owned").exists()
        assert at.engine.submitted == []


@pytest.mark.anyio
@pytest.mark.promise("intake.dedupe")
async def test_the_gitlab_job_deploys_what_its_tag_names_once_and_keeps_its_summary(tmp_path):
    job = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))["deploy"]
    script = "\n".join([*job["before_script"], *job["script"]])
    run = {"CI_PIPELINE_ID": "9", "CI_PROJECT_PATH": "a/docs", "CI_JOB_NAME": "deploy", "CI_COMMIT_TAG": "0.13.4"}
    async with shell(tmp_path, "both") as (at, _):
        runner = Runner(tmp_path, INFRA_MCP_URL=at.url, INFRA_MCP_TOKEN=at.tokens["docs"], **run)
        first = await runner(script)
        again = await runner("\n".join(job["script"]))

        assert (first[0], again[0]) == (0, 0), (first, again)
        assert "idempotency key gitlab/9/" in first[1]
        assert len([one for one in distinct(at) if not one.dry_run]) == 1
        (artifact,) = job["artifacts"]["paths"]
        assert (tmp_path / artifact).read_text(encoding="utf-8").count("deploy docs 0.13.4: done") == 2


@pytest.mark.anyio
async def test_the_commands_of_the_page_are_taken_as_they_stand_there(tmp_path):
    """Each command of a block is one that the command line takes: run with `--help` behind it, it explains itself."""
    page = (DOCS / "ci.md").read_text(encoding="utf-8")
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fences if not language]
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("infra-mcp ")]
    run = Shell(tmp_path)
    (tmp_path / "repo").mkdir()

    assert len(lines) >= 4
    for line in lines:
        words = line.partition(" #")[0].partition(" || ")[0].split()[1:]
        done = await run(*words, "--help")
        assert done.code == 0, (line, done)
        assert "examples:" in done.out


@pytest.mark.anyio
async def test_the_way_to_wait_for_people_outside_the_pipeline_is_no_failure(tmp_path):
    """The line for exit code 4, with a command that ends so."""
    page = (DOCS / "ci.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^infra-mcp deploy docs .*\|\|.*$", page, re.MULTILINE)
    for code, expected in ((0, 0), (4, 0), (3, 1)):
        script = f"infra-mcp() {{ return {code}; }}\nVERSION=1\n{line}"
        done = await anyio.run_process(["bash", "-e", "-c", script], check=False, cwd=tmp_path)

        assert done.returncode == expected


def test_the_page_names_what_the_examples_set():
    page = (DOCS / "ci.md").read_text(encoding="utf-8")
    for file in (GITHUB, GITLAB, SCRIPT):
        assert f"(ci/{file.name})" in page
    assert os.access(SCRIPT, os.X_OK)
