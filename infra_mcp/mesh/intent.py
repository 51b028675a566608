"""Text into a typed action, never by guessing. Pure.

Two ways lead to an action: one fenced `infra` block of JSON, or a sentence every word of which is accounted for by
`grammar`. A sentence that means another action, by a verb of its model, is answered with the very block to send back.
Everything else is not understood, which writes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from infra_mcp.mesh.blocks import Fault, blocks, read, show
from infra_mcp.mesh.grammar import Token, fields, match, nearest, tokens
from infra_mcp.model.actions import ACTIONS, SAID, Action, ActionModel, AppAction, Release
from infra_mcp.model.names import AppName, Frozen, Version

_LONGEST = 2_000  # characters of a sentence
_MOST = 120  # words of a sentence

_BACK = {"back", "revert", "rollback", "undo"}  # the other way: no block is filled in, whatever verb is beside it
_OTHER = _BACK | {"delete", "destroy", "drop", "exec", "patch", "remove", "run"}
_NUMBERED = re.compile(r"v?[0-9]+(?:\.[0-9A-Za-z_-]+)+|v[0-9]+")
# Words of a sentence that are no app's name.
_FILLERS = frozenset(
    ("a", "an", "and", "app", "application", "can", "could", "deployment", "for", "from", "i", "in", "it", "latest",
     "me", "my", "need", "now", "of", "on", "out", "please", "replica", "replicas", "tag", "that", "the", "this", "to",
     "up", "version", "want", "we", "with", "would", "you"),
).union(*(model.verbs for model in ACTIONS.values()))  # fmt: skip


class Understood(Frozen):
    """An action, with what else was said of it."""

    action: Action
    reason: str = ""
    idempotency_key: str | None = None
    dry_run: bool = False


class NotUnderstood(Frozen):
    """No action. `nearest` is what to send instead, filled in as far as it can be told.

    `code` is an error code: `not-understood`, or why a block is none: `unknown-argument`, `invalid-argument`. `open` is
    true where someone who attends may make something of it: words that mean no block.
    """

    reason: str
    nearest: tuple[str, ...] = ()
    code: str = "not-understood"
    open: bool = False


def parse(text: str, apps: Collection[str] = ()) -> Understood | NotUnderstood:
    """Read an ask.

    Args:
        text: the words as they came. Nothing of a value in them is ever repeated in a reason; `nearest` repeats only
            names that have the form of one.
        apps: the apps that the asker has, as far as they are known: a word that names one goes before others.

    Returns:
        The action, or why there is none. It never raises, whatever the text is.
    """
    found = blocks(text)
    if len(found) > 1:
        return NotUnderstood(reason=f"There are {len(found)} infra blocks; an ask carries one action.")
    if found:
        return _from_block(*found[0])
    words = tokens(text) if len(text) <= _LONGEST else []
    if not words or len(words) > _MOST:
        why = "It is longer than a sentence that can be understood." if text.strip() else "It says nothing."
        return NotUnderstood(reason=why, open=bool(text.strip()))
    read_as = match(words)
    if read_as.values is not None:
        return _from_sentence(read_as.values, words)
    return _unread(words, read_as.reached, apps)


def _from_block(body: str, closed: bool) -> Understood | NotUnderstood:
    if not closed:
        return NotUnderstood(
            reason="The infra block has no end: a line of ``` after the JSON.", code="invalid-argument"
        )
    done = read(body)
    if isinstance(done, Fault):
        nearest = (done.nearest,) if done.nearest else ()
        return NotUnderstood(reason=done.reason, nearest=nearest, code=done.code)
    action, extras = done
    return Understood(action=cast("Action", action), **extras.model_dump())


def _from_sentence(values: tuple[tuple[str, str], ...], words: list[Token]) -> Understood | NotUnderstood:
    said = fields(values)
    why = "Something is said twice, so it cannot be told what is meant."
    if said is not None:
        try:
            return Understood(action=SAID.model_validate_json(json.dumps(said)))
        except ValidationError:
            why = "An amount or a number of things in it is more than there may be."
    return NotUnderstood(reason=why, nearest=_sentence(words), open=True)


def _unread(words: list[Token], reached: int, apps: Collection[str]) -> NotUnderstood:
    """Say how far a sentence was read, without repeating it, and what comes nearest to it."""
    plain = {word.text.lower() for word in words if not word.quoted}
    meant = [model for model in ACTIONS.values() if plain & model.verbs]
    if len(meant) == 1 and not plain & _BACK - meant[0].verbs:
        why = "That is not done by a sentence: send this block, and nothing is left to guess."
        return NotUnderstood(reason=why, nearest=(_block(meant[0], words, apps),))
    if meant or plain & _OTHER:
        why = "That is none of what a sentence can ask for; sentences only add namespaces."
        return NotUnderstood(reason=why, open=True)
    why = f"Not every word is understood: word {reached + 1} of {len(words)} and what follows cannot be read."
    if reached >= len(words):
        why = "The sentence ends too early."
    return NotUnderstood(reason=why, nearest=_sentence(words), open=True)


def _sentence(words: list[Token]) -> tuple[str, ...]:
    found = nearest(words)
    return (found,) if found else ()


def _block(model: type[ActionModel], words: list[Token], apps: Collection[str]) -> str:
    """The block for what seems to be meant, with what is missing marked as such.

    Filled in are an app, a version and whole numbers, where the action needs them.
    """
    parts = [part for word in words for part in word.text.replace("@", ":").split(":")]
    versions = [part for part in parts if _NUMBERED.fullmatch(part) and _is(_VERSION, part)]
    names = [part for part in parts if part.lower() not in _FILLERS and part not in versions and _is(_APP, part)]
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


_APP, _VERSION = TypeAdapter(AppName), TypeAdapter(Version)


def _is(form: TypeAdapter[str], text: str) -> bool:
    try:
        form.validate_python(text)
    except ValidationError:
        return False
    return True
