"""A notify to the infra peer, with the releases that policy found in it: all of it in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra_mcp.errors import InfraError
from infra_mcp.ledger import intake, messages, requests
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.message_digests import MessageDigests
from infra_mcp.ledger.records import Accepted, ReleaseIn
from infra_mcp.masking import Masker
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import Request, State


@dataclass(frozen=True)
class Notify:
    """A notify on its way in, its words masked already."""

    sender: Caller
    infra: Address
    text: str
    releases: tuple[ReleaseIn, ...]
    at: str

    @property
    def back(self) -> Address:
        """Where what comes of it is told."""
        return Address(name=self.sender.name, circle=self.sender.circle)


def notified(tx: Tx, masker: Masker, words: MessageDigests, given: Notify) -> tuple[str, list[Accepted]]:
    """Keep the notify and do what policy made of it. Returns its id, and what was taken in or is repeated."""
    notify = messages.post(tx, words, given.sender, [given.infra], given.text, "notify", given.at)
    if given.releases:
        messages.handled(tx, notify, given.at)
    taken = []
    for release in given.releases:
        if release.refusal is not None:
            _refuse(tx, masker, given, notify, release.refusal)
        elif release.same is not None:
            taken += _again(tx, given, notify, release.same)
        elif release.submission is not None:
            taken += _take(tx, masker, given, notify, release)
    return notify, taken


def _take(tx: Tx, masker: Masker, given: Notify, notify: str, release: ReleaseIn) -> list[Accepted]:
    if release.submission is None:  # pragma: no cover - the caller looked
        return []
    submission = release.submission.model_copy(update={"notify": notify})
    done = intake.accept(tx, masker, intake.Intake(submission, release.request_id, None, given.at))
    if isinstance(done, InfraError):
        _tell(tx, given, notify, str(done))  # its event is written already
        return []
    if not done.fresh:
        return _again(tx, given, notify, done.request.id)
    for earlier in release.supersedes:
        _supersede(tx, masker, earlier, done.request)
    return [done]


def _supersede(tx: Tx, masker: Masker, earlier: str, by: Request) -> None:
    """End a request whose place a newer one takes, unless somebody began it meanwhile."""
    waiting = requests.request(tx.connection, earlier)
    if waiting is None or waiting.state is not State.SCHEDULED:
        return
    what = f"{_release(waiting)} gave its place to {_release(by)} ({by.id}) before it began."
    error = InfraError("superseded", what)
    receipt = Receipt(
        request=earlier,
        state=State.SUPERSEDED,
        message=str(error),
        action=waiting.action.action,
        error=error.as_dict(),
    )
    requests.finish(tx, masker, earlier, receipt, {"by": by.id})


def _again(tx: Tx, given: Notify, notify: str, same: str) -> list[Accepted]:
    """Note that a notify repeats a request, whose end is its outcome, too; if that has ended, it is told at once."""
    first = requests.request(tx.connection, same)
    if first is None:
        return []
    end = first.receipt["message"] if first.receipt is not None else None
    data = {"id": notify} | ({} if end is None else {"outcome": end})
    sender = given.sender
    entry = Entry(given.at, "notified-again", sender.name, sender.circle, given.text, data, None, same, first.ask)
    seq, _ = append(tx, entry)
    if end is not None:
        messages.outcome(tx, seq, notify, given.back, end, given.at, same)
    return [Accepted(request=first, ask_id=first.ask, fresh=False)]


def _refuse(tx: Tx, masker: Masker, given: Notify, notify: str, refusal: dict[str, str]) -> None:
    told: dict[str, Any] = written(masker, refusal)
    error = InfraError(told.get("code", "policy-denied"), told.get("what", ""), next_step=told.get("next"))
    data = told | {"id": notify, "outcome": str(error)}
    append(tx, Entry(given.at, "refused", given.sender.name, given.sender.circle, given.text, data))
    _tell(tx, given, notify, str(error))


def _tell(tx: Tx, given: Notify, notify: str, text: str) -> None:
    """Tell the sender; the newest event is the one that says so."""
    seq = tx.head[0] if tx.head else 0
    messages.outcome(tx, seq, notify, given.back, text, given.at, None)


def _release(request: Request) -> str:
    app, version = getattr(request.action, "app", None), getattr(request.action, "version", None)
    return f"{app} {version}" if app and version else request.id
