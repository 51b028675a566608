"""A text as a typed action, never by guessing. Pure.

Only one fenced `infra` block of JSON, or a sentence that `grammar` reads to its last word, is an action. A sentence
with a verb of another action is answered with the block to send.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import cast

from pydantic import ValidationError

from infra_mcp.mesh.blocks import Fault, blocks, read
from infra_mcp.mesh.grammar import Token, fields, match, nearest, tokens
from infra_mcp.mesh.meant import Apps, meant
from infra_mcp.model.actions import SAID, Action
from infra_mcp.model.names import Frozen

_MAX_SENTENCE = 2_000  # characters
_MAX_WORDS = 120


class Understood(Frozen):
    """An action, with the other fields of its block."""

    action: Action
    reason: str = ""
    idempotency_key: str | None = None
    dry_run: bool = False


class NotUnderstood(Frozen):
    """No action. `nearest` is what to send instead, filled in as far as it is known.

    `code` is an error code: `not-understood`, or for a block `unknown-argument` or `invalid-argument`. `open` is true
    for a text without a block, which an attending session may understand.
    """

    reason: str
    nearest: tuple[str, ...] = ()
    code: str = "not-understood"
    open: bool = False


def parse(text: str, apps: Apps = MappingProxyType({})) -> Understood | NotUnderstood:
    """Read any text of an ask. Never raises; reasons repeat no value, and `nearest` only names in the form of one.

    Args:
        text: the text.
        apps: the known apps of the asker, each with its environments.
    """
    found = blocks(text)
    if len(found) > 1:
        return NotUnderstood(reason=f"There are {len(found)} infra blocks; an ask carries one action.")
    if found:
        return _from_block(*found[0])
    words = tokens(text) if len(text) <= _MAX_SENTENCE else []
    if not words or len(words) > _MAX_WORDS:
        why = "The sentence is too long." if text.strip() else "The text is empty."
        return NotUnderstood(reason=why, open=bool(text.strip()))
    read_as = match(words)
    if read_as.values is not None:
        return _from_sentence(read_as.values, words)
    return _unread(words, read_as.reached, apps)


def _from_block(body: str, closed: bool) -> Understood | NotUnderstood:
    if not closed:
        why = "The infra block has no end: a line of ``` after the JSON."
        return NotUnderstood(reason=why, code="invalid-argument")
    done = read(body)
    if isinstance(done, Fault):
        nearest = (done.nearest,) if done.nearest else ()
        return NotUnderstood(reason=done.reason, nearest=nearest, code=done.code)
    action, extras = done
    return Understood(action=cast("Action", action), **extras.model_dump())


def _from_sentence(values: tuple[tuple[str, str], ...], words: list[Token]) -> Understood | NotUnderstood:
    found = fields(values)
    why = "The sentence gives one value twice."
    if found is not None:
        try:
            return Understood(action=SAID.model_validate_json(json.dumps(found)))
        except ValidationError:
            why = "An amount, or a number of things, in the sentence is too large."
    return NotUnderstood(reason=why, nearest=nearest(words), open=True)


def _unread(words: list[Token], reached: int, apps: Apps) -> NotUnderstood:
    """Report how far a sentence was read, without repeating it, and the nearest form."""
    block = meant(words, apps)
    if block:
        why = "A sentence cannot ask for this action: send this block."
        return NotUnderstood(reason=why, nearest=(block,))
    if block is not None:
        why = "A sentence cannot ask for this; sentences only add namespaces."
        return NotUnderstood(reason=why, open=True)
    why = f"The sentence is not understood from word {reached + 1} of {len(words)} on."
    if reached >= len(words):
        why = "The sentence ends too early."
    return NotUnderstood(reason=why, nearest=nearest(words), open=True)
