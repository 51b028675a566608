"""Evidence by a forge: a check run or commit status, or a deployment, of our commit, by the account that policy names.

One that another account set says nothing, whatever its name: anybody who may write a commit status could confirm a
change otherwise.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import anyio
from pydantic import JsonValue

from infra_mcp.clients.forge.forge import Check as CommitCheck
from infra_mcp.clients.forge.forge import Deployment as CommitDeployment
from infra_mcp.clients.forge.forge import Forge
from infra_mcp.drivers.base import Context
from infra_mcp.drivers.external.evidence import Seen, poll
from infra_mcp.errors import InfraError
from infra_mcp.policy.evidence import CheckRules, DeploymentRules
from infra_mcp.text import named, quoted

_LONGEST_PAUSE: Final = 15.0  # seconds between two looks: a forge bounds how often it may be asked
News = Callable[[], AbstractContextManager[anyio.Event]]
_SHORT: Final = 12  # characters of a commit's id


@dataclass(frozen=True)
class _OfCommit:
    """What a forge keeps of one commit."""

    forge: Callable[[], Awaitable[Forge]]

    async def before(self, _: Context) -> JsonValue:
        """Nothing: it is of our commit, which is not there yet. The forge must be there."""
        await self.forge()
        return None

    def fresh(self, _: JsonValue) -> bool:
        """Always: it is of one commit."""
        return True


@dataclass(frozen=True)
class Check(_OfCommit):
    """A check run or commit status."""

    rules: CheckRules
    news: News | None = None

    @property
    def shown(self) -> str:
        """For people."""
        return f"check {named(self.rules.name)} by {self.rules.by}"

    async def holds(self, context: Context, _: JsonValue, seconds: float) -> str:
        """Wait until it succeeds for our commit, or fails."""
        before_merge = self.rules.applies == "before-merge"
        return await self._succeeds(context, context.head if before_merge else context.commit, seconds)

    async def gone(self, context: Context, _: JsonValue, seconds: float) -> str:
        """Wait until it succeeds for the revert."""
        return await self._succeeds(context, context.commit, seconds) if context.commit else ""

    async def _succeeds(self, context: Context, commit: str, seconds: float) -> str:
        async def look() -> Seen:
            found = [one for one in await (await self.forge()).checks(commit) if one.name == self.rules.name]
            return _judged(self.shown, commit, [(one, one.by == self.rules.by) for one in found])

        return await poll(self.shown, look, seconds, context.say, _LONGEST_PAUSE, self.news)


@dataclass(frozen=True)
class Deployment(_OfCommit):
    """A deployment to an environment."""

    rules: DeploymentRules
    news: News | None = None

    @property
    def shown(self) -> str:
        """For people."""
        return f"deployment to {named(self.rules.environment)} by {self.rules.by}"

    async def holds(self, context: Context, _: JsonValue, seconds: float) -> str:
        """Wait until the deployment of our commit succeeds, or fails."""

        async def look() -> Seen:
            made = await (await self.forge()).deployments(context.commit)
            found = [one for one in made if one.environment == self.rules.environment]
            return _judged(self.shown, context.commit, [(one, one.by == self.rules.by) for one in found])

        return await poll(self.shown, look, seconds, context.say, _LONGEST_PAUSE, self.news)

    async def gone(self, context: Context, before: JsonValue, seconds: float) -> str:
        """Wait until the deployment of the revert succeeds."""
        return await self.holds(context, before, seconds) if context.commit else ""


def _judged(shown: str, commit: str, found: Sequence[tuple[CommitCheck | CommitDeployment, bool]]) -> Seen:
    """What the newest word of the right account says; those of others are named, and say nothing.

    Raises:
        InfraError: `not-landed`: it failed.
    """
    short = commit[:_SHORT]
    mine = [one for one, is_right in found if is_right]
    if not mine:
        others = ", ".join(dict.fromkeys(named(one.by) for one, _ in found))
        return Seen(False, f"only {others} set it for {short}" if others else f"it is not set for {short} yet")
    newest = max(mine, key=lambda one: one.set_at)
    said = (f": {quoted(newest.text)}" if newest.text else "") + (f" ({newest.url})" if newest.url else "")
    if newest.state == "failure":
        raise InfraError("not-landed", f"{shown} failed for {short}{said}.")
    if newest.state == "pending":
        return Seen(False, f"it is pending for {short}{said}")
    return Seen(True, f"{shown} succeeded for {short}")
