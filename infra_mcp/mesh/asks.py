"""Asks to the infra peer: words in, one id out, and exactly one ack in the end.

An ask is answered by the server itself: it becomes a typed action whose end is the ack, or it is acked at once with
what can be asked. Asks between other peers are not carried in this version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from infra_mcp.errors import InfraError
from infra_mcp.ledger.records import AskIn
from infra_mcp.mesh import intent
from infra_mcp.mesh.intake import enter, now, peer_name
from infra_mcp.model.request import Submission

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.ledger.records import Ask
    from infra_mcp.model.peer import Caller

__all__ = ["LONGEST", "ask", "own_ask", "resolution", "what_may_be_asked"]

LONGEST = 65_536  # bytes of an ask's text
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


async def ask(
    engine: Engine, caller: Caller, receiver: str, text: str, *, reply_to: str | None = None, circle: str | None = None
) -> str:
    """Send an ask and return its id; the answer is its ack.

    The text is durable, with detected secrets masked, before this returns. Whatever is wrong with the *text* is told by
    the ack, so that an accepted ask always ends in one.

    Args:
        engine: where understood actions go.
        caller: who asks.
        receiver: the peer asked; in this version only the infra peer answers.
        text: the words.
        reply_to: an ask of the receiver that this one answers; there are none in this version.
        circle: the circle to look the receiver up in; the infra peer is found in every circle.

    Raises:
        InfraError: `not-found` for another receiver or `reply_to`, `invalid-argument` for a text too long,
            `ledger-unavailable`.
    """
    infra = peer_name(engine)
    if receiver != infra:
        what = f"Only {infra} answers asks in this version; no other peer of that name can be reached."
        raise InfraError("not-found", what, next_step=f'Send it to "{infra}".')
    if circle not in {None, "*", infra, caller.circle}:
        raise InfraError("not-found", "There is no such circle, or not for this caller.", next_step="Leave circle out.")
    if reply_to is not None:
        what = "No open ask with that id is waiting for this caller's reply."
        raise InfraError("not-found", what, next_step="Leave reply_to out.")
    _check(text)
    words = engine.masker.mask(text)
    incoming = AskIn(text=words, receiver=infra)
    try:
        understood = intent.parse(text)
        if isinstance(understood, intent.NotUnderstood):
            message = f"{understood.code}: {understood.reason}\n{what_may_be_asked(engine, caller, understood.nearest)}"
            kind = "not-understood" if understood.code == "not-understood" else "refused"
            return await engine.ledger.answer(caller, incoming, engine.masker.mask(message), kind, now())
        submission = Submission(
            caller=caller,
            action=understood.action,
            door="ask",
            words=words,
            reason=engine.masker.mask(understood.reason or ""),
            idempotency_key=understood.idempotency_key,
            dry_run=understood.dry_run,
        )
        accepted = await enter(engine, submission, incoming)
    except InfraError as error:
        if error.code == "ledger-unavailable":
            raise
        message = f"{error}\n{what_may_be_asked(engine, caller)}" if error.code == "unknown-argument" else str(error)
        return await engine.ledger.answer(caller, incoming, engine.masker.mask(message), "refused", now())
    if accepted.ask_id is None:
        # The same key or words came first by another door: this ask gets an ack of its own, naming that request.
        message = f"This is {accepted.request.id}, asked before; get_request shows where it stands."
        return await engine.ledger.answer(caller, incoming, message, "same-request", now())
    return accepted.ask_id


def _check(text: str) -> None:
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise InfraError("invalid-argument", "query: not text.", next_step="Send plain text.") from None
    if size > LONGEST:
        raise InfraError("invalid-argument", f"query: longer than {LONGEST} bytes.", next_step="Send fewer words.")
    if _CONTROL.search(text):
        raise InfraError("invalid-argument", "query: holds control characters.", next_step="Send plain text.")


def what_may_be_asked(engine: Engine, caller: Caller, nearest: Sequence[str] = ()) -> str:
    """The forms this caller's circle may send, by the policy in force, and the nearest one to what came."""
    try:
        policy = engine.policy.current()
        rules = policy.circle(caller.circle) if caller.circle else None
    except InfraError as error:
        return str(error)
    if rules is None:
        return "This caller belongs to no circle with rights, so it may change nothing."
    lines = ["What can be asked, word for word or as JSON:"]
    if "provision_namespace" in rules.actions:
        secret = rules.pull_secrets[0] if rules.pull_secrets else None
        tail = f" with image-pull secret {secret}" if secret else ""
        lines.append(f"  I need a namespace 'NAME'{tail}   (names: {', '.join(rules.namespaces) or 'none'})")
    if "deploy" in rules.actions:
        apps = sorted(name for name, app in policy.apps.items() if app.owner == caller.name)
        form = json.dumps({"action": "deploy", "app": apps[0] if apps else "APP", "version": "VERSION"})
        lines.append(f"  ```infra\n  {form}\n  ```")
    if len(lines) == 1:
        lines = ["The policy in force lets this circle ask for nothing."]
    if nearest:
        shown = "\n".join(nearest)
        lines.append(f"Nearest to what you sent:\n{shown}")
    return "\n".join(lines)


async def own_ask(engine: Engine, caller: Caller, ask_id: str) -> Ask:
    """An ask this caller sent.

    Raises:
        InfraError: `not-found`, in the same words for an ask of someone else and for none.
    """
    found = await engine.ledger.ask(ask_id)
    if found is None or (found.sender, found.circle) != (caller.name, caller.circle):
        raise InfraError(
            "not-found", "There is no such ask of this caller.", next_step="Check the id that ask returned."
        )
    return found


def resolution(found: Ask) -> dict[str, Any]:
    """An ask as `wait_on_ack` gives it, with Repowire's keys."""
    acked = found.state == "acked"
    return {
        "correlation_id": found.id,
        "status": "resolved" if acked else "pending",
        "reply": found.reply if acked else None,
        "outcome": None,
        "option_id": None,
        "message": None,
        "close_reason": "acked" if acked else None,
        "responder": found.responder if acked else None,
        "attachments": [],
    }
