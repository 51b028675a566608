"""Evidence at a real forge: what is pushed to Gitea has landed when the pipeline's account sets its status there."""

from __future__ import annotations

import anyio
import pytest
from e2e.delivered import Delivered
from gitea import gitea

from infra_mcp.model.request import END, State

__all__ = ["gitea"]

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.promise("delivery.external")]

FORGE = """
[forge]
kind = "gitea"
url = "{url}"
repository = "{name}"
user = "{user}"
token_file = "{file}"
"""


class AtGitea(Delivered):
    """The same scenario, with its remote at Gitea and a check of the pipeline's account as evidence."""

    def made_at(self, gitea):
        self.owner, self.bot, self.ci = gitea.account("owner"), gitea.account("bot"), gitea.account("ci")
        self.place = gitea.repository(self.owner, **{self.bot.name: "write", self.ci.name: "write"})
        self.forge = FORGE.format(
            url=gitea.url, name=self.place.full_name, user=self.bot.name, file=gitea.token_file(self.bot)
        )
        self.evidence = f'check = {{ name = "deploy", by = "{self.ci.name}" }}\ntimeout = "{{timeout}}"\n'
        return self

    def apps(self, grace="1s"):
        return super().apps(grace) + self.forge

    def roll_out(self):
        super().roll_out()
        self.git("remote", "set-url", "origin", self.place.url_for(self.owner))
        self.git("push", "-q", "--force", "origin", "main")
        self.git("remote", "set-url", "origin", self.place.url)

    async def head_of(self, former):
        """The commit that is pushed on top of another one."""
        with anyio.fail_after(60):
            while (head := await anyio.to_thread.run_sync(self.place.head)) == former:  # noqa: ASYNC110 - no events
                await anyio.sleep(0.05)
        return head

    async def says(self, request, words):
        """Wait until a request says something of its progress."""
        with anyio.fail_after(60):
            while True:
                found = await self.tool("get_request", request_id=request)
                if words in str(found.data.get("progress")):
                    return
                await anyio.sleep(0.05)

    async def end(self, request):
        with anyio.fail_after(60):
            while True:
                found = await self.tool("get_request", request_id=request)
                if State(found.data["state"]) in END:
                    return found
                await anyio.sleep(0.05)


@pytest.fixture
async def delivered(gitea, cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    async with AtGitea(cluster_setup, tmp_path).made_at(gitea) as made:
        yield made


async def test_the_pipelines_status_of_our_commit_is_the_landing_and_anothers_is_not(delivered):
    former = delivered.place.head()
    sent = await delivered.tool("deploy", app="docs", version="1.2.0", wait_seconds=0)
    head = await delivered.head_of(former)
    delivered.place.status(former, "deploy", "success", by=delivered.ci)
    delivered.place.status(head, "deploy", "success", by=delivered.bot)
    await delivered.says(sent.data["request"], f"only {delivered.bot.name} set it")

    delivered.place.status(head, "deploy", "success", by=delivered.ci)
    made = await delivered.end(sent.data["request"])

    assert made.data["state"] == "landed", made.text
    assert f"check deploy by {delivered.ci.name} succeeded for {head[:12]}" in made.text


async def test_a_pipeline_that_fails_has_the_commit_reverted_and_its_words_are_in_the_answer(delivered):
    former = delivered.place.head()
    sent = await delivered.tool("deploy", app="docs", version="1.2.0", wait_seconds=0)
    head = await delivered.head_of(former)
    delivered.place.status(head, "deploy", "failure", "quota exceeded", by=delivered.ci)
    revert = await delivered.head_of(head)
    delivered.place.status(revert, "deploy", "success", by=delivered.ci)
    made = await delivered.end(sent.data["request"])

    assert made.data["state"] == "rolled_back", made.text
    assert "quota exceeded" in made.text
    assert f"succeeded for {revert[:12]}" in made.text
