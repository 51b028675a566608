"""First value without a cluster: a clone of a Flux-shaped repository, a forge's token, and no kubeconfig at all."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import anyio
import pytest
from gitea import gitea
from shell import Shell, stop_started

__all__ = ["gitea"]

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.promise("git.pull-request")]

SHAPE = Path(__file__).parents[1] / "shapes" / "flux-home" / "repo"
APP = "kubernetes/apps/media/reel/app/helmrelease.yaml"
README = Path(__file__).parents[2] / "README.md"
GRANT = """
[[owners]]
paths = ["kubernetes/apps/**"]
owner = "apps"

[circles.apps]
namespaces = ["media"]
actions = ["deploy"]
images = ["*"]
"""


class Clone(Shell):
    """A person's clone of a repository at Gitea, and a shell in it."""

    def __init__(self, folder, gitea):
        super().__init__(folder, "infra", HOME=str(folder))
        self.ann, self.bot = gitea.account("ann"), gitea.account("bot")
        self.place = gitea.repository(self.ann, **{self.bot.name: "write"})
        self.token_file = gitea.token_file(self.bot)
        shutil.copytree(SHAPE, self.repo)
        (self.repo / "infra.toml").unlink(missing_ok=True)
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", self.place.url)
        self.save("As it is")
        self.git("push", "-q", "--force", self.place.url_for(self.ann), "main")

    def git(self, *words):
        named = ["-c", "user.name=ann", "-c", "user.email=ann@test.example"]
        subprocess.run(["git", "-C", self.repo, *named, *words], check=True, stdin=subprocess.DEVNULL)

    def save(self, message):
        self.git("add", "--all")
        self.git("commit", "-qm", message)

    def allow(self):
        """What a person makes of the proposal: pull requests, a forge's token, and one circle's grants."""
        file = self.repo / "infra.toml"
        text = file.read_text("utf-8").replace('write = "push"', 'write = "pull-request"')
        for line in ("[forge]", "kind = ", "url = ", "repository = ", "[apps.reel]", "versions = "):
            text = text.replace(f"# {line}", line)
        file_key = f'poll = "1s"\ntoken_file = "{self.token_file}"'
        text = text.replace('# token_file = "/run/secrets/forge-token"', file_key)
        text = text.replace('[apps.reel]\n# owner = "apps"', '[apps.reel]\nowner = "apps"')
        text = text.replace("# [apps.pantry]", "[apps.pantry]").replace("# [apps.ferry]", "[apps.ferry]")
        file.write_text(text + GRANT, "utf-8")
        self.save("What the infra peer may do")


@pytest.fixture
def clone(tmp_path, gitea):
    made = Clone(tmp_path, gitea)
    yield made
    stop_started(tmp_path / "state")


def commands():
    """The commands of the README's part about a forge, as words."""
    block = README.read_text("utf-8").split("With a token of a forge and no cluster")[1].split("```")[1]
    lines = [line[2:].partition("#")[0] for line in block.splitlines() if line.startswith("$ infra-mcp")]
    return [shlex.split(line.partition(">")[0].partition("&")[0])[1:] for line in lines]


async def test_the_readmes_commands_end_in_a_pull_request_that_a_person_merges_and_an_ack_that_says_so(clone):
    init, accept, peer, serve, deploy = commands()
    assert (await clone(*init)).code == 0
    clone.allow()
    assert "reel" in (await clone("apps")).out
    shown = await clone("preview", *deploy[:4])
    assert "tag: 10.9.2" in shown.out, shown
    accepted = await clone(*accept)
    assert accepted.code == 0, accepted
    made = await clone(*peer)
    assert made.code == 0, made
    (clone.repo / "token").write_text(made.out, "utf-8")
    (clone.repo / "token").chmod(0o600)
    done = []
    async with clone.start(*serve, "--port", "0"), anyio.create_task_group() as group:

        async def ask():
            done.append(await clone(*deploy, "--reason", "/close @ann #1"))

        group.start_soon(ask)
        with anyio.fail_after(50):
            while not (pulls := await anyio.to_thread.run_sync(clone.place.pulls)):  # noqa: ASYNC110 - no events
                await anyio.sleep(0.1)
        assert pulls[0]["head"]["ref"].startswith("infra-mcp/req-")
        await anyio.to_thread.run_sync(clone.place.merge, pulls[0]["number"], "squash")

    assert done[0].code == 0, done
    assert "tag: 10.9.2\n" in clone.place.read(APP)
    assert f"was merged by {clone.ann.name}; not confirmed: " in done[0].out
