"""What a change would do to the files of a checkout, and what it would reach: no server, cluster or accepted policy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anyio import to_thread

from infra_mcp.actions.base import Look, census_of
from infra_mcp.actions.registry import EDITS
from infra_mcp.clients.git import Git
from infra_mcp.drivers.registry import DELIVERIES
from infra_mcp.engine.apps import listed
from infra_mcp.engine.reach import reach
from infra_mcp.engine.run import tree_of
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ActionModel
from infra_mcp.model.effect import Effect, Reached
from infra_mcp.model.target import Target
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.guard.unrendered import requirement, unrendered
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.policy import load as load_policy
from infra_mcp.repository.builds import Builds
from infra_mcp.repository.census.others import others
from infra_mcp.repository.edits import Edit
from infra_mcp.repository.load import load
from infra_mcp.repository.rebase import file_changes
from infra_mcp.repository.value import Tree


async def preview(
    repo: Path, action: ActionModel, git: Git | None = None, builds: Builds | None = None
) -> dict[str, Any]:
    """Plan an action on the commit that is checked out, as far as the repository alone says. Writes nothing.

    Args:
        repo: the top of a checkout. Its infra.toml, as it is there, is the policy; without one the default is.
        action: what is asked.
        git: the same repository, opened: what was read of it is remembered.
        builds: builds kustomizations: what was built of the same files is remembered.

    Returns:
        `action`, `changed`, `files` (path, operation, diff, and the whole new content), `instance`, `reach`,
        `unrendered` (what cannot be rendered here, and `approval`: whether it would need one), `notes`.

    Raises:
        InfraError: what the edit ends in, such as `not-found`; `policy-invalid`; `git-failed`.
    """
    async with opened(repo, git, place=lambda policy: RULES[action.action].about(policy, action).place) as (
        policy,
        tree,
    ):
        about = RULES[action.action].about(policy, action)
        look = Look("preview", _circle(policy, action), policy, about.place, tree, _absent)
        made = await EDITS[action.action](look, action)
        edits = made if isinstance(made, tuple) else (made,)
        used = builds or Builds()
        found = [await reach(policy, look.census, tree, one, used, look.place, required=False) for one in edits]
        return await to_thread.run_sync(_shown, look, action, edits, [r for one in found for r in one.reached])


async def apps(repo: Path, git: Git | None = None) -> dict[str, Any]:
    """The apps of the commit that is checked out, as in `engine.apps.listed`.

    Raises:
        InfraError: `policy-invalid`; `git-failed`.
    """
    async with opened(repo, git) as (policy, tree):
        census = census_of(policy, tree)
        return await to_thread.run_sync(
            lambda: {"apps": listed(census, policy), "others": [asdict(one) for one in others(census.index)]}
        )


@asynccontextmanager
async def opened(
    repo: Path, git: Git | None = None, *, staged: str | None = None, place: Callable[[Policy], str] | None = None
) -> AsyncIterator[tuple[Policy, Tree]]:
    """The policy file of a checkout, or the default policy, and the commit that is checked out.

    Args:
        repo: the top of a checkout.
        git: the same repository, opened: what was read of it is remembered.
        staged: the id of a tree, where there is no commit yet.
        place: gives the cluster whose objects are meant; None for those of all roots.

    Raises:
        InfraError: `policy-invalid`; `git-failed`.
    """
    with TemporaryDirectory() as scratch:
        used = git or Git(repo, Path(scratch, "lock"))
        try:
            policy = await to_thread.run_sync(_policy, repo)
            commit = staged or await used.commit("HEAD")
            if place is not None and (cluster := place(policy)):
                yield policy, await tree_of(used, policy, commit, cluster)
            else:
                of_objects = [root.path for root in policy.tree.roots if root.holds_objects]
                plain = [root.path for root in policy.tree.roots if not root.holds_objects]
                yield policy, await load(used, commit, of_objects, "", plain)
        finally:
            if git is None:
                await used.aclose()


def _policy(repo: Path) -> Policy:
    try:
        return load_policy((repo / "infra.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Policy()
    except (OSError, UnicodeDecodeError):
        raise InfraError("policy-invalid", "infra.toml cannot be read.") from None


def _circle(policy: Policy, action: ActionModel) -> str:
    """The first circle that may work in all namespaces of an action, for a preview is of no one; else empty."""
    named = [getattr(one, "namespace", None) for one in action.steps_of]
    namespaces = sorted({one for one in named if isinstance(one, str)})
    if not namespaces:
        return ""
    for name in sorted(policy.circles):
        if all(policy.reaches(name, one) for one in namespaces):
            return name
    what = f"No circle of infra.toml has namespace {' and '.join(namespaces)}."
    raise InfraError("not-found", what, next_step="Grant it: [circles.NAME] namespaces.")


async def _absent(_: Target) -> None:
    """No cluster is asked."""


def _shown(look: Look, action: ActionModel, edits: tuple[Edit, ...], reached: list[Reached]) -> dict[str, Any]:
    last = edits[-1]
    changes = file_changes(look.tree, last.tree, 0)
    effect = Effect(action={}, parts=(), files=changes, reach=tuple(reached))
    files = [
        {
            "path": one.path,
            "operation": one.operation,
            "diff": one.diff,
            "content": (last.tree.read(one.path) or b"").decode("utf-8", "replace"),
        }
        for one in changes
    ]
    return {
        "action": action.model_dump(mode="json", exclude_none=True),
        "title": "; ".join(dict.fromkeys(edit.goal.title for edit in edits)),
        "changed": bool(files),
        "files": files,
        "instance": edits[0].instance.model_dump(mode="json") if edits[0].instance else None,
        "reach": [one.model_dump(mode="json") for one in reached],
        "unrendered": [str(one) for one in unrendered(effect, DELIVERIES)],
        "approval": any(requirement(look.policy, (), action, effect, DELIVERIES)),
        "notes": [note for edit in edits for note in edit.notes],
    }
