"""A text as a typed action, never by guessing. Pure.

Only one fenced `infra` block of JSON, or a sentence that `grammar` reads to its last word, is an action. A sentence
with a verb of another action is answered with the block to send.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from infra_mcp.mesh.blocks import Fault, blocks, read, show
from infra_mcp.mesh.grammar import Token, fields, is_valid, match, nearest, tokens
from infra_mcp.model.actions import ACTIONS, SAID, Action, ActionModel, AppAction, Release
from infra_mcp.model.names import AppName, Frozen, Version

_MAX_SENTENCE = 2_000  # characters
_MAX_WORDS = 120

_BACK = {"back", "revert", "rollback", "undo"}  # no block is filled in for these, whatever verb is beside them
_OTHER = _BACK | {"delete", "destroy", "drop", "exec", "patch", "remove", "run"}
_NUMBERED = re.compile(r"v?[0-9]+(?:\.[0-9A-Za-z_-]+)+|v[0-9]+")
# Words of a sentence that are no app's name.
_FILLERS = frozenset(
    ("a", "an", "and", "app", "application", "can", "could", "deployment", "for", "from", "i", "in", "it", "latest",
     "me", "my", "need", "now", "of", "on", "out", "please", "replica", "replicas", "tag", "that", "the", "this", "to",
     "up", "version", "want", "we", "with", "would", "you"),
).union(*(model.verbs for model in ACTIONS.values()))  # fmt: skip
_APP, _VERSION = TypeAdapter(AppName), TypeAdapter(Version)


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


def parse(text: str, apps: Collection[str] = ()) -> Understood | NotUnderstood:
    """Read any text of an ask. Never raises; reasons repeat no value, and `nearest` only names in the form of one.

    Args:
        text: the text.
        apps: the known apps of the asker, whose names go before other words.
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


def _unread(words: list[Token], reached: int, apps: Collection[str]) -> NotUnderstood:
    """Report how far a sentence was read, without repeating it, and the nearest form."""
    plain = {word.text.lower() for word in words if not word.quoted}
    meant = [model for model in ACTIONS.values() if plain & model.verbs]
    if len(meant) == 1 and not plain & _BACK - meant[0].verbs:
        why = "A sentence cannot ask for this action: send this block."
        return NotUnderstood(reason=why, nearest=(_block(meant[0], words, apps),))
    if meant or plain & _OTHER:
        why = "A sentence cannot ask for this; sentences only add namespaces."
        return NotUnderstood(reason=why, open=True)
    why = f"The sentence is not understood from word {reached + 1} of {len(words)} on."
    if reached >= len(words):
        why = "The sentence ends too early."
    return NotUnderstood(reason=why, nearest=nearest(words), open=True)


def _block(model: type[ActionModel], words: list[Token], apps: Collection[str]) -> str:
    """The block for the action that seems to be meant, with the app, version and numbers that the action needs."""
    parts = [part for word in words for part in word.text.replace("@", ":").split(":")]
    versions = [part for part in parts if _NUMBERED.fullmatch(part) and is_valid(_VERSION, part)]
    names = [part for part in parts if part.lower() not in _FILLERS and part not in versions and is_valid(_APP, part)]
    numbers = [int(part) for part in parts if part.isascii() and part.isdigit()]
    found: dict[str, Any] = {"action": model.model_fields["action"].default}
    for name, field in model.model_fields.items():
        if not field.is_required():
            continue
        if field.annotation is int:
            known: list[Any] = [numbers.pop(0)] if numbers else []
        elif issubclass(model, AppAction) and name in AppAction.model_fields:
            known = [one for one in names if one in apps] or names
        else:
            known = versions if issubclass(model, Release) and name in Release.model_fields else []
        found |= {name: known[0]} if known else {}
    done = read(json.dumps(found))
    return done.nearest if isinstance(done, Fault) else show(found)
