"""The action that a sentence seems to mean, filled in as far as its words say. Pure.

Nothing is done by it: the asker gets the block, and sends it if it is right. So a value is left open rather than
guessed: where two apps are named, where a number is a difference ("by 2"), where it is unclear which version is meant.
An app may have the name of a verb: a known app after the sentence's verb is the app.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter

from infra_mcp.mesh.blocks import Fault, blocks, read, show
from infra_mcp.mesh.grammar import Token, is_valid
from infra_mcp.model.actions import ACTIONS, RELEASE, ActionModel, AppAction, Release, Rollback
from infra_mcp.model.names import AppName, RequestId, Version
from infra_mcp.repository.census.environments import ENVIRONMENTS

Apps = Mapping[str, Collection[str]]  # the asker's apps, each with its environments

_SETTING: Final = frozenset(
    ("adjust", "bring", "change", "decrease", "increase", "lower", "move", "put", "raise", "reduce", "set", "switch",
     "take", "update")
)  # fmt: skip
_BACK: Final = Rollback.verbs | {"back"}
_OTHER: Final = frozenset({"delete", "destroy", "drop", "exec", "patch", "remove", "run"})
_TO: Final = frozenset({"to", "→", "->", "=>"})
_LABELS: Final = frozenset({"image", "release", "tag", "the", "version"})  # words between `to` and a version
_IN: Final = frozenset({"for", "in", "into", "on"})  # words before an environment, beside `to`
_NOT_A_VALUE: Final = frozenset({"by", "from", "up", "down"})  # words before another number than the one to set
_GRAMMAR: Final = frozenset(  # words that name an app only where nothing else does
    ("a", "an", "and", "app", "application", "can", "could", "deployment", "for", "from", "i", "in", "it", "latest",
     "me", "my", "need", "now", "of", "on", "out", "please", "that", "the", "this", "to", "up", "want", "we", "with",
     "would", "you")
)  # fmt: skip
_FILLERS: Final = _GRAMMAR.union(_SETTING, *(model.verbs | model.nouns for model in ACTIONS.values()))
_NUMBERED = re.compile(r"v?[0-9]+(?:\.[0-9A-Za-z_-]+)+|v[0-9]+")
_APP, _VERSION, _REQUEST = TypeAdapter(AppName), TypeAdapter(Version), TypeAdapter(RequestId)


class _Word(NamedTuple):
    text: str
    low: str
    quoted: bool


def meant(tokens: list[Token], apps: Apps) -> str | None:
    """The block for the action that seems to be meant; empty where no block asks for it, None where no word means one.

    Args:
        tokens: the sentence.
        apps: the known apps of the asker, whose names go before other words.
    """
    words = [_Word(part, part.lower(), token.quoted) for token in tokens for part in re.split("[@:=]", token.text)]
    verbs = _verbs(words, apps)
    said = {words[at].low for at in verbs}
    models = {model for model in ACTIONS.values() if said & model.verbs}
    if said & _BACK:
        if models - {RELEASE, Rollback} or said & _OTHER:
            return ""
        version = _version(words, apps, lambda at: _after(words, at) in _TO)
        return _block(RELEASE if version else Rollback, words, apps, verbs, version)
    if not models and not said & _OTHER and said & _SETTING:
        models = _set(words)
    if len(models) == 1:
        (model,) = models
        return _block(model, words, apps, verbs, _version(words, apps))
    return "" if models or said & _OTHER else None


def _verbs(words: list[_Word], apps: Apps) -> list[int]:
    """Where the sentence's verbs are; a later one that is an app's name is the app."""
    every = _BACK | _OTHER | _SETTING | frozenset().union(*(model.verbs for model in ACTIONS.values()))
    found: list[int] = []
    for at, word in enumerate(words):
        if word.quoted or word.low not in every:
            continue
        before, after = (words[one].low if 0 <= one < len(words) else "" for one in (at - 1, at + 1))
        is_new = word.low not in {words[one].low for one in found}
        is_adverb = is_new and word.low == "back" and (before in {"roll", "go", "bring"} or after in _TO)
        if not found or is_adverb or word.low not in apps:
            found.append(at)
    return found


def _set(words: list[_Word]) -> set[type[ActionModel]]:
    """The actions whose setting is named ("set the replicas of …"), or a release where a version is."""
    plain = {word.low for word in words if not word.quoted}
    if "namespace" in plain:
        return set()
    models = {model for model in ACTIONS.values() if plain & model.nouns}
    return models or ({RELEASE} if any(_NUMBERED.fullmatch(word.text) for word in words) else set())


def _after(words: list[_Word], at: int) -> str:
    """The word before a value, past words such as `version`."""
    at -= 1
    while at > 0 and words[at].low in _LABELS:
        at -= 1
    return words[at].low if at >= 0 else ""


def _version(words: list[_Word], apps: Apps, accept: Callable[[int], bool] | None = None) -> str:
    """The version that is meant: the one after `to`, or the only one; empty where that is unclear."""
    named = {name for environments in apps.values() for name in environments} | apps.keys()
    numbered = [at for at, word in enumerate(words) if _NUMBERED.fullmatch(word.text) and word.low not in named]
    numbered = [at for at in numbered if is_valid(_VERSION, words[at].text)]
    # A tag such as `main-4f2a` only looks like a version after `to`, `version` or `tag`.
    tagged = [
        at
        for at, word in enumerate(words)
        if at and words[at - 1].low in _TO | {"version", "tag"} and re.search(r"[0-9]", word.text)
        if word.low not in named and is_valid(_VERSION, word.text)
    ]
    aim = [at for at in numbered if _after(words, at) in _TO]
    for found in (aim, [at for at in numbered if words[at - 1].low not in _NOT_A_VALUE or not at], tagged):
        texts = {words[at].text for at in found if accept is None or accept(at)}
        if texts:
            return texts.pop() if len(texts) == 1 else ""
    return ""


def _number(words: list[_Word]) -> int | None:
    """The number to set: the one after `to`, or the only one that is no difference."""
    numbers = [at for at, word in enumerate(words) if word.text.isascii() and word.text.isdigit()]
    aim = [at for at in numbers if _after(words, at) in _TO]
    found = aim or [at for at in numbers if not at or words[at - 1].low not in _NOT_A_VALUE]
    return int(words[found[0]].text) if len(found) == 1 else None


def _app(words: list[_Word], apps: Apps, verbs: Collection[int], version: str) -> str:
    """The app: the one known app that is named; without any, the first word that could be a name."""
    texts = [re.sub("['\u2019]s?$", "", word.low) for word in words]
    own = [text for at, text in enumerate(texts) if at not in verbs and text in apps]
    for less_likely in (_FILLERS, _GRAMMAR):
        own = [text for text in own if text not in less_likely] or own
    if own:
        return own[0] if len(set(own)) == 1 else ""
    names = [word.text for at, word in enumerate(words) if at not in verbs and word.low not in _FILLERS]
    return next((name for name in names if name != version and is_valid(_APP, name)), "")


def _environment(words: list[_Word], known: Collection[str]) -> str:
    """The known environment that is named; open where another one, several or none of several is named."""
    by_name = {name.lower(): name for name in known}
    named = [at for at, word in enumerate(words) if word.low in by_name]
    placed = [at for at, word in enumerate(words) if at and words[at - 1].low in _TO | _IN]
    aim = [at for at in placed if words[at - 1].low in _TO and words[at].low in by_name]
    found = {by_name[words[at].low] for at in aim or named}
    if len(found) == 1:
        return found.pop()
    is_other = any(ENVIRONMENTS.fullmatch(words[at].low) for at in placed)
    return "<environment>" if known and (len(known) > 1 or is_other) else ""


def _block(model: type[ActionModel], words: list[_Word], apps: Apps, verbs: Collection[int], version: str) -> str:
    found: dict[str, Any] = {"action": model.model_fields["action"].default}
    for name, field in model.model_fields.items():
        known: Any = None
        if issubclass(model, AppAction) and name == "app":
            known = _app(words, apps, verbs, version) or None
        elif issubclass(model, Release) and name == "version":
            known = version or None
        elif issubclass(model, Rollback) and name == "request":
            requests = {word.text for word in words if is_valid(_REQUEST, word.text)}
            known = requests.pop() if len(requests) == 1 else None
        elif field.is_required() and field.annotation is int:
            known = _number(words)
        found |= {} if known is None else {name: known}
    done = read(json.dumps(found))
    block = done.nearest if isinstance(done, Fault) else show(found)
    environment = _environment(words, apps.get(found.get("app", ""), ())) if "environment" in model.model_fields else ""
    return show(json.loads(blocks(block)[0].body) | {"environment": environment}) if environment and block else block
