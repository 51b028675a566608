"""The pages there are, and what each of them may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from infra_mcp.errors import InfraError
from infra_mcp.model.request import State

if TYPE_CHECKING:
    from infra_mcp.dashboard.sessions import Session
    from infra_mcp.engine import Engine
    from infra_mcp.ledger.store import Ledger
    from infra_mcp.server.operator import Operator
    from infra_mcp.server.tools.call import Service


@dataclass(frozen=True)
class Page:
    """One page: its module in `pages`, which has `read` and perhaps `decide`; its template has the same name."""

    module: str
    title: str
    listed: bool = True  # in the navigation


# By address; a star stands for a name.
PAGES: Final[dict[str, Page]] = {
    "needs-you": Page("needs_you", "Needs you"),
    "apps": Page("apps", "Apps"),
    "trail": Page("trail", "Trail"),
    "peers": Page("peers", "Peers"),
    "waiting": Page("waiting", "Schedules"),
    "policy": Page("policy", "Policy"),
    "chain": Page("chain", "Ledger", listed=False),
    "requests/*": Page("request", "Request", listed=False),
    "requests/*/approval": Page("approval", "Approval", listed=False),
}


@dataclass(frozen=True)
class Look:
    """One look at a page: whose session, and when."""

    service: Service
    operator: Operator
    session: Session
    now: datetime
    clock: float  # the same by the sessions' clock
    path: str  # the page's address below the session's
    query: Mapping[str, str]

    @property
    def engine(self) -> Engine:
        """The engine."""
        return self.service.engine

    @property
    def ledger(self) -> Ledger:
        """The ledger."""
        return self.service.engine.ledger

    async def frame(self, page: Page) -> dict[str, Any]:
        """What stands around every page: navigation, whose session it is, and the ledger's newest event."""
        seq, head = await self.ledger.newest()
        parked = await self.ledger.parked()
        home = f"/dashboard/{self.session.key}/"
        caller = self.session.caller
        try:
            peer = self.engine.policy.current().peer.name
        except InfraError:
            peer = "infra"
        frame = {
            "module": page.module,
            "here": self.path,
            "nav": [
                {"to": address, "title": one.title, "here": one is page} for address, one in PAGES.items() if one.listed
            ],
            "peer": peer,
            "operator": caller.name,
            "strength": caller.strength,
            "waiting": sum(one.state is State.AWAITING_APPROVAL for one in parked),
            "seq": seq,
            "head": head,
        }
        return {"frame": frame, "title": page.title, "home": home, "now": self.now.isoformat()}

    def forms(self, values: dict[str, Any]) -> dict[str, Any]:
        """The token of the page's form, where it decides about an effect. No JSON twin has one."""
        about = values.get("decides")
        if not about:
            return {"form": ""}
        return {"form": self.session.token(about["request"], about["digest"], self.clock)}
