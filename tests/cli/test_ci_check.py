"""The pipelines of docs/ci that check people's pull requests, run as they stand there, on pull requests at a remote."""

from __future__ import annotations

import json
import os
import re
import sysconfig
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Self

import pytest
import yaml
from pipelines import Runner, wheel
from pull_requests import PullRequest, git

pytestmark = [pytest.mark.process, pytest.mark.anyio, pytest.mark.promise("ci.headless")]

DOCS = Path(__file__).parents[2] / "docs"
GITHUB, GITEA = DOCS / "ci" / "check.github.yaml", DOCS / "ci" / "check.gitea.yaml"
POLICY = '[circles.docs]\nnamespaces = ["docs"]\nimages = ["registry.example/*"]\n'
POD = "apiVersion: v1\nkind: Pod\nmetadata: {{name: a, namespace: docs}}\n"
POD += "spec: {{containers: [{{name: a, image: {}}}]}}\n"
# Modules of the pull request with the names of those that the steps import; files that people must look at.
TRAPS = dict.fromkeys(
    ("json.py", "venv/__init__.py", "infra_mcp/__init__.py", "yaml.py"), "open('owned', 'w').write('x')\n"
)


class Job(Runner):
    """A job of GitHub Actions or Gitea Actions, as far as the examples use them: its steps, in a workspace."""

    def __init__(self, folder: Path, file: Path, remote: Path, ref: str, known: dict[str, str]) -> None:
        (folder / "work").mkdir(parents=True)
        super().__init__(folder / "work")
        self.remote, self.ref, self.known = remote, ref, known
        self.job = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]["check"]
        temp = folder / "temp"
        temp.mkdir()
        self.summary = temp / "summary.md"
        self.path = temp / "path"
        self.path.touch()
        # The dependencies come from this environment, since nothing is fetched here; the command itself from its wheel.
        self.env |= {"PIP_NO_DEPS": "1", "PYTHONPATH": sysconfig.get_path("purelib")}
        self.env |= {"RUNNER_TEMP": str(temp), "GITHUB_PATH": str(self.path), "GITHUB_STEP_SUMMARY": str(self.summary)}
        self.env |= self.variables(self.job["env"]) | {"INFRA_MCP_PACKAGE": str(wheel(folder))}

    def variables(self, given: dict[str, str]) -> dict[str, str]:
        """An `env` of the workflow, with its expressions evaluated."""

        def known(found: re.Match[str]) -> str:
            return self.known[found[1]]

        return {name: re.sub(r"\$\{\{ (.+?) \}\}", known, str(value)) for name, value in given.items()}

    async def run(self) -> list[tuple[int, str]]:
        """The steps in order, each with its exit code and output; after a failed one only those that always run."""
        ended: list[tuple[int, str]] = []
        for step in self.job["steps"]:
            condition = step.get("if", "")
            if (any(code for code, _ in ended) and "always()" not in condition) or self.known.get(condition) == "false":
                continue
            if "uses" in step:
                self.check_out(step["with"]["fetch-depth"])
                continue
            assert "${{" not in step["run"], "a text of the pull request would be part of the script"
            added = self.path.read_text().splitlines()
            variables = self.variables(step.get("env", {}))
            variables["PATH"] = os.pathsep.join([*reversed(added), self.env["PATH"]])
            ended.append(await self(step["run"], **variables))
        return ended

    def check_out(self, depth: int) -> None:
        """What actions/checkout does: the ref of the pull request, detached, with so much of its history."""
        git(self.folder, "init", "-q")
        bound = [f"--depth={depth}"] if depth else []
        refs = [self.ref] if depth else [self.ref, "+refs/heads/*:refs/remotes/origin/*"]
        git(self.folder, "fetch", "-q", *bound, f"file://{self.remote}", *refs)
        git(self.folder, "checkout", "-q", "--detach", git(self.folder, "rev-parse", "FETCH_HEAD"))


