"""The one place where a typed action enters the engine, whatever words or form it came in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from infra_mcp.errors import InfraError

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.ledger.records import Accepted, AskIn
    from infra_mcp.model.request import Submission

__all__ = ["enter", "now", "peer_name"]


def now() -> str:
    """The time, as the ledger writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def peer_name(engine: Engine) -> str:
    """The name asks are sent to: the policy's, or `infra` while no policy is in force."""
    try:
        return engine.policy.current().peer.name
    except InfraError:
        return "infra"


async def enter(engine: Engine, submission: Submission, ask: AskIn | None = None) -> Accepted:
    """Hand a submission to the engine, whole or not at all: a client that goes away changes nothing from here on.

    Raises:
        InfraError: `idempotency-conflict`, `ledger-unavailable`, `invalid-argument`.
    """
    with anyio.CancelScope(shield=True):
        accepted = await engine.submit(submission, ask)
    return accepted  # noqa: RET504 - not inside: to a type checker the scope could swallow it
