"""Lists of peers, with their descriptions.

A peer sees its own circle and the infra peer by default, and names and descriptions of other circles on request (see
`addresses`). "Online" means that it called this server lately; nothing depends on it. A description is in quotes, so
that it cannot look like another row or a heading.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from infra_mcp.errors import InfraError
from infra_mcp.mesh.addresses import peer_name
from infra_mcp.text import cell, one_line

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.model.peer import Caller

# Repowire's header, so that what reads its list reads ours.
HEADER = (
    "peer_id\tname\tproject\tcircle\trole\tstatus\tpath\tmachine\tdescription\tbackend\tlast_seen\tturn_state\tmodel"
)

MAX_DESCRIPTION = 500  # characters of a description
_MAX_BYTES = 18_000  # bytes of a table, as JSON
_utc = partial(datetime.now, UTC)


class Presence:
    """The last call of each peer to this process; a peer is online for so long after it. Tests give their own clock."""

    def __init__(self, online: timedelta = timedelta(minutes=5), clock: Callable[[], datetime] = _utc) -> None:
        self._online, self._clock = online, clock
        self._seen: dict[tuple[str, str | None], datetime] = {}

    def seen(self, caller: Caller) -> None:
        """Note a call of this peer."""
        self._seen[caller.name, caller.circle] = self._clock()

    def status(self, name: str, circle: str | None) -> str:
        """`online` or `offline`."""
        last = self._seen.get((name, circle))
        return "online" if last is not None and self._clock() - last < self._online else "offline"

    def last(self, name: str, circle: str | None) -> str:
        """The time of its last call, or nothing."""
        last = self._seen.get((name, circle))
        return last.isoformat(timespec="seconds").replace("+00:00", "Z") if last is not None else ""


class Table(NamedTuple):
    """Lines below Repowire's header, and the number of peers that did not fit."""

    text: str
    not_shown: int


def _row(name: str, circle: str, role: str, *, status: str, description: str, last: str) -> str:
    cells = (name, name, "", circle, role, status, "", "", cell(description), "infra-mcp", last, "", "")
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
) -> Table:
    """The peers that this caller may list, as tab-separated lines below Repowire's header.

    Args:
        engine: for ledger and policy.
        presence: for the last calls.
        caller: the reader.
        show_offline: also peers that did not call lately.
        include_self: also the caller.
        circle: peers of this circle; `*` for all; None for the caller's own circle, or all without one.
    """
    everywhere = circle == "*" or (circle is None and caller.circle is None)
    wanted = caller.circle if circle is None else circle
    rows = [_infra(engine)] if circle in {None, "*", peer_name(engine)} and not caller.attendant else []
    for peer in sorted(
        await engine.ledger.peers(), key=lambda one: (one.circle != caller.circle, one.circle, one.name)
    ):
        if peer.role != "agent" or not (everywhere or peer.circle == wanted):
            continue
        itself = (peer.name, peer.circle) == (caller.name, caller.circle)
        status = presence.status(peer.name, peer.circle)
        if (include_self or not itself) and (show_offline or status == "online"):
            shown = own_description(engine, caller) if itself else peer.description
            # Only its own circle, and callers without one, see the time of its last call.
            last = presence.last(peer.name, peer.circle) if caller.circle in {None, peer.circle} else ""
            rows.append(_row(peer.name, peer.circle, "agent", status=status, description=shown, last=last))
    left = _MAX_BYTES
    for kept, row in enumerate(rows):
        left -= len(json.dumps(row, ensure_ascii=False).encode())  # as it is in the data, with its tabs escaped
        if left < 0:
            more = f"# {len(rows) - kept} more not shown; name a circle to see fewer"
            return Table("\n".join([HEADER, *rows[:kept], more]), len(rows) - kept)
    return Table("\n".join([HEADER, *rows]), 0)


async def me(engine: Engine, presence: Presence, caller: Caller) -> str:
    """The header and the caller's own line."""
    if caller.attendant:
        return f"{HEADER}\n{_infra(engine)}"
    role = "human" if caller.operator else "reader" if caller.reader else "agent"
    row = _row(
        caller.name,
        caller.circle or "",
        role,
        status="online",
        description=own_description(engine, caller),
        last=presence.last(caller.name, caller.circle),
    )
    return f"{HEADER}\n{row}"


def own_description(engine: Engine, caller: Caller) -> str:
    """The caller's description as it was sent, empty after a restart.

    Not the ledger's masked text: it would tell the caller whether a guess equals a secret.
    """
    return engine.ledger.identities.described.get((caller.name, caller.circle or ""), "")


async def describe(engine: Engine, caller: Caller, description: str) -> str:
    """Set the caller's description, one line, which others see with secrets masked; returns the line.

    Raises:
        InfraError: `invalid-argument`, when it is too long or the caller is no peer of a circle.
    """
    if caller.circle is None:
        what = "Only a peer of a circle has a description of its own; infra's is in the policy."
        raise InfraError("invalid-argument", what, next_step="Call it as a peer.")
    line = one_line(description, 2 * MAX_DESCRIPTION)
    line = engine.masker.sparing(line).mask(line)  # by the rules alone: it goes back to its sender
    if len(line) > MAX_DESCRIPTION:
        raise InfraError("invalid-argument", f"description: longer than {MAX_DESCRIPTION} characters.")
    await engine.ledger.set_description(caller.name, line, caller.circle)
    engine.ledger.identities.described[caller.name, caller.circle] = line
    return line
