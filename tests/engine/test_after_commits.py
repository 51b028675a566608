"""What is remembered of a repository between commits is what a fresh process finds, whatever the commits change."""

from __future__ import annotations

import posixpath
import re
from random import Random

import anyio
import pytest
from repository.census.random_kustomize import repository
from repository.conftest import Files
from shapes import cells

from infra_mcp.actions.base import Look
from infra_mcp.actions.registry import EDITS
from infra_mcp.engine.reach import reach
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ACTIONS
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.builds import Builds
from infra_mcp.repository.census.others import others
from infra_mcp.repository.load import load

COMMITS = 25
SHAPES = sorted(folder.parent.name for folder in cells.HERE.glob("*/repo"))
LINK = "120000"


def _edited(random: Random, data: bytes, other: bytes) -> bytes:
    """A file that somebody changed: mostly its versions, also values that Python takes for equal, and its form."""
    text = data.decode("utf-8", "replace")
    version = re.compile(r"\d+\.\d+\.\d+")
    lines = text.splitlines(keepends=True) or [""]
    at = random.randrange(len(lines))
    changes = [
        lambda: version.sub(lambda _: f"{random.randint(1, 3)}.0.{random.randint(0, 9)}", text),
        lambda: f"{text}# a line more\n",
        lambda: re.sub(r"(?m): 1$", ": true", text) if ": 1\n" in text else re.sub(r"(?m): (?:true|\d)$", ": 1", text),
        lambda: re.sub(r"(?m)^( *name: \S+)$", rf"\g<1>{random.choice('ab')}", text, count=1),
        lambda: "".join(lines[:at] + lines[at + 1 :]),
        lambda: f"{text}\n---\n{other.decode('utf-8', 'replace')}",
    ]
    return random.choice(changes)().encode()


def _commit(random: Random, git: Files, first: dict[str, bytes]) -> None:
    """Change some files, as people do: edit, add, remove, move, link, and take it all back."""
    how = random.choice(["edit"] * 10 + ["copy", "beside", "remove", "link", "back"])
    path, other = random.choice(sorted(git.files)), random.choice(sorted(git.files))
    folder = posixpath.dirname(path)
    if how == "edit":
        for one in (path, other, *random.sample(sorted(git.files), min(3, len(git.files)))):
            git.files[one] = _edited(random, git.files[one], git.files[other])
    elif how == "copy":
        for one in [one for one in git.files if one.startswith(f"{folder}/")] or [path]:
            git.files[one.replace(folder, f"{folder}-more", 1) if folder else f"more-{one}"] = git.files[one]
    elif how == "beside":
        git.files[posixpath.join(folder, f"more-{posixpath.basename(path)}")] = git.files[path]
    elif how == "remove" and len(git.files) > 1:
        del git.files[path]
        git.modes.pop(path, None)
    elif how == "link":
        git.modes[path] = LINK
        git.files[path] = posixpath.relpath(
            random.choice([other, posixpath.dirname(other) or "."]), folder or "."
        ).encode()
    elif how == "back":
        git.files, git.modes = dict(first), {}


async def _found(git: Files, commit: str, chosen: int) -> tuple[object, ...]:
    """All that a commit holds, and what one change of it would write and reach."""

    async def absent(_):
        return None

    tree = await load(git, commit, (".",), "")
    look = Look("preview", "", Policy(), "", tree, absent)
    entries = [
        (
            *(one.delivery, one.root, one.by, sorted(one.files), one.cluster, one.trail, one.names, one.automated),
            *(sorted(one.composition.files), one.composition.unread, [repr(its.value) for its in one.objects]),
        )
        for one in look.census.entries
    ]
    units = [
        (str(one), one.path, one.trail, one.aliases, one.folders, repr(one.holds), repr(one.decides_replicas))
        for one in look.census.units
    ]
    objects = [(one.path, one.index, str(one.ref), repr(one.object)) for one in tree.objects()]
    instances = [one for several in look.census.apps.values() for one in several]
    found = (objects, entries, units, [(one.app, one.environment) for one in instances], others(look.census.index))
    if not instances:
        return found
    one = instances[chosen % len(instances)]
    try:
        environment = (one.environment or "").rpartition("/")[2] or None
        wanted = ACTIONS["deploy"](app=one.app, version="9.9.9", environment=environment)
        edit = await EDITS["deploy"](look, wanted)
        builds = Builds(renderer="/there/is/none")
        reached = await reach(Policy(), look.census, tree, edit, builds, "", required=False)
    except InfraError as error:
        return (*found, error.code, error.what, error.next_step)
    return (*found, edit.tree.changed, edit.notes, reached.reached, reached.files)


@pytest.mark.parametrize("name", [*SHAPES, *range(5)], ids=str)
def test_after_any_commits_a_plan_is_that_of_a_fresh_process(name):
    shape = cells.files(cells.HERE / name / "repo") if name in SHAPES else repository(name)
    git, random = Files(shape), Random(str(name))
    first = dict(git.files)
    for number in range(COMMITS):
        chosen = random.randrange(1000)
        fresh = Files(git.files, dict(git.modes))
        kept, alone = (anyio.run(_found, one, f"{number:040x}", chosen) for one in (git, fresh))
        for which, (ours, theirs) in enumerate(zip(kept, alone, strict=True)):
            assert ours == theirs, (number, which)
        _commit(random, git, first)
