"""A notify to the infra peer, with the releases that policy found in it: all of it in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra_mcp.errors import InfraError
from infra_mcp.ledger import intake, messages, requests
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.records import Accepted, ReleaseIn
from infra_mcp.masking import Masker
from infra_mcp.model.budget import Budget
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import Request, State, Submission


@dataclass(frozen=True)
class Notify:
    """A notify that stands in the ledger, while its releases are taken in. Its text is masked already."""

    tx: Tx
    masker: Masker
    id: str
    sender: Caller
    text: str
    at: str
    budgets: Sequence[Budget] = ()

    def take_in(self, release: ReleaseIn) -> list[Accepted]:
        """Do what policy decided about a release; returns the request it became or repeats, if any."""
        if release.refusal is not None:
            return self._refuse(release.refusal)
        if release.same is not None:
            return self._again(release.same)
        return [] if release.submission is None else self._take(release.submission, release)

    def _take(self, submission: Submission, release: ReleaseIn) -> list[Accepted]:
        submission = submission.model_copy(update={"notify": self.id})
        known: dict[str, Any] = {"request_id": release.request_id, "ask": None, "at": self.at, "budgets": self.budgets}
        done = intake.accept(self.tx, self.masker, submission, **known)
        if isinstance(done, InfraError):
            self._send_outcome(str(done))  # its event is written already
            return []
        if not done.fresh:
            return self._again(done.request.id)
        for earlier in release.supersedes:
            self._supersede(earlier, done.request)
        return [done]

    def _supersede(self, earlier: str, by: Request) -> None:
        """End a request whose place a newer one takes, unless it has begun meanwhile."""
        waiting = requests.request(self.tx.connection, earlier)
        if waiting is None or waiting.state is not State.SCHEDULED:
            return
        what = f"{_release(waiting)} was superseded by {_release(by)} ({by.id}) before it began."
        error = InfraError("superseded", what)
        receipt = Receipt(
            request=earlier,
            state=State.SUPERSEDED,
            message=str(error),
            action=waiting.action.action,
            error=error.as_dict(),
        )
        requests.finish(self.tx, self.masker, earlier, receipt, {"by": by.id})

    def _again(self, same: str) -> list[Accepted]:
        """Note that a notify repeats a request, whose end is its outcome, too: sent at once if that has ended."""
        first = requests.request(self.tx.connection, same)
        if first is None:
            return []
        end = first.receipt["message"] if first.receipt is not None else None
        data = {"id": self.id} | ({} if end is None else {"outcome": end})
        self._append("notified-again", data, request=same, ask=first.ask)
        if end is not None:
            self._send_outcome(end, same)
        return [Accepted(request=first, ask_id=first.ask, fresh=False)]

    def _refuse(self, refusal: dict[str, str]) -> list[Accepted]:
        masked: dict[str, Any] = written(self.masker, refusal)
        error = InfraError(masked.get("code", "policy-denied"), masked.get("what", ""), next_step=masked.get("next"))
        self._append("refused", masked | {"id": self.id, "outcome": str(error)})
        self._send_outcome(str(error))
        return []

    def _append(self, kind: str, data: dict[str, Any], **about: str | None) -> None:
        append(self.tx, Entry(self.at, kind, self.sender.name, self.sender.circle, self.text, data, **about))

    def _send_outcome(self, text: str, request: str | None = None) -> None:
        """Send the sender the outcome; the newest event is the one that records it."""
        seq, sender = self.tx.head[0] if self.tx.head else 0, self.sender
        messages.outcome(self.tx, seq, self.id, Address(name=sender.name, circle=sender.circle), text, self.at, request)


def _release(request: Request) -> str:
    app, version = getattr(request.action, "app", None), getattr(request.action, "version", None)
    return f"{app} {version}" if app and version else request.id
