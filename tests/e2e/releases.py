"""Worlds whose app is released by a notify, on a schedule of the test's choice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from e2e.cluster_setup import ClusterSetup
from e2e.scenario import Scenario

__all__ = ["READY", "catalogue", "closed", "freeze", "releasing", "waiting"]

READY = "release/{} merged, ready to deploy"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def catalogue(scenario: Scenario, schedule: str = "now", more: str = "") -> str:
    """The app catalogue of a scenario, with releases."""
    released = f'deploy_on = "{READY.format("{version}")}"\nschedule = "{schedule}"\n'
    return scenario.apps() + released + more


def closed() -> str:
    """A schedule that does not open today."""
    return f"{_DAYS[(datetime.now(UTC).weekday() + 3) % 7]} 10:00-11:00 UTC"


def freeze(**ahead: float) -> str:
    """A freeze that has begun, and ends so far ahead."""
    now = datetime.now(UTC)
    begins, until = now - timedelta(hours=1), now + timedelta(**ahead)
    return (
        f'[[freeze]]\nid = "launch"\nfrom = "{begins.isoformat()}"\nuntil = "{until.isoformat()}"\nreason = "launch"\n'
    )


@asynccontextmanager
async def releasing(
    cluster_setup: ClusterSetup, home: Path, schedule: str = "now", more: str = ""
) -> AsyncIterator[Scenario]:
    """A scenario whose app is released by a notify."""
    scenario = Scenario(cluster_setup, home)
    scenario.policy = catalogue(scenario, schedule, more)
    async with scenario:
        yield scenario


async def waiting(scenario: Scenario, by: str = "docs") -> list[dict[str, Any]]:
    """What `status` shows to a peer as waiting."""
    shown = await scenario.tool("status", by=by)
    assert shown.ok, shown.text
    return list(shown.data["waiting"])