@pytest.fixture
def proposed(tmp_path):
    """A remote with a pull request on it, and its merge with the base as GitHub makes it; the base has moved on."""

    def make(image: str) -> PullRequest:
        base = {"infra.toml": POLICY, "a.yaml": POD.format("registry.example/a:1")}
        made = PullRequest(tmp_path / "remote", base, {"a.yaml": POD.format(image), **TRAPS})
        git(made.repo, "update-ref", "refs/pull/1/head", "head")
        git(made.repo, "checkout", "-q", "main")
        made.write({"other.txt": "Someone else's\n"})
        made.commit("Meanwhile")
        git(made.repo, "checkout", "-q", "--detach")
        git(made.repo, "merge", "-q", "--no-ff", "-m", "Merge", "head")
        git(made.repo, "update-ref", "refs/pull/1/merge", "HEAD")
        return made

    return make


@pytest.mark.parametrize(("image", "code"), [("registry.example/a:2", 4), ("evil.example/a:2", 3)])
async def test_on_github_the_merge_is_checked_and_the_result_is_on_the_jobs_page(proposed, tmp_path, image, code):
    made = proposed(image)

    job = Job(tmp_path / "job", GITHUB, made.repo, "refs/pull/1/merge", {})
    ended = await job.run()
    page = job.summary.read_text(encoding="utf-8")

    assert [code for code, _ in ended] == [0, code], ended
    assert "docs/pod/a" in page
    assert "other.txt" not in page, "what only the base has is not the pull request's"
    assert not [*tmp_path.rglob("owned")]


class Forge:
    """The smallest stand-in for a forge: it takes comments, and keeps them."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, dict[str, str]]] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((self.path, self.headers["Authorization"], json.loads(body)))
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize(
    ("image", "same", "code"),
    [("evil.example/a:2", "true", 3), ("registry.example/a:2", "false", 4)],
)
async def test_on_gitea_the_result_is_a_comment_where_the_pull_request_is_of_the_same_repository(
    proposed, tmp_path, image, same, code
):
    made = proposed(image)
    always = "${{ always() && github.event.pull_request.head.repo.full_name == github.repository }}"
    known = {
        "github.event.pull_request.base.sha": git(made.repo, "rev-parse", "main"),
        "github.event.pull_request.head.sha": git(made.repo, "rev-parse", "head"),
        "github.event.pull_request.number": "1",
        "github.token": "the-jobs-token",
        always: same,
    }
    with Forge() as forge:
        job = Job(tmp_path / "job", GITEA, made.repo, "refs/pull/1/head", known)
        job.env |= {"GITHUB_API_URL": forge.url, "GITHUB_REPOSITORY": "team/infra"}
        ended = await job.run()

    assert [code for code, _ in ended] == [0, code] + [0] * (same == "true"), ended
    assert [(path, by) for path, by, _ in forge.got] == [
        ("/api/v1/repos/team/infra/issues/1/comments", "token the-jobs-token")
    ] * (same == "true")
    assert all(body["body"].startswith("### infra-mcp check: ") for _, _, body in forge.got)
    assert "the-jobs-token" not in str(ended)
    assert not [*tmp_path.rglob("owned")]


@pytest.mark.parametrize("file", [GITHUB, GITEA])
def test_the_examples_run_nothing_of_a_pull_request_beside_secrets(file):
    text = file.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    steps = workflow["jobs"]["check"]["steps"]
    checkout = next(at for at, step in enumerate(steps) if "uses" in step)

    assert workflow[True] == "pull_request"  # YAML 1.1 reads `on` as true
    assert "secrets." not in text
    assert [at for at, step in enumerate(steps) if "pip" in step.get("run", "")] == [0] < [checkout]
    assert re.fullmatch(r"actions/checkout@[0-9a-f]{40}", steps[checkout]["uses"])
    assert f"(ci/{file.name})" in (DOCS / "ci.md").read_text(encoding="utf-8")
