"""Who is at the real Gitea: an owner, our bot with the token it should have, a person; and a client with that token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from gitea import Account, GiteaServer, Repository

from infra_mcp.clients.forge.gitea import Gitea


@dataclass
class Scene:
    """A repository at Gitea and who works there."""

    server: GiteaServer
    repository: Repository
    owner: Account
    bot: Account
    person: Account
    token_file: Path

    def client(self, **more) -> Gitea:
        return Gitea(self.server.url, self.repository.full_name, self.token_file, **more)

    def branch(self, name: str = "infra-mcp/1", text: str = "ours\n", path: str = "a.txt") -> str:
        """Push a branch as our bot; gives its head."""
        return self.repository.commit({path: text}, branch=name, by=self.bot)


@pytest.fixture
def scene(gitea):
    """A repository of its own in the Gitea of all tests."""
    owner, bot, person = gitea.account("owner"), gitea.account("bot"), gitea.account("person")
    repository = gitea.repository(owner, **{bot.name: "write", person.name: "write"})
    return Scene(gitea, repository, owner, bot, person, gitea.token_file(bot))


@pytest.fixture
async def forge(scene):
    client = scene.client(looking=0.0)
    yield client
    await client.aclose()
