"""The pipelines of docs/ci without a secret, and the policy of the page, against an issuer on loopback.

GitHub and GitLab are stood in by that issuer and by what their documentation says a job finds: a URL that gives the
job's token at GitHub, a variable that holds it at GitLab.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from oidc_issuer import AUDIENCE, issuer
from running_server import POLICY
from shell import distinct, shell

pytestmark = [pytest.mark.process, pytest.mark.anyio]

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "ci.md").read_text(encoding="utf-8")
PUBLIC = {"github": "https://token.actions.githubusercontent.com", "gitlab": "https://gitlab.com"}


def job(name):
    return yaml.safe_load((DOCS / "ci" / name).read_text(encoding="utf-8"))


def policy(made, kind):
    """The page's policy, with the loopback issuer in the place of one of its issuers."""
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    ours = f'issuer = "{made.url}"\nprivate = true'
    return POLICY + text.replace(f'issuer = "{PUBLIC[kind]}"', ours)


@asynccontextmanager
async def ground(tmp_path, kind):
    """An issuer, a server whose policy is the page's, and a shell with the command on its path."""
    with issuer() as made:
        async with shell(tmp_path, "both", policy=policy(made, kind)) as (at, run):
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
            yield made, at, run.but(PATH=path, INFRA_MCP_URL=at.url)


async def bash(run, script):
    return await run("--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script, argv=["bash"])


@pytest.mark.promise("auth.oidc", "token.sponsor")
async def test_the_workflow_asks_github_for_its_token_and_deploys_as_the_peer_of_its_claims(tmp_path):
    workflow, other = job("oidc.github.yaml"), job("github-actions.yaml")
    install, deploy = workflow["jobs"]["deploy"]["steps"]
    assert install == other["jobs"]["deploy"]["steps"][0], "which test_ci.py runs"
    assert workflow["permissions"] == {"id-token": "write"}
    summary = tmp_path / "summary.md"
    async with ground(tmp_path, "github") as (made, at, run):
        made.job = made.github
        variables = {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{made.url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": made.secret,
            "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_RUN_ID": "9876543210",
            "GITHUB_REPOSITORY": "acme/docs",
            "VERSION": "0.13.4",
        }
        done = await bash(run.but(**variables), deploy["run"])
        shown = await run.but(INFRA_MCP_URL="")("audit", "show", (await at.engine.ledger.recent(None, 1))[0].id)
        found = await run.but(INFRA_MCP_URL="")("audit", "search", "9876543210", "--json")

        assert done.code == 0, done
        (change,) = distinct(at)
        assert (change.caller.name, change.caller.strength, change.caller.sponsor) == ("docs", "oidc", "octocat")
        assert (change.action.version, change.channel) == ("0.13.4", "cli")
        assert "deploy docs 0.13.4: done" in summary.read_text(encoding="utf-8")
        assert "answered for by octocat" in shown.out
        assert f"identified as repo:acme/docs:environment:production by {made.url}, run 9876543210" in shown.out
        assert [one["kind"] for one in found.json["events"]] == ["received"]
        assert made.secret not in done.out + done.err


@pytest.mark.promise("auth.oidc", "token.sponsor")
async def test_the_gitlab_job_deploys_with_the_token_that_gitlab_puts_into_its_variable(tmp_path):
    deploy = job("oidc.gitlab.yaml")["deploy"]
    assert deploy["before_script"] == job("gitlab.yaml")["deploy"]["before_script"], "which test_ci.py runs"
    ((variable, wanted),) = deploy["id_tokens"].items()
    (line,) = deploy["script"]
    async with ground(tmp_path, "gitlab") as (made, at, run):
        token = made.token(made.gitlab(aud=wanted["aud"], ref="0.13.4", ref_type="tag"))
        given = {variable: token, "CI_COMMIT_TAG": "0.13.4", "CI_PIPELINE_ID": "574", "CI_PROJECT_PATH": "acme/docs"}
        done = await bash(run.but(**given), line.removeprefix(".infra-mcp/bin/"))
        other = made.token(made.gitlab(aud="https://vault.example", ref="0.13.4", ref_type="tag"))
        refused = await run.but(**(given | {variable: other}))("status")

        assert done.code == 0, done
        (change,) = distinct(at)
        assert (change.caller.name, change.caller.sponsor, change.caller.identity.run) == ("docs", "sample-user", "574")
        assert refused.code == 3
        assert f"it is for another audience than {AUDIENCE}" in refused.err
        assert token not in done.out + done.err + refused.err


async def test_the_workflow_goes_on_with_a_new_token_where_the_wait_ran_out_and_ends_with_any_other_code(tmp_path):
    _, deploy = job("oidc.github.yaml")["jobs"]["deploy"]["steps"]
    fake = tmp_path / "bin" / "infra-mcp"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$INFRA_MCP_TOKEN" >> tokens\nread code < codes; sed -i 1d codes; exit $code\n')
    fake.chmod(0o700)
    async with ground(tmp_path, "github") as (made, _, run):
        made.job = made.github
        variables = {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{made.url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": made.secret,
            "PATH": f"{fake.parent}:{os.environ['PATH']}",
        }
        for codes, ended in (("6\n6\n0\n", 0), ("6\n3\n", 3), ("0\n", 0), ("6\n" * 6, 6)):
            (run.repo / "codes").write_text(codes, encoding="utf-8")
            (run.repo / "tokens").unlink(missing_ok=True)
            done = await bash(run.but(**variables), deploy["run"])

            assert done.code == ended, done
            tokens = (run.repo / "tokens").read_text(encoding="utf-8").split()
            assert len(set(tokens)) == len(tokens) == len(codes.split())
