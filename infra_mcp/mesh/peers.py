"""Peers as others see them: who is there, and what they say of themselves.

A peer sees its own circle and the infra peer; the operator sees all. "Online" means heard from lately by this server:
callers without a session have no other sign of life, and nothing depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from infra_mcp.errors import InfraError
from infra_mcp.mesh.intake import peer_name

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.model.peer import Caller

__all__ = ["HEADER", "Presence", "describe", "me", "table"]

# Repowire's header, so that what reads its list reads ours.
HEADER = (
    "peer_id\tname\tproject\tcircle\trole\tstatus\tpath\tmachine\tdescription\tbackend\tlast_seen\tturn_state\tmodel"
)

LONGEST = 500  # characters of a description
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def _utc() -> datetime:
    return datetime.now(UTC)


class Presence:
    """When each peer was last heard from by this process.

    Args:
        online: how long after a call a peer counts as online.
        clock: tells the time; tests give their own.
    """

    def __init__(self, online: timedelta = timedelta(minutes=5), clock: Callable[[], datetime] = _utc) -> None:
        self._online = online
        self._clock = clock
        self._seen: dict[str, datetime] = {}

    def seen(self, name: str) -> None:
        """A call of this peer came in."""
        self._seen[name] = self._clock()

    def status(self, name: str) -> str:
        """`online` or `offline`."""
        last = self._seen.get(name)
        return "online" if last is not None and self._clock() - last < self._online else "offline"

    def last(self, name: str) -> str:
        """The time it was last heard from, or nothing."""
        last = self._seen.get(name)
        return last.isoformat(timespec="seconds").replace("+00:00", "Z") if last is not None else ""


def _row(name: str, circle: str, role: str, *, status: str, description: str, last: str) -> str:
    shown = _CONTROL.sub(" ", description)
    cells = (name, name, "", circle, role, status, "", "", shown, "infra-mcp", last, "", "")
    return "\t".join(cells)


def _infra(engine: Engine) -> str:
    try:
        description = engine.policy.current().peer.description
    except InfraError:
        description = "infra peer; no policy in force"
    name = peer_name(engine)
    return _row(name, name, "service", status="online", description=description, last="")


async def table(
    engine: Engine,
    presence: Presence,
    caller: Caller,
    *,
    show_offline: bool = False,
    include_self: bool = False,
    circle: str | None = None,
) -> str:
    """The peers this caller may see, as tab-separated lines under Repowire's header.

    Args:
        engine: for ledger and policy.
        presence: who was heard from.
        caller: who looks.
        show_offline: also peers not heard from lately.
        include_self: also the caller.
        circle: only peers of this circle; `*` and None: all the caller may see.
    """
    rows = [_infra(engine)] if circle in {None, "*", peer_name(engine)} else []
    for peer in sorted(await engine.ledger.peers(), key=lambda one: one.name):
        visible = caller.operator or peer.circle == caller.circle
        wanted = circle in {None, "*", peer.circle}
        shown = (show_offline or presence.status(peer.name) == "online") and (include_self or peer.name != caller.name)
        if visible and wanted and shown:
            status, last = presence.status(peer.name), presence.last(peer.name)
            rows.append(_row(peer.name, peer.circle, "agent", status=status, description=peer.description, last=last))
    return "\n".join([HEADER, *rows])


async def me(engine: Engine, presence: Presence, caller: Caller) -> str:
    """The caller as the server knows it: header and one line."""
    known = next((peer for peer in await engine.ledger.peers() if peer.name == caller.name), None)
    role = "human" if caller.operator else "agent"
    description = known.description if known else ""
    last = presence.last(caller.name)
    return "\n".join(
        [HEADER, _row(caller.name, caller.circle or "", role, status="online", description=description, last=last)]
    )


async def describe(engine: Engine, caller: Caller, description: str) -> str:
    """Set what the caller says of itself, as one line, secrets masked.

    Returns:
        The text as stored.

    Raises:
        InfraError: `invalid-argument`, when it is too long or the caller is the operator, who is no peer.
    """
    if caller.operator:
        raise InfraError(
            "invalid-argument", "The operator is no peer and has no description.", next_step="Call it as a peer."
        )
    line = engine.masker.mask(_CONTROL.sub(" ", description).strip())
    if len(line) > LONGEST:
        raise InfraError("invalid-argument", f"description: longer than {LONGEST} characters.")
    await engine.ledger.set_description(caller.name, line)
    return line
