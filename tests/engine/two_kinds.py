"""Requests over two deliveries and two stages: a repository, two JSON worlds, an engine, and who delivers for others.

One deploy changes four things. Stage one: `first`, which we write, and `second`, which others deliver. Stage two:
`third`, which we write and which needs `second` to be there, and `fourth`, which others deliver. What becomes of each
stands in the version: `2.0.0-fourth-broken` is a version whose `fourth` does not come up (see `drivers.json_world`),
`held` keeps what stage one made.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from contextvars import ContextVar
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import policy_texts
from drivers.json_world import KIND, SCOPE, JsonWorld, body, deliveries
from engine.ledger_fixture import DOCS
from forge_world import ForgeWorld

from infra_mcp.actions.base import Look
from infra_mcp.actions.registry import EDITS
from infra_mcp.engine.engine import Engine
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import END, Request, Submission
from infra_mcp.model.target import Target
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.actions.base import About
from infra_mcp.policy.policy import digest_of
from infra_mcp.policy.systems import SCOPES
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import Edit, Goal, Location, PutFile, SetValue
from infra_mcp.repository.value import Tree
from infra_mcp.settings import Settings

__all__ = ["APPROVAL", "NEW", "OLD", "PAT", "STAGES", "THINGS", "Ground", "register", "target", "until"]

PAT = Caller(name="pat", circle=None, strength="token", operator=True)
OLD, NEW = "1.0.0", "2.0.0"
STAGES = (
    {"first": "own/first.json", "second": "others/second.json"},
    {"third": "own/third.json", "fourth": "others/fourth.json"},
)
THINGS = {name: path for stage in STAGES for name, path in stage.items()}
NEEDS = {"third": "told/second"}
MADE = ("second", "third")  # the others are there before
POLICY = (
    """
