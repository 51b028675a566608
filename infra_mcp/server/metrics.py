"""`GET /metrics`: the server in figures, in the text format of Prometheus (0.0.4), for operators and who may read it.

What ended is counted from the ledger's events, so nothing is counted twice or stored for it; the counters begin with
the process, as Prometheus expects. Labels have values of ours only: actions, states, codes, phases, channels.
"""

from __future__ import annotations

import hmac
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from anyio import to_thread
from starlette.responses import PlainTextResponse

from infra_mcp import __version__
from infra_mcp.clients.token_file import read_token
from infra_mcp.codes import CODES
from infra_mcp.engine.approvals import waiting_for
from infra_mcp.engine.run import utc
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.request import OPEN, Request, State
from infra_mcp.server.challenge import challenge
from infra_mcp.server.connections import REASONS
from infra_mcp.settings import metrics_readers
from infra_mcp.telemetry import BOUNDS, DURATIONS

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response

    from infra_mcp.server.tools.call import Service

_log = logging.getLogger(__name__)
PATH: Final = "/metrics"
_KIND: Final = "text/plain; version=0.0.4; charset=utf-8"
_OTHER: Final = "other"  # the label of a value that we did not define
_FORBIDDEN, _UNAVAILABLE = 403, 503


class _Family(NamedTuple):
    kind: str
    help: str


FAMILIES: Final = {
    "infra_mcp_build_info": _Family("gauge", "1, with the version as label."),
    "infra_mcp_requests_total": _Family("counter", "Requests that ended, by action and outcome."),
    "infra_mcp_requests_open": _Family("gauge", "Requests that have not ended, by state."),
    "infra_mcp_requests_at_work": _Family("gauge", "Requests that are worked on, or wait for their turn."),
    "infra_mcp_refused_total": _Family("counter", "Requests and calls that were refused or failed, by code."),
    "infra_mcp_decisions_total": _Family("counter", "Approvals, denials and bypasses that people gave."),
    "infra_mcp_approvals_waiting": _Family("gauge", "Requests that wait for an approval."),
    "infra_mcp_approvals_oldest_seconds": _Family("gauge", "For how long the oldest of them has waited; 0 for none."),
    "infra_mcp_people_needed": _Family("gauge", "Ended requests that a person must look at; at most 1000 are counted."),
    "infra_mcp_phase_seconds": _Family("histogram", "How long phases of requests took."),
    "infra_mcp_connections": _Family("gauge", "Open connections, by channel."),
    "infra_mcp_http_unauthenticated_total": _Family("counter", "HTTP requests that were answered with 401."),
    "infra_mcp_http_refused_total": _Family("counter", "HTTP requests that were refused before any tool, by reason."),
    "infra_mcp_ledger_events": _Family("gauge", "Events in the ledger."),
    "infra_mcp_ledger_bytes": _Family("gauge", "Size of the ledger's files."),
    "infra_mcp_cluster_reachable": _Family("gauge", "0 while a place that policy names cannot be reached, else 1."),
}
_MAX_PEOPLE: Final = 1_000


class _Sample(NamedTuple):
    family: str
    labels: dict[str, str]
    value: float
    suffix: str = ""


@dataclass
class Metrics:
    """The figures of one server.

    Args:
        service: what the channels share.
        seen: the number of the newest event when the server began.
    """

    service: Service
    seen: int
    _ends: Counter[tuple[str, str]] = field(default_factory=Counter)  # by action and outcome
    _codes: Counter[str] = field(default_factory=Counter)
    _decisions: Counter[str] = field(default_factory=Counter)

    async def text(self) -> str:
        """All of them.

        Raises:
            InfraError: `ledger-unavailable`.
        """
        engine = self.service.engine
        await self._count()
        states = await engine.ledger.open_states()
        parked = [one for one in await engine.ledger.parked() if one.state is State.AWAITING_APPROVAL]
        people = len(await engine.ledger.unresolved(_MAX_PEOPLE))
        size = await to_thread.run_sync(_size, engine.settings.state_dir)
        health = engine.health()
        samples = [
            _Sample("infra_mcp_build_info", {"version": __version__}, 1),
            *self._counted(),
            *(_Sample("infra_mcp_requests_open", {"state": one}, states.get(one, 0)) for one in sorted(OPEN)),
            _Sample("infra_mcp_requests_at_work", {}, health.get("open", 0)),
            _Sample("infra_mcp_approvals_waiting", {}, len(parked)),
            _Sample("infra_mcp_approvals_oldest_seconds", {}, _oldest(parked)),
            _Sample("infra_mcp_people_needed", {}, people),
            *_phases(),
            *(
                _Sample("infra_mcp_connections", {"channel": channel}, count)
                for channel, count in sorted(self.service.connections.by_channel().items())
            ),
            _Sample("infra_mcp_http_unauthenticated_total", {}, self.service.connections.unauthenticated),
            *(
                _Sample("infra_mcp_http_refused_total", {"reason": reason}, self.service.connections.refused[reason])
                for reason in REASONS
            ),
            _Sample("infra_mcp_ledger_events", {}, self.seen),
            _Sample("infra_mcp_ledger_bytes", {}, size),
            _Sample("infra_mcp_cluster_reachable", {}, int(bool(health.get("working")))),
        ]
        return _written(samples)

    async def _count(self) -> None:
        """Add what happened since the last look."""
        rows, self.seen = await self.service.engine.ledger.happened(self.seen)
        for row in rows:
            if row.kind == "finished":
                self._ends[_known(row.action, ACTIONS), _known(row.state, set(State))] += row.times
            if row.code:
                self._codes[_known(row.code, CODES)] += row.times
            if row.kind in {"approved", "denied", "bypassed"}:
                self._decisions[row.kind] += row.times

    def _counted(self) -> Iterator[_Sample]:
        for (action, outcome), count in sorted(self._ends.items()):
            yield _Sample("infra_mcp_requests_total", {"action": action, "outcome": outcome}, count)
        for code, count in sorted(self._codes.items()):
            yield _Sample("infra_mcp_refused_total", {"code": code}, count)
        for decision, count in sorted(self._decisions.items()):
            yield _Sample("infra_mcp_decisions_total", {"decision": decision}, count)


