"""The ledger: one class, one transaction for each public write.

Nothing here changes the world outside the ledger's own files. When a write cannot be made durable it raises, and the
caller must not go on: no row, no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from infra_mcp.effects import effect
from infra_mcp.ledger.records import Accepted, Ask, AskIn, ChainReport, Event, Peer, SearchPage
from infra_mcp.masking import Masker
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Request, State, Submission

__all__ = ["Accepted", "Ask", "AskIn", "ChainReport", "Event", "Ledger", "Peer", "SearchPage"]


class Ledger:
    """The ledger of one server. Every text is masked before a row exists."""

    masker: Masker

    @classmethod
    async def open(cls, url: str, masker: Masker, *, busy_seconds: float = 5.0) -> Self: ...

    async def aclose(self) -> None: ...

    @effect("ledger.accept")
    async def accept(self, submission: Submission, *, request_id: str, ask: AskIn | None, now: str) -> Accepted: ...

    @effect("ledger.record")
    async def record(
        self,
        request_id: str,
        state: State,
        kind: str,
        data: dict[str, Any],
        *,
        record: dict[str, Any] | None = None,
        commit: str | None = None,
        revert: str | None = None,
        effect_digest: str | None = None,
    ) -> str: ...

    @effect("ledger.finish")
    async def finish(self, request_id: str, receipt: Receipt, data: dict[str, Any]) -> Receipt: ...

    @effect("ledger.note")
    async def note(self, kind: str, peer: str | None, data: dict[str, Any], *, circle: str | None = None) -> str: ...

    @effect("ledger.answer")
    async def answer(self, caller: Caller, ask: AskIn, message: str, kind: str, now: str) -> str: ...

    async def request(self, request_id: str) -> Request | None: ...

    async def open_requests(self) -> list[Request]: ...

    async def recent(self, circle: str | None, limit: int) -> list[Request]: ...

    async def ask(self, ask_id: str) -> Ask | None: ...

    async def undelivered(self, sender: str | None = None) -> list[Ask]: ...

    @effect("ledger.delivered")
    async def delivered(self, ask_id: str) -> None: ...

    async def search(
        self,
        query: str,
        *,
        circle: str | None,
        peer: str | None = None,
        namespace: str | None = None,
        object: str | None = None,  # noqa: A002 - the word users search by
        since: str | None = None,
        until: str | None = None,
        limit: int = 50,
    ) -> SearchPage: ...

    async def trail(self, request_id: str) -> list[Event]: ...

    async def verify(self, heads: Sequence[str]) -> ChainReport: ...

    async def head(self) -> str: ...

    @effect("ledger.peer.add")
    async def add_peer(self, name: str, circle: str) -> None: ...

    async def peers(self) -> list[Peer]: ...

    @effect("ledger.peer.remove")
    async def remove_peer(self, name: str) -> None: ...

    @effect("ledger.peer.describe")
    async def set_description(self, name: str, text: str) -> None: ...

    @effect("ledger.token.issue")
    async def issue_token(self, name: str) -> str: ...

    @effect("ledger.token.revoke")
    async def revoke_tokens(self, name: str) -> int: ...

    async def caller_for_token(self, token: str) -> Caller | None: ...

    @effect("ledger.policy")
    async def accept_policy(self, digest: str, text: str, by: str) -> None: ...

    async def accepted_policy(self) -> tuple[str, str] | None: ...

    async def key(self, name: str) -> bytes: ...
