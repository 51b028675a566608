"""The records of a zone file with their places in the text (RFC 1035, section 5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import dns.name
import dns.ttl

from infra_mcp.clients.dns.text import relative, value
from infra_mcp.repository.nodes import Unreadable

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[()]|;[^\n]*|(?:[^\s"();\\]|\\.)+|\n', re.DOTALL)
_CLASSES: Final = frozenset({"IN", "CH", "HS"})


@dataclass(frozen=True)
class Token:
    """A piece of the text."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Entry:
    """One record, and where it stands."""

    start: int  # of its first line
    end: int  # after its last line's break
    owner: Token | None  # None where it is the one of the record before
    ttl_at: Token | None
    type_at: Token
    data: tuple[Token, ...]
    name: str  # relative to the zone
    ttl: int
    type: str
    value: str
    origin: str  # in force here, absolute
    tokens: tuple[Token, ...] = field(repr=False, default=())

    @property
    def key(self) -> tuple[str, str]:
        """Its name and type."""
        return self.name, self.type


def entries_of(text: str, zone: str) -> Iterator[Entry]:
    """The records of a text, in order."""
    origin, default = f"{zone}.", None
    last_owner, last_ttl = "", None
    for start, end, tokens, is_blank in _statements(text):
        head = tokens[0].text.upper()
        if head == "$ORIGIN":
            origin = dns.name.from_text(tokens[1].text, dns.name.from_text(origin)).to_text()
        elif head == "$TTL":
            default = dns.ttl.from_text(tokens[1].text)
        elif head.startswith("$"):
            continue
        else:
            rest = list(tokens)
            owner = None if is_blank else rest.pop(0)
            ttl_at: Token | None = None
            while rest and (rest[0].text.upper() in _CLASSES or _is_ttl(rest[0].text)):
                token = rest.pop(0)
                ttl_at = token if token.text.upper() not in _CLASSES else ttl_at
            if not rest:
                raise Unreadable(_line(text, start), "a record has no type")
            if owner is not None:
                last_owner = dns.name.from_text(owner.text, dns.name.from_text(origin)).to_text()
            kind, data = rest[0], tuple(rest[1:])
            last_ttl = dns.ttl.from_text(ttl_at.text) if ttl_at else default if default is not None else last_ttl
            ttl = last_ttl
            if kind.text.upper() == "SOA" and ttl is None:
                ttl = last_ttl = default = dns.ttl.from_text(data[-1].text)
            try:
                spelling = value(kind.text, " ".join(one.text for one in data), dns.name.from_text(origin))
                name = relative(last_owner, zone)
            except ValueError as error:
                raise Unreadable(_line(text, start), f"a record {error}") from None
            yield Entry(
                start, end, owner, ttl_at, kind, data, name, ttl or 0,
                kind.text.upper(), spelling, origin, tuple(tokens),
            )  # fmt: skip


def _is_ttl(text: str) -> bool:
    return re.fullmatch(r"[0-9]+(?:[wdhmsWDHMS][0-9]*)*", text) is not None


def _statements(text: str) -> Iterator[tuple[int, int, list[Token], bool]]:
    """Each directive or record: where its lines begin and end, its tokens, and whether it begins with a blank."""
    tokens: list[Token] = []
    depth, start = 0, 0
    for found in _TOKEN.finditer(text):
        piece = found[0]
        if piece == "(":
            depth += 1
        elif piece == ")":
            depth -= 1
        elif piece == "\n":
            if depth:
                continue
            if tokens:
                yield start, found.end(), tokens, text[start] in " \t"
            tokens, start = [], found.end()
        elif not piece.startswith(";"):
            tokens.append(Token(found.start(), found.end(), piece))
    if tokens:
        yield start, len(text), tokens, text[start] in " \t"


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