[[tree.roots]]
path = "own"
delivery = "kubernetes"
[[tree.roots]]
path = "others"
delivery = "external"
[clusters.here]
context = "none"
"""
    + policy_texts.DOCS
)
PROPOSING = """
[tree]
write = "pull-request"
[forge]
kind = "gitea"
poll = "1s"
"""
APPROVAL = """
[[rules]]
id = "one"
match = { namespaces = ["docs-*"] }
require = { approvals = 1, by = "operator", strength = "same-user" }
"""


_UNDER: ContextVar[str] = ContextVar("under", default="")  # the folder of the engine whose task this is


async def _edit(look: Look, action: Deploy) -> tuple[Edit, ...]:
    edits, tree = [], look.tree
    for number, things in enumerate(STAGES, 1):
        stage = {name: _UNDER.get() + path for name, path in things.items()}
        held = number == 1 and "held" in action.version
        goal = Goal(f"{action.version}, stage {number}", on_failure="hold" if held else "rollback", timeout=20.0)
        edit = _stage(tree, stage, action.version, goal)
        edits.append(edit)
        tree = edit.tree
    return tuple(edits)


def _stage(tree: Tree, stage: dict[str, str], version: str, goal: Goal) -> Edit:
    values, files, after = [], [], tree
    for name, path in stage.items():
        value, there = value_of(version, name), tree.read(path)
        if there is None:
            after = after.write(path, body(name, value=value, **_more(name)))
            files.append(PutFile(path=path))
        elif (before := json.loads(there)["data"]["value"]) != value:
            values.append(SetValue(path=path, field=("data", "value"), before=before, after=value))
    after = apply_edits(after, values)
    return Edit(after, goal, (*files, *values), tuple(Location(path=path) for path in stage.values()))


def value_of(version: str, name: str) -> str:
    """What a thing is to say by a version: `2.0.0`, or `2.0.0-broken` where the version names it."""
    number, *words = version.split("-")
    fates = [fate for thing, fate in pairwise(words) if thing == name]
    return "-".join([number, *fates])


def _more(name: str) -> dict[str, str]:
    return {"needs": NEEDS[name]} if name in NEEDS else {}


_SYSTEMS = ("json", "told")


def register(patch=None) -> None:
    """Let a deploy be what this module says, in a test or for good in a child process."""
    rules = replace(
        RULES["deploy"],
        writes=frozenset({KIND}),
        systems=frozenset(_SYSTEMS),
        about=lambda *_: About("here"),  # the plan alone says what is held
        is_about=lambda *_: True,
        effect_refusals=lambda *_: iter(()),
    )
    lines = [(EDITS, "deploy", _edit), (RULES, "deploy", rules)]
    lines += [(SCOPES, name, SCOPES["kubernetes"]) for name in _SYSTEMS]
    for registry, name, value in lines:
        if patch is None:
            registry[name] = value
        else:
            patch.setitem(registry, name, value)


class Ground:
    """A repository and a world that say the same, and what a test asks of them.

    Args:
        home: a folder; found again by another process, it is the same ground.
        pushes: whether the branch is at a remote, from where others deliver, and people's checkout is beside it.
        proposes: whether the remote is a forge's, and every change goes there as a pull request.
        under: the folder of the repository that is this engine's, with a slash; all of it where it is empty.
    """

    def __init__(self, home: Path, *, pushes: bool = False, proposes: bool = False, under: str = "") -> None:
        pushes = pushes or proposes
        self.home, self.repo, self.pushes, self.under = home, home / "repo", pushes, under
        self.proposes = proposes
        self.things = {name: under + path for name, path in THINGS.items()}
        self.branch = home / "origin.git" if pushes else self.repo
        self.world = JsonWorld(home / "world.json")
        self.delivers = anyio.Event()  # the deliverer of others waits for it
        self.delivers.set()
        self.settings = Settings(self.repo, home / "state", home / "kubeconfig")

    @property
    def policy(self) -> str:
        """Its infra.toml, as far as it is the same everywhere."""
        return POLICY.replace('path = "', f'path = "{self.under}')

    def make(self, more: str = "") -> None:
        """Lay it out."""
        self.repo.mkdir(parents=True)
        self.people("init", "-q", "-b", "main")
        for name, path in self.things.items():
            if name not in MADE:
                (self.repo / path).parent.mkdir(parents=True, exist_ok=True)
                (self.repo / path).write_bytes(body(name, value=OLD))
                self.world.put(name, {"value": OLD}, by="people")
        if self.pushes:
            more += PROPOSING if self.proposes else '[tree]\nwrite = "push"\n'
        self.settings.policy_file.write_text(self.policy + more, encoding="utf-8")
        self.people("add", "-A")
        self.people("commit", "-qm", "Begin")
        if self.pushes:
            self.people("clone", "-q", "--bare", str(self.repo), str(self.branch))
            self.people("remote", "add", "origin", str(self.branch))
        self.forge = ForgeWorld(self.branch)

    def git(self, *words: str) -> str:
        """Git where the branch is."""
        return self._git(self.branch, *words)

    def people(self, *words: str) -> str:
        """Git in people's checkout."""
        return self._git(self.repo, *words)

    @staticmethod
    def _git(at: Path, *words: str) -> str:
        named = ["-c", "user.name=u", "-c", "user.email=u@localhost"]
        done = subprocess.run(["git", "-C", str(at), *named, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def live(self) -> dict[str, str | None]:
        """What every thing says."""
        return {name: (self.world.data(name) or {}).get("value") for name in THINGS}

    def in_git(self) -> dict[str, str | None]:
        """What the head of the branch says of every thing."""
        listed = self.git("ls-tree", "-r", "--name-only", "HEAD").splitlines()
        return {
            name: json.loads(self.git("show", f"HEAD:{path}"))["data"]["value"] if path in listed else None
            for name, path in self.things.items()
        }

    def subjects(self) -> list[str]:
        """The commits since the beginning, the first first."""
        return self.git("log", "--reverse", "--format=%s").splitlines()[1:]

    def doubled(self) -> list[object]:
        """Writes of a request that were made twice."""
        every = self.world.writes()
        return [one for one in set(every) if every.count(one) > 1 and one[0].startswith("req")]

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Rows of the ledger, read by nothing but SQLite."""
        file = f"file:{self.settings.state_dir / 'ledger.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(file, uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    def newest(self) -> str:
        """The id of the newest request."""
        return str(self.rows("SELECT id FROM requests ORDER BY position DESC LIMIT 1")[0]["id"])

    def record(self, request: str) -> dict[str, Any]:
        """What a restart would know of a request."""
        (row,) = self.rows("SELECT record FROM requests WHERE id = ?", request)
        return dict(json.loads(row["record"]))

    def kinds(self, request: str) -> list[str]:
        """The kinds of a request's events, oldest first."""
        return [row["kind"] for row in self.rows("SELECT kind FROM events WHERE request = ? ORDER BY seq", request)]

    @asynccontextmanager
    async def engine(self, *, deliverer: bool = True, without: str = "") -> AsyncIterator[Engine]:
        """An engine on it, `without` one of its drivers, and beside it who delivers what others deliver."""
        _UNDER.set(self.under)
        pin = digest_of(self.settings.policy_file.read_text(encoding="utf-8"))
        async with anyio.create_task_group() as group:
            if deliverer:
                group.start_soon(self.deliver)
            try:
                known = {name: one for name, one in deliveries(self.home).items() if name != without}
                async with Engine.open(self.settings, policy_pin=pin, deliveries=known) as engine:
                    yield engine
            finally:
                group.cancel_scope.cancel()

    async def deliver(self) -> None:
        """Make live what the branch says below `others`, whenever it moves."""
        done = ""
        head = self.branch / ("" if self.pushes else ".git") / "refs" / "heads" / "main"
        while True:
            await self.delivers.wait()
            # A bare clone's ref is packed until its first move.
            if (now := head.read_text(encoding="utf-8") if head.exists() else "") != done:
                await anyio.to_thread.run_sync(self.delivered)
                done = now
            await anyio.sleep(0.005)

    def delivered(self, only: str = "") -> None:
        """Make what others deliver say what the head of the branch says; one thing of it, or all."""
        for name, path in self.things.items():
            if THINGS[name].startswith("own/") or only not in ("", name):
                continue
            listed = self.git("ls-tree", "--name-only", "HEAD", "--", path)
            wanted = json.loads(self.git("show", f"HEAD:{path}"))["data"] if listed else None
            if self.world.data(name) != wanted:
                self.world.put(name, wanted, by="deliverer")

    @staticmethod
    async def submit(engine: Engine, version: str = NEW, **more: object) -> Request:
        """Ask for a version."""
        action = Deploy(app="docs", version=version)
        taken = await engine.submit(Submission(caller=DOCS, action=action, channel="tool", **more))
        return taken.request

    async def ask(self, engine: Engine, version: str = NEW, **more: object) -> Request:
        """Ask for a version, and wait for the end."""
        return await self.end(engine, await self.submit(engine, version, **more))

    @staticmethod
    async def end(engine: Engine, request: Request) -> Request:
        """A request at its end, or where it waits for people."""
        found = await engine.wait(request.id, 60.0)
        assert found.state in END or found.state.value == "awaiting_approval", engine.progress(request.id)
        return found


def target(name: str) -> Target:
    """A thing as plans name it."""
    system = "json" if THINGS[name].startswith("own/") else "told"
    return Target(system=system, place="here", scope=SCOPE, kind=KIND, name=name)


async def until(so: Callable[[], object]) -> None:
    """Wait until something is so."""
    with anyio.fail_after(30):
        while not so():  # noqa: ASYNC110 - files and rows give no events
            await anyio.sleep(0.005)
