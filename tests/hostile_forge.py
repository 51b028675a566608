"""The hostile texts of `hostile_forge_texts.toml`, and what they did at a real Gitea."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gitea import Account, GiteaRefusedError, GiteaServer, Repository

__all__ = ["TEXTS", "Ground"]

TEXTS: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "hostile_forge_texts.toml").read_text(encoding="utf-8")
)
_WORKFLOW = """\
on: [push, pull_request]
jobs:
  check:
    runs-on: nowhere
    steps:
      - run: "true"
"""
_REFERENCES = {"issue_ref", "commit_ref", "comment_ref", "pull_ref"}


@dataclass
class Ground:
    """A repository with a workflow, whose people can be mentioned and whose issues can be closed.

    Args:
        server: a Gitea.
        home: an empty folder, for a clone.
        bot: whose token pushes and proposes.
        person: who may be mentioned.
    """

    server: GiteaServer
    home: Path
    owner: Account = field(init=False)
    bot: Account = field(init=False)
    person: Account = field(init=False)
    repository: Repository = field(init=False)

    def __post_init__(self) -> None:
        self.owner, self.bot, self.person = (self.server.account(name) for name in ("owner", "bot", "person"))
        may = {self.bot.name: "write", self.person.name: "write"}
        self.repository = self.server.repository(self.owner, **may)
        self.repository.commit({".gitea/workflows/check.yaml": _WORKFLOW})
        self.git("clone", "-q", self.repository.url_for(self.bot), ".")

    def issue(self) -> int:
        """A new issue, as a target."""
        return int(self.repository.call("POST", "/issues", {"title": "a target"})["number"])

    def words(self, name: str, issue: int) -> str:
        """A hostile text that aims at an issue."""
        text = str(TEXTS[name]["text"])
        aims = {"person": self.person.name, "issue": issue, "repo": self.repository.full_name, "url": self.server.url}
        for key, value in aims.items():
            text = text.replace(f"{{{key}}}", str(value))
        return text

    def git(self, *words: str, text: str = "") -> str:
        argv = ["git", "-c", "user.name=bot", "-c", "user.email=bot@test.example", "-C", self.home, *words]
        done = subprocess.run(argv, input=text, capture_output=True, encoding="utf-8", timeout=60, check=True)
        return done.stdout.strip()

    def chain(self, messages: Iterable[str]) -> None:
        """Push commits with these messages to `main`."""
        self.git("fetch", "-q", "origin")
        tip, tree = "origin/main", self.git("rev-parse", "origin/main^{tree}")
        for message in messages:
            tip = self.git("commit-tree", tree, "-p", tip, text=message)
        self.git("push", "-q", "origin", f"{tip}:refs/heads/main")

    def commit(self, path: str, message: str) -> str:
        """A commit on top of `main` with a message as it stands; gives its id."""
        (self.home / path).write_text(path, encoding="utf-8")
        self.git("add", path)
        tree = self.git("write-tree")
        self.git("rm", "-q", "--cached", path)
        return self.git("commit-tree", tree, "-p", "origin/main", text=message)

    def runs(self, commit: str, event: str) -> int:
        """How many runs of the workflow a commit has."""
        found = self.repository.call("GET", f"/actions/runs?head_sha={commit}&event={event}")
        return int(found["total_count"])

    def mentions(self) -> int:
        """How often the person was told of something."""
        return len(self.server.call("GET", "/notifications?all=true", by=self.person))

    def referred(self, issue: int) -> bool:
        """Whether something refers to an issue."""
        timeline = self.repository.call("GET", f"/issues/{issue}/timeline") or ()
        return any(one["type"] in _REFERENCES for one in timeline)

    def is_open(self, issue: int) -> bool:
        return bool(self.repository.call("GET", f"/issues/{issue}")["state"] == "open")

    def times(self, issue: int) -> int:
        """How many times were booked on an issue."""
        try:
            return len(self.repository.call("GET", f"/issues/{issue}/times") or ())
        except GiteaRefusedError:
            return 0
