"""The table of sentences that are understood, all for `model.actions.SAID`, and the matcher that reads it. Pure.

Every word of a sentence must match, and a sentence only adds something harmless. A name without quotes must not look
like an ordinary word ("I need a namespace soon", "with secret X, later"): it needs a dash or digit, or `called` before
it. No word of the table is a name unless it is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from infra_mcp.model.names import ClusterName, Cpu, DnsLabel, LabelKey, LabelValue, Memory, PeerName, PullSecretName

# Words around a sentence that change nothing.
POLITE = ("please", "kindly", "hi", "hello", "hey", "infra", "@infra", "thanks", "thank you", "cheers")

# Rule -> its forms. A word stands for itself, <rule> for one of its forms, CAPITALS for a value; `?` means perhaps,
# `*` any number of times. The first rule is the whole sentence.
GRAMMAR: dict[str, tuple[str, ...]] = {
    "sentence": (
        "<polite>* <wish> <namespace> <part>* <end>? <bye>* <end>?",
        "<polite>* <question> <namespace> <part>* <mark>? <bye>* <end>?",
    ),
    "polite": tuple(form for words in POLITE for form in (f"{words} ,?", f"{words} !")),
    "bye": (*POLITE, *(f", {words}" for words in POLITE)),
    "wish": (
        *(f"{who} {verb}" for who in ("i", "we") for verb in ("need", "want", "would like")),
        *("i'd like", "we'd like", "need", "<do>", "<polite> <do>"),
    ),
    "question": ("<could> you <polite>? <do>", "would you <polite>? <do>", "<could> <we> <polite>? have"),
    "could": ("can", "could"),
    "we": ("i", "we"),
    "do": ("create", "make", "add", "provision", "set up", "give me"),
    "namespace": ("<a>? namespace <called> ANYNAME", "<a>? namespace NAMESPACE", "<a>? NAMESPACE namespace"),
    "a": ("a", "the", "a new", "new"),
    "called": ("called", "named"),
    # A list of names has one form only, and after it comes nothing that could begin with a further name. Otherwise one
    # more word would be one more name: "X, please" and "X, later please", "X and owned by" and "X and later owned by".
    "part": (
        ",? with <secrets>",
        "<and> <secrets>",
        ",? with <feature> <remark-too>?",
        "<and> <feature> <remark-too>?",
        ",? <remark> <remark-too>?",
    ),
    "and": (",", "and", ", and"),
    "secrets": ("<an>? <pull>? <secret> <names>",),
    "names": ("SECRET", "SECRET <name-too>* and SECRET"),
    "name-too": (", SECRET",),
    "feature": (
        "<an>? quota of <amount> <amount-too>*",
        "<an>? container limits of <limit> <limit-too>*",
        "<an>? <label> LABEL <label-too>*",
        "<an>? <deny>",
    ),
    "an": ("a", "an", "the"),
    "pull": ("image-pull", "image pull", "imagepull", "pull", "registry"),
    "secret": ("secret", "secrets"),
    "amount": ("CPU <cpus>", "MEMORY <memory>", "PODS pods", "PODS pod"),
    "amount-too": ("<and> <amount>",),
    "limit": ("LIMITCPU <cpus>", "LIMITMEMORY <memory>"),
    "limit-too": ("<and> <limit>",),
    "cpus": ("cpu", "cpus"),
    "memory": ("memory", "of memory"),
    "label": ("label", "labels"),
    "label-too": ("<and> LABEL",),
    "deny": ("DENY", "DENY network policy"),
    "remark": ("labelled LABEL <label-too>*", "labeled LABEL <label-too>*", "owned by OWNER", "on cluster CLUSTER"),
    "remark-too": ("and <remark>",),
    "end": (".", "!"),
    "mark": ("?", "."),
}


class Slot(NamedTuple):
    """A value in a sentence: its field, its description, its form, and a pattern that it has without quotes."""

    field: tuple[str, ...]
    shown: str
    form: TypeAdapter[str] | None
    bare: str = ""


SLOTS: dict[str, Slot] = {
    "NAMESPACE": Slot(
        ("namespace",), "a namespace's name, quoted, or with a dash or digit in it", TypeAdapter(DnsLabel), r"[-0-9]"
    ),
    "ANYNAME": Slot(("namespace",), "a namespace's name", TypeAdapter(DnsLabel)),
    "SECRET": Slot(
        ("pull_secrets",),
        "a pull secret's name as policy knows it, quoted, or in capitals, or with a dash, dot or digit in it",
        TypeAdapter(PullSecretName),
        bare=r"[-0-9_.]|^[A-Z]+$",
    ),
    "CPU": Slot(("quota", "cpu"), "CPUs, such as 4 or 500m", TypeAdapter(Cpu)),
    "MEMORY": Slot(("quota", "memory"), "memory, such as 8Gi", TypeAdapter(Memory)),
    "PODS": Slot(("quota", "pods"), "a number of pods", None),
    "LIMITCPU": Slot(("limits", "cpu"), "CPUs of one container", TypeAdapter(Cpu)),
    "LIMITMEMORY": Slot(("limits", "memory"), "memory of one container", TypeAdapter(Memory)),
    "LABEL": Slot(("labels",), "a label, key=value", None),
    "DENY": Slot(("default_deny",), "default deny or default-deny", None),
    "OWNER": Slot(("owner",), "a peer's name", TypeAdapter(PeerName)),
    "CLUSTER": Slot(("cluster",), "a cluster's name in policy", TypeAdapter(ClusterName)),
}
_LABEL = (TypeAdapter(LabelKey), TypeAdapter(LabelValue))
_NAME, _SECRET = TypeAdapter(DnsLabel), TypeAdapter(PullSecretName)
_NO_NAMES = {"image-pull", "default-deny"}
_NUMBER = re.compile(r"[1-9][0-9]{0,4}")

_MAX_STEPS = 20_000  # of reading a sentence


class Token(NamedTuple):
    """A word, a mark, or a text between quotes."""

    text: str
    quoted: bool


@dataclass(frozen=True)
class Match:
    """The values of a sentence with their slots, in order. `reached` is the first token that does not match."""

    values: tuple[tuple[str, str], ...] | None
    reached: int


# Each character is read a bounded number of times: a run of marks ends the word before it or belongs to it as a whole.
_TOKEN = re.compile(
    r"""(?:'(?P<a>[^']{0,300})'|"(?P<b>[^"]{0,300})"|`(?P<c>[^`]{0,300})`"""
    r"""|\u2018(?P<d>[^\u2019]{0,300})\u2019|\u201c(?P<e>[^\u201d]{0,300})\u201d)(?=[\s,.!?]|\Z)"""
    r"|(?P<mark>[,.!?])(?=[\s,.!?]|\Z)|(?P<comma>,)|(?P<word>(?:[^\s,.!?]+|[.!?]+(?![.!?\s]|\Z))+)"
)


