"""Text into a typed action, never by guessing. Pure.

Two ways lead to an action: one fenced `infra` block of JSON, or a sentence every word of which is accounted for by
`grammar`. A sentence that means a deploy is answered with the very block to send back. Everything else is not
understood, which writes nothing.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from infra_mcp.mesh.blocks import Fault, blocks, read, show
from infra_mcp.mesh.grammar import Token, describe, match, tokens
from infra_mcp.model.actions import Action
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.names import AppName, DnsLabel, Frozen, PullSecretName, Version

__all__ = ["NotUnderstood", "Understood", "describe", "parse"]

_LONGEST = 2_000  # characters of a sentence
_MOST = 120  # words of a sentence

_DEPLOYS = {"deploy", "ship", "release", "rollout", "roll", "upgrade", "bump", "promote", "redeploy"}
_OTHER = {"delete", "remove", "destroy", "drop", "scale", "restart", "rollback", "undo", "patch", "exec", "run"}
_NUMBERED = re.compile(r"v?[0-9]+(?:\.[0-9A-Za-z_-]+)+|v[0-9]+")
# Words of a sentence about a deploy that are not the app's name.
_FILLERS = _DEPLOYS | {
    "a",
    "an",
    "and",
    "app",
    "application",
    "can",
    "could",
    "deployment",
    "for",
    "from",
    "i",
    "in",
    "it",
}
_FILLERS |= {"latest", "me", "my", "need", "now", "of", "on", "out", "please", "tag", "that", "the", "this", "to", "up"}
_FILLERS |= {"version", "want", "we", "with", "would", "you"}


class Understood(Frozen):
    """An action, with what else was said of it."""

    action: Action
    reason: str = ""
    idempotency_key: str | None = None
    dry_run: bool = False


class NotUnderstood(Frozen):
    """No action. `nearest` is what to send instead, filled in as far as it can be told.

    `code` is an error code: `not-understood`, or why a block is none: `unknown-argument`, `invalid-argument`. `open` is
    true where someone who attends may make something of it: words that mean no block and no deploy.
    """

    reason: str
    nearest: tuple[str, ...] = ()
    code: str = "not-understood"
    open: bool = False


def parse(text: str) -> Understood | NotUnderstood:
    """Read an ask.

    Args:
        text: the words as they came. Nothing of a value in them is ever repeated in a reason; `nearest` repeats only
            names that have the form of one.

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
    return _unread(words, read_as.reached)


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
    said: dict[str, list[str]] = {}
    for slot, value in values:
        said.setdefault("NAMESPACE" if slot == "ANYNAME" else slot, []).append(value)
    labels = [label.partition("=")[::2] for label in said.get("LABEL", [])]
    secrets = said.get("SECRET", [])
    once = ("CPU", "MEMORY", "PODS", "LIMITCPU", "LIMITMEMORY", "OWNER", "CLUSTER")
    twice = [slot for slot in once if len(said.get(slot, [])) > 1]
    if twice or len({key for key, _ in labels}) != len(labels) or len(set(secrets)) != len(secrets):
        return NotUnderstood(
            reason="Something is said twice, so it cannot be told what is meant.",
            nearest=_namespace(words),
            open=True,
        )

    def one(slot: str) -> str | None:
        return said[slot][0] if slot in said else None

    pods = one("PODS")
    quota: dict[str, Any] = {"cpu": one("CPU"), "memory": one("MEMORY"), "pods": int(pods) if pods else None}
    limits = {"cpu": one("LIMITCPU"), "memory": one("LIMITMEMORY")}
    fields = {
        "namespace": one("NAMESPACE"),
        "pull_secrets": secrets,
        "labels": dict(labels),
        "quota": quota if any(quota.values()) else None,
        "limits": limits if any(limits.values()) else None,
        "default_deny": "DENY" in said,
        "owner": one("OWNER"),
        "cluster": one("CLUSTER"),
    }
    try:
        return Understood(action=ProvisionNamespace.model_validate_json(json.dumps(fields)))
    except ValidationError:
        why = "An amount or a number of things in it is more than there may be."
        return NotUnderstood(reason=why, nearest=_namespace(words), open=True)


def _unread(words: list[Token], reached: int) -> NotUnderstood:
    """Say how far a sentence was read, without repeating it, and what comes nearest to it."""
    plain = {word.text.lower() for word in words if not word.quoted}
    if plain & _DEPLOYS:
        why = "A deploy is not done by a sentence: send this block, and nothing is left to guess."
        return NotUnderstood(reason=why, nearest=(_deploy(words),))
    if plain & _OTHER:
        why = "That is none of what a sentence can ask for; sentences only add namespaces."
        return NotUnderstood(reason=why, open=True)
    nearest = _namespace(words) if "namespace" in plain else ()
    why = f"Not every word is understood: word {reached + 1} of {len(words)} and what follows cannot be read."
    if reached >= len(words):
        why = "The sentence ends too early."
    return NotUnderstood(reason=why, nearest=nearest, open=True)


def _namespace(words: list[Token]) -> tuple[str, ...]:
    """The sentence for the namespace that seems to be meant."""
    names = [word.text for word in words if _is(_DNS, word.text) and (word.quoted or re.search(r"[-0-9]", word.text))]
    names = [name for name in names if name not in {"image-pull", "default-deny"} and not name.isdigit()]
    secrets = [
        after.text for before, after in pairwise(words) if before.text.lower() == "secret" and _is(_SECRET, after.text)
    ]
    if not names:
        return ()
    tail = f" with image-pull secret {secrets[0]}" if secrets else ""
    return (f"I need a namespace '{names[0]}'{tail}",)


def _deploy(words: list[Token]) -> str:
    """The block for the deploy that seems to be meant, with what is missing marked as such."""
    version, app = "<version>", "<app>"
    for word in words:
        left, mark, right = word.text.replace("@", ":").partition(":")
        for part in (left, right) if mark else (word.text,):
            if version == "<version>" and _NUMBERED.fullmatch(part) and _is(_VERSION, part):
                version = part
            elif app == "<app>" and part.lower() not in _FILLERS and _is(_APP, part):
                app = part
    return show({"action": "deploy", "app": app, "version": version})


_DNS, _SECRET, _APP, _VERSION = (TypeAdapter(form) for form in (DnsLabel, PullSecretName, AppName, Version))


def _is(form: TypeAdapter[str], text: str) -> bool:
    try:
        form.validate_python(text)
    except ValidationError:
        return False
    return True