def _known(value: str | None, values: Mapping[str, object] | set[State]) -> str:
    return str(value) if value in values else _OTHER


def _oldest(parked: list[Request]) -> float:
    since = [datetime.fromisoformat(waiting.since) for one in parked if (waiting := waiting_for(one)) is not None]
    return max(0.0, (utc() - min(since)).total_seconds()) if since else 0.0


def _size(state_dir: Path) -> int:
    return sum(one.stat().st_size for one in state_dir.glob("ledger.sqlite3*") if one.is_file())


def _phases() -> Iterator[_Sample]:
    """A histogram for each phase: each bucket has also what the smaller ones have."""
    name = "infra_mcp_phase_seconds"
    for phase, took in sorted(DURATIONS.items()):
        bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
        for bound, count in zip(bounds, accumulate(took.counts), strict=True):
            yield _Sample(name, {"phase": phase, "le": bound}, count, "_bucket")
        yield _Sample(name, {"phase": phase}, took.total, "_sum")
        yield _Sample(name, {"phase": phase}, sum(took.counts), "_count")


def _written(samples: list[_Sample]) -> str:
    lines: list[str] = []
    for name, family in FAMILIES.items():
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
        for one in samples:
            if one.family == name:
                labels = ",".join(f'{key}="{value}"' for key, value in one.labels.items())  # none needs an escape
                lines.append(f"{name}{one.suffix}{f'{{{labels}}}' if labels else ''} {one.value:.15g}")
    return "\n".join(lines) + "\n"


def check_readers() -> None:
    """Refuse a setting that would let no one read the metrics, before the server begins.

    Raises:
        InfraError: `setup-failed`.
    """
    if (readers := metrics_readers()) not in {"", "open"}:
        read_token(Path(readers))


class MetricsDoor:
    """Answers `/metrics`: to an operator's token, and as the server was started to a file's, or to all on this machine.

    Args:
        metrics: the figures.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def answer(self, request: HttpRequest) -> Response:
        """Answer one request."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            given = token.strip() if kind.lower() == "bearer" else ""
            allowed = await self._may_read(given, is_here=request.state.is_here)
        except InfraError as error:
            return challenge(error, request.state.endpoint)
        if not allowed:
            return PlainTextResponse(
                "Metrics are for operators, and for who has the token of INFRA_MCP_METRICS.\n", _FORBIDDEN
            )
        try:
            return PlainTextResponse(await self._metrics.text(), media_type=_KIND)
        except InfraError as error:
            return PlainTextResponse(f"{error.what}\n", _UNAVAILABLE)

    async def _may_read(self, token: str, *, is_here: bool) -> bool:
        """Whether this token may; raises where it is none. Nothing is open to other machines."""
        readers = metrics_readers()
        if readers == "open":
            if is_here:
                return True
            readers = ""
        caller = await self._metrics.service.engine.ledger.caller_for_token(token) if token else None
        if caller is None and token and readers:
            try:
                own = await to_thread.run_sync(read_token, Path(readers))
            except InfraError as error:  # who calls learns nothing of files
                _log.warning("the token for metrics cannot be read: %s", error.what)
            else:
                if hmac.compare_digest(own.encode(), token.encode()):
                    return True
        if caller is None:
            raise InfraError("unauthenticated", "No valid token came with the call.")
        return caller.operator
