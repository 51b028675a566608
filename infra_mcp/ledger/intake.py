"""Taking a request in, or finding the one it repeats: the inside of one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from infra_mcp.errors import InfraError
from infra_mcp.ledger import asks, claims, peer_filters, schema
from infra_mcp.ledger.database import Tx
from infra_mcp.ledger.events import Entry, append, written
from infra_mcp.ledger.records import Accepted, Ask, AskIn
from infra_mcp.ledger.requests import read
from infra_mcp.masking import Masker, texts
from infra_mcp.model.digest import canonical, digest
from infra_mcp.model.peer import Address, Caller
from infra_mcp.model.request import State, Submission

OPEN_OF_PEER = 50  # requests that have not ended, those that wait among them
OPEN_OF_CIRCLE = 200

_ROWS, _ASKS = schema.requests, schema.asks
_INSERT = insert(_ROWS)
_LINK = update(_ASKS).where(_ASKS.c.id == bindparam("which"))
_OWN = select(_ROWS).where(peer_filters.is_party("from", _ROWS.c.caller, _ROWS.c.circle))
_OF_KEY = _OWN.where(_ROWS.c.idempotency_key == bindparam("key"))
_COUNT = select(func.count()).select_from(_ROWS).where(_ROWS.c.open)
_OPEN_OF_PEER = _COUNT.where(peer_filters.is_party("from", _ROWS.c.caller, _ROWS.c.circle))
_OPEN_OF_CIRCLE = _COUNT.where(_ROWS.c.circle == bindparam("of"))
_SAME_WORDS = (
    _OWN.join(_ASKS, _ASKS.c.request == _ROWS.c.id)
    .where(_ROWS.c.open, _ROWS.c.digest == bindparam("meant"), _ASKS.c.text == bindparam("words"))
    .where(asks.OF_SENDER, _ASKS.c.receiver == bindparam("receiver"))
    .order_by(_ROWS.c.position)
)


@dataclass(frozen=True)
class Intake:
    """A submission on its way in: the id it gets if it is new, the ask it came in, and when."""

    submission: Submission
    request_id: str
    ask: AskIn | None
    at: str


def accept(tx: Tx, masker: Masker, intake: Intake) -> Accepted | InfraError:
    """Take a submission in, or find the one it repeats.

    Returns the error when it is refused: the refusal is itself an event, so the transaction is kept.

    Raises:
        InfraError: `claim-taken`, when it is on behalf of an ask that is not the session's to act for.
    """
    submission, caller = intake.submission, intake.submission.caller
    action = submission.action.model_dump(mode="json")
    meant = digest({"action": action, "dry_run": submission.dry_run})
    given = {"action": action, "idempotency_key": submission.idempotency_key}
    # Names and values are public: they go into git and cluster. Refused for what a secret is like, never for being one:
    # that would tell whether a guess is right.
    told = written(masker.sparing(texts(given)), given)
    if told != given:
        _refuse(tx, masker, intake, told | {"code": "invalid-argument"})
        return InfraError(
            "invalid-argument",
            "An argument holds what looks like a secret; nothing of it was kept.",
            next_step="Name a pull secret of the policy instead, and replace that secret: it was sent in the clear.",
        )
    asked = intake.ask and AskIn.model_validate(written(masker, intake.ask.model_dump()))
    earlier = _earlier(tx.connection, submission, asked, meant)
    if earlier is None and (full := _full(tx.connection, caller)):
        return InfraError("too-many", full, next_step="Wait until some have ended, or cancel them, then send it again.")
    if earlier is None:
        return _take(tx, masker, intake, asked, meant)
    if earlier["digest"] != meant:
        _refuse(tx, masker, intake, told | {"code": "idempotency-conflict", "first": earlier["id"]})
        what = f"This idempotency key stands for request {earlier['id']}, which asked for something else."
        return InfraError("idempotency-conflict", what)
    first = read(earlier)
    ask_id = first.ask
    if submission.on_behalf_of is not None and not submission.dry_run and first.ask != submission.on_behalf_of:
        ask_id = _join_claimed(tx, submission, first.id, first.receipt, intake.at)
    elif asked:
        ask_id = asks.join(tx, first, asked, caller, intake.at)
    return Accepted(request=first, ask_id=ask_id, fresh=False)


def _full(connection: Connection, caller: Caller) -> str:
    """Why no more requests of a peer, or of its circle, are taken in; empty while there is room."""
    given = peer_filters.given("from", Address(name=caller.name, circle=caller.circle))
    if (connection.execute(_OPEN_OF_PEER, given).scalar() or 0) >= OPEN_OF_PEER:
        return f"This peer has {OPEN_OF_PEER} open requests already."
    if (connection.execute(_OPEN_OF_CIRCLE, {"of": caller.circle}).scalar() or 0) >= OPEN_OF_CIRCLE:
        return f"The peers of this circle have {OPEN_OF_CIRCLE} open requests already."
    return ""


def _refuse(tx: Tx, masker: Masker, intake: Intake, data: dict[str, Any]) -> None:
    caller, words = intake.submission.caller, written(masker, intake.submission.words)
    append(tx, Entry(intake.at, "refused", caller.name, caller.circle, words, data))


def _earlier(connection: Connection, submission: Submission, ask: AskIn | None, meant: str) -> Any:  # noqa: ANN401 - a row
    """The request this one repeats: by key, else the open one that the same words of the same peer are about."""
    caller = submission.caller
    given = peer_filters.given("from", Address(name=caller.name, circle=caller.circle))
    if submission.idempotency_key is not None:
        return connection.execute(_OF_KEY, given | {"key": submission.idempotency_key}).mappings().first()
    if ask is None:
        return None
    given |= {"meant": meant, "words": ask.text, "receiver": ask.receiver}
    return connection.execute(_SAME_WORDS, given).mappings().first()


def _claimed(tx: Tx, submission: Submission) -> Ask | None:
    """The ask it is on behalf of, which must be this session's and not a request yet.

    Raises:
        InfraError: `claim-taken`.
    """
    if submission.on_behalf_of is None:
        return None
    found = claims.held(tx.connection, submission.on_behalf_of, submission.session)
    caller = submission.caller
    if found.request is not None or (found.sender, found.circle) != (caller.name, caller.circle):
        raise InfraError("claim-taken", "One request acts for an ask, in the name of whoever asked; this one has its.")
    return found


def _link(connection: Connection, ask_id: str, request_id: str, session: str | None) -> None:
    connection.execute(_LINK, {"which": ask_id, "request": request_id, "acted_by": session})


def _join_claimed(tx: Tx, submission: Submission, first: str, receipt: dict[str, Any] | None, at: str) -> str | None:
    """Have the claimed ask wait for the end of the request that was made before."""
    found = _claimed(tx, submission)
    if found is None:  # pragma: no cover - the caller looked
        return None
    append(tx, Entry(at, "asked-again", found.sender, found.circle, "", {}, None, first, found.id))
    _link(tx.connection, found.id, first, submission.session)
    if receipt is not None:
        asks.ack_all(tx.connection, first, receipt["message"], at)
    return found.id


def _take(tx: Tx, masker: Masker, intake: Intake, ask: AskIn | None, meant: str) -> Accepted:
    submission, caller = intake.submission, intake.submission.caller
    claimed = _claimed(tx, submission)
    opened = asks.opened(caller, ask, intake.at, intake.request_id) if ask else None
    # A preview is shown to the attendant; the ask stays open for the real thing.
    about = opened or (None if submission.dry_run else claimed)
    ask_id = about.id if about else None
    action = submission.action.model_dump(mode="json")
    words, reason = written(masker.sparing(texts(action)), submission.words), written(masker, submission.reason)
    told = {
        "action": action,
        "door": submission.channel,
        "dry_run": submission.dry_run,
        "idempotency_key": submission.idempotency_key,
        "reason": reason,
        "strength": caller.strength,
    }
    told |= {"attendant": submission.attendant, "on_behalf_of": claimed.id} if claimed else {}
    told |= {"session": submission.session} if claimed else {}
    told |= {"notify": submission.notify} if submission.notify else {}
    if ask:
        told |= {"receiver": ask.receiver} | ({"ask": ask.text} if ask.text != words else {})
    state = State.SCHEDULED if submission.scheduled else State.QUEUED
    entry = Entry(intake.at, "received", caller.name, caller.circle, words, told, state, intake.request_id, ask_id)
    position, _ = append(tx, entry)
    row = {
        "id": intake.request_id,
        "position": position,
        "caller": caller.name,
        "circle": caller.circle,
        "strength": caller.strength,
        "operator": caller.operator,
        "door": submission.channel,
        "action": canonical(action).decode(),
        "app": action.get("app"),
        "digest": meant,
        "state": state,
        "open": True,
        "created": intake.at,
        "ended": None,
        "words": words,
        "reason": reason,
        "idempotency_key": submission.idempotency_key,
        "dry_run": submission.dry_run,
        "attendant": submission.attendant,
        "notify": submission.notify,
        "ask": ask_id,
        "commit_id": None,
        "revert_id": None,
        "effect_digest": None,
        "record": "{}",
        "receipt": None,
    }
    tx.connection.execute(_INSERT, row)
    if opened:
        asks.insert_row(tx.connection, opened, position)
    elif ask_id is not None:
        _link(tx.connection, ask_id, intake.request_id, submission.session)
    return Accepted(request=read(row), ask_id=ask_id, fresh=True)
