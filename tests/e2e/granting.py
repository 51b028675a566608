"""A scenario whose circle has more keys, and what a guardrail's refusal must be."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from e2e.scenario import Scenario

__all__ = ["Granting", "refused_by"]


@dataclass
class Granting(Scenario):
    """A scenario whose circle has more keys."""

    grants: str = ""

    def write_policy(self, more: str) -> None:
        """Write infra.toml, with the circle's keys."""
        text = self.cluster_setup.policy(more)
        mark = 'labels = ["team", "turn"]\n'
        assert text.count(mark) == 1
        self.settings.policy_file.write_text(text.replace(mark, f"{mark}{self.grants}\n"), encoding="utf-8")

    async def grant(self, grants: str) -> None:
        """Give the circle more, as an operator does at the running server."""
        self.grants = grants
        await self.accept_policy(self.apps())


async def refused_by(scenario: Scenario, reply: Awaitable[Any], rule: str) -> Any:
    """The answer of a tool that a rule refuses, with nothing committed."""
    head = scenario.git("rev-parse", "HEAD")
    given = await reply

    assert not given.ok, given.text
    assert f"(rule {rule})" in given.text, given.text
    assert given.data["error"]["code"] == "policy-denied"
    assert scenario.git("rev-parse", "HEAD") == head
    return given