def tokens(text: str) -> list[Token]:
    """The words of a text; anything that is not a word or a quoted name is a token that matches nothing."""
    found = []
    for one in _TOKEN.finditer(text):
        kind = one.lastgroup or ""
        found.append(Token(one.group(kind), quoted=kind not in {"mark", "comma", "word"}))
    return found


def match(words: list[Token]) -> Match:
    """Read a sentence by the table."""
    reader = _Reader(words)
    for position, values in reader.rule("sentence", 0):
        if position == len(words):
            return Match(values, position)
    return Match(None, min(reader.reached, len(words)))


def fields(values: tuple[tuple[str, str], ...]) -> dict[str, Any] | None:
    """The values as fields of the action; None where a field has two."""
    found: dict[str, Any] = {}
    for slot, text in values:
        *outer, name = SLOTS[slot].field
        inner = found
        for step in outer:
            inner = inner.setdefault(step, {})
        value: Any = int(text) if slot == "PODS" else text or True
        if slot == "LABEL":
            inner, (name, _, value) = inner.setdefault(name, {}), text.partition("=")
        elif slot == "SECRET":
            value = [*inner.pop(name, ()), text]
            if text in value[:-1]:
                return None
        if name in inner and value is not True:
            return None
        inner[name] = value
    return found


def nearest(words: list[Token]) -> tuple[str, ...]:
    """The sentence for the namespace that seems to be meant, if any."""
    names = [word.text for word in words if word.quoted or re.search(r"[-0-9]", word.text)]
    names = [one for one in names if is_valid(_NAME, one) and one not in _NO_NAMES and not one.isdigit()]
    pairs = [(before.text.lower(), after.text) for before, after in pairwise(words)]
    secrets = [name for before, name in pairs if before == "secret" and is_valid(_SECRET, name)]
    if not names or "namespace" not in {word.text.lower() for word in words if not word.quoted}:
        return ()
    return (f"I need a namespace '{names[0]}'" + (f" with image-pull secret {secrets[0]}" if secrets else ""),)


