"""The ground of two kinds whose branch is at a forge: one in memory, or a real Gitea; and what people do there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.two_kinds import NEW, OLD, Ground
from gitea import Account, GiteaServer, Repository

from infra_mcp.engine.signals import PROPOSALS
from infra_mcp.model.request import State

__all__ = ["BEFORE", "GiteaGround", "WorldGround", "ended", "forge_of", "proposed", "pushed_to", "tell"]

BEFORE = {"first": OLD, "second": None, "third": None, "fourth": OLD}


class WorldGround(Ground):
    """At the forge in memory."""

    def __init__(self, home: Path, _: GiteaServer | None = None) -> None:
        super().__init__(home, proposes=True)

    def merge(self, number: int, how: str = "merge", by: str = "ann") -> str:
        """Merge a pull request; the commit that the branch is at then."""
        return self.forge.merge(number, how, by)

    def close(self, number: int) -> None:
        """Close a pull request."""
        self.forge.end(number)

    def account(self, name: str) -> str:
        """The name of a person's account, which is made when it is first asked for."""
        return name

    def review(self, number: int, by: str, *, approves: bool = True) -> None:
        """Have a person approve a pull request, or ask for changes, at the head that it has now."""
        self.forge.review(number, by, approves=approves)

    def dismiss(self, number: int, by: str) -> None:
        """Dismiss a person's last review."""
        self.forge.dismiss(number, by)

    def pushed(self, commit: str) -> None:
        """Say that ann has pushed a commit, where the forge does not see it itself."""
        self.forge.pushers[commit] = "ann"

    def pulls(self) -> dict[int, dict[str, Any]]:
        """State, branch, url, head, title and body of every pull request."""
        every = {number: self.forge._now(number) for number in self.forge.made}
        return {
            number: {"state": one.state, "branch": one.branch, "url": one.url, "head": one.head}
            | {"conflicts": one.conflicts, "title": self.forge.texts[number][0], "body": self.forge.texts[number][1]}
            for number, one in every.items()
        }

    def comments(self, number: int) -> list[str]:
        """The comments below a pull request."""
        return [text for at, text in self.forge.comments if at == number]

    def delete_branch(self, branch: str) -> None:
        """Delete a branch there."""
        self.git("update-ref", "-d", f"refs/heads/{branch}")

    def branches(self) -> list[str]:
        """The branches there beside main."""
        return [
            one for one in self.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split() if one != "main"
        ]

    @contextmanager
    def away(self) -> Iterator[None]:
        """The forge does not answer meanwhile."""
        self.forge.away = True
        try:
            yield
        finally:
            self.forge.away = False


class GiteaGround(WorldGround):
    """At a Gitea, reached over HTTP with a token of the bot's; `ann` owns the repository."""

    def __init__(self, home: Path, server: GiteaServer) -> None:
        super().__init__(home)
        self.server = server
        self.ann: Account = server.account("ann")
        self.bot: Account = server.account("bot")
        self.repository: Repository = server.repository(self.ann, **{self.bot.name: "write"})
        self.token_file = server.token_file(self.bot)
        self.persons = {"ann": self.ann}
        self.reviews: dict[str, int] = {}

    def may(self, *scopes: str) -> None:
        """Give the server's own token these scopes only."""
        self.token_file.write_text(self.server.token(self.bot, *scopes), encoding="utf-8")

    def make(self, more: str = "") -> None:
        """Lay it out: what `Ground` makes is pushed to the repository at Gitea."""
        super().make(more)
        text = self.settings.policy_file.read_text(encoding="utf-8")
        text = text.replace('[tree]\nwrite = "pull-request"', '[tree]\nwrite = "pull-request"\nremote = "forge"')
        text = text.replace('kind = "gitea"', f'kind = "gitea"\ntoken_file = "{self.token_file}"')
        self.settings.policy_file.write_text(text, encoding="utf-8")
        shutil.rmtree(self.branch)
        self.people("remote", "set-url", "origin", self.repository.url_for(self.ann))
        self.people("remote", "add", "forge", self.repository.url)
        self.people("commit", "-q", "--amend", "-a", "--no-edit")
        self.people("push", "-q", "--force", "origin", "main")
        self.branch = next(self.server.home.rglob(f"{self.repository.full_name}.git"))

    def merge(self, number: int, how: str = "merge", by: str = "") -> str:
        return self.repository.merge(number, how, by=by)

    def close(self, number: int) -> None:
        self.repository.close(number)

    def account(self, name: str) -> str:
        if name not in self.persons:
            made = self.persons[name] = self.server.account(name)
            self.repository.call("PUT", f"/collaborators/{made.name}", {"permission": "write"})
        return self.persons[name].name

    def review(self, number: int, by: str, *, approves: bool = True) -> None:
        self.account(by)
        event = "APPROVED" if approves else "REQUEST_CHANGES"
        self.reviews[by] = self.repository.review(number, event, by=self.persons[by])

    def dismiss(self, number: int, by: str) -> None:
        path = f"/pulls/{number}/reviews/{self.reviews[by]}/dismissals"
        self.repository.call("POST", path, {"message": "no"})

    def pushed(self, commit: str) -> None:
        """Gitea sees it."""

    def pulls(self) -> dict[int, dict[str, Any]]:
        return {
            one["number"]: {
                "state": "merged" if one["merged"] else one["state"],
                "branch": one["head"]["ref"],
                "url": one["html_url"],
                "head": one["head"]["sha"],
                "conflicts": not one["mergeable"] and one["state"] == "open",
                "title": one["title"],
                "body": one["body"],
            }
            for one in self.repository.pulls()
        }

    def comments(self, number: int) -> list[str]:
        return self.repository.comments(number)

    def delete_branch(self, branch: str) -> None:
        self.repository.delete_branch(branch)

    @contextmanager
    def away(self) -> Iterator[None]:
        self.server.stop()
        try:
            yield
        finally:
            self.server.start()


def forge_of(ground):
    """What connects an engine to the forge of a ground."""

    async def forge(*_):
        return ground.forge

    return forge


async def proposed(ground, engine, version=NEW, **more):
    """A request that waits at the forge, and the number of its pull request."""
    request = await ground.submit(engine, version, **more)
    found = await engine.wait(request.id, 60.0)
    assert found.state is State.PROPOSED, found.receipt
    return found, found.record["proposal"]["number"]


async def ended(engine, request):
    """A request at its end."""
    return await engine.wait(request.id, 60.0, to_end=True)


def tell(engine):
    """What a webhook of the forge does: have it look at once."""
    engine.signals.wake(PROPOSALS)


def pushed_to(ground, branch, path, text):
    """A commit of a person's on a branch of the remote; its id."""
    ground.people("fetch", "-q", "origin")
    ground.people("checkout", "-q", "--detach", f"origin/{branch}")
    file = ground.repo / path
    known = json.loads(file.read_text("utf-8")) if text.startswith("{") else None
    file.write_text(json.dumps(known | json.loads(text)) if known else text, "utf-8")
    ground.people("add", "-A")
    ground.people("commit", "-qm", "theirs")
    ground.people("push", "-q", "origin", f"HEAD:{branch}")
    made = ground.people("rev-parse", "HEAD")
    ground.people("checkout", "-q", "main")
    return made