_Values = tuple[tuple[str, str], ...]


class _Reader:
    """Tries the forms in order and goes back where one does not fit."""

    def __init__(self, words: list[Token]) -> None:
        self.words = words
        self.reached = 0
        self._steps = 0

    def rule(self, name: str, at: int) -> Iterator[tuple[int, _Values]]:
        for form in GRAMMAR[name]:
            yield from self._items(_parsed(form), at, ())

    def _items(self, items: tuple[tuple[str, str], ...], at: int, values: _Values) -> Iterator[tuple[int, _Values]]:
        self._steps += 1
        self.reached = max(self.reached, at)
        if self._steps > _MAX_STEPS:
            return
        if not items:
            yield at, values
            return
        (item, often), rest = items[0], items[1:]
        for after, more in self._one(item, at):
            if after > at:
                yield from self._items(items if often == "*" else rest, after, values + more)
        if often:
            yield from self._items(rest, at, values)

    def _one(self, item: str, at: int) -> Iterator[tuple[int, _Values]]:
        if item.startswith("<"):
            yield from self.rule(item[1:-1], at)
        elif item == "DENY":
            if self._says(at, "default-deny"):
                yield at + 1, (("DENY", ""),)
            elif self._says(at, "default") and self._says(at + 1, "deny"):
                yield at + 2, (("DENY", ""),)
        elif at < len(self.words) and item in SLOTS:
            if _fits(item, self.words[at]):
                yield at + 1, ((item, self.words[at].text),)
        elif self._says(at, item):
            yield at + 1, ()

    def _says(self, at: int, word: str) -> bool:
        if at >= len(self.words) or self.words[at].quoted:
            return False
        return self.words[at].text.lower().replace("\u2019", "'") == word


@cache
def _parsed(form: str) -> tuple[tuple[str, str], ...]:
    return tuple((item[:-1], item[-1]) if len(item) > 1 and item[-1] in "?*" else (item, "") for item in form.split())


@cache
def _vocabulary() -> frozenset[str]:
    """Every literal word of the table."""
    words = {item for forms in GRAMMAR.values() for form in forms for item, _ in _parsed(form)}
    return frozenset({word for word in words if not word.startswith("<")} - SLOTS.keys() | {"default", "default-deny"})


def _fits(name: str, token: Token) -> bool:
    slot, text = SLOTS[name], token.text
    if name == "PODS":
        return _NUMBER.fullmatch(text) is not None
    if name == "LABEL":
        key, equals, value = text.partition("=")
        return bool(equals) and is_valid(_LABEL[0], key) and is_valid(_LABEL[1], value)
    if not token.quoted and (text.lower() in _vocabulary() or not re.search(slot.bare, text)):
        return False
    return slot.form is not None and is_valid(slot.form, text)


def is_valid(form: TypeAdapter[str], text: str) -> bool:
    """Whether a text has a form."""
    try:
        form.validate_python(text)
    except ValidationError:
        return False
    return True
