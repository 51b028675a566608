"""The hosts of a rule of Traefik: `Host(`docs.example`) && PathPrefix(`/api`)`.

https://doc.traefik.io/traefik/reference/routing-configuration/http/routing/rules-and-priority/
"""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"\s*(?:(&&|\|\||!|\(|\)|,)|([A-Za-z]+)|(`[^`]*`|\"(?:[^\"\\]|\\.)*\"))")
_HOSTS: Final = frozenset({"host", "hostheader", "hostsni"})
_MAX_DEPTH: Final = 20
_MAX_LENGTH: Final = 10_000


def hosts_of_match(rule: object) -> list[str]:
    """Every host that a rule may match.

    Returns:
        The hosts; empty where it may match any host, or cannot be read.
    """
    if not isinstance(rule, str) or len(rule) > _MAX_LENGTH:
        return []
    tokens, at = [], 0
    text = rule.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            return []
        tokens.append(next(filter(None, found.groups())))
        at = found.end()
    reader = _Reader(tokens)
    try:
        hosts = reader.either(0)
    except (IndexError, ValueError):
        return []
    return sorted(hosts) if hosts and not reader.tokens else []


class _Reader:
    """Reads a rule by descent; None stands for any host."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def either(self, depth: int) -> set[str] | None:
        found = self._all(depth)
        while self._take("||"):
            other = self._all(depth)
            found = None if found is None or other is None else found | other
        return found

    def _all(self, depth: int) -> set[str] | None:
        found = self._one(depth)
        while self._take("&&"):
            other = self._one(depth)
            # Both hold, so either one's hosts bound it; all of them must be granted, which is stricter.
            found = other if found is None else found if other is None else found | other
        return found

    def _one(self, depth: int) -> set[str] | None:
        if depth > _MAX_DEPTH:
            raise ValueError
        if self._take("!"):
            self._one(depth + 1)
            return None
        if self._take("("):
            found = self.either(depth + 1)
            self._require(")")
            return found
        name = self.tokens.pop(0)
        self._require("(")
        values = [self._text()]
        while self._take(","):
            values.append(self._text())
        self._require(")")
        if name.lower() == "hostregexp":
            raise ValueError  # which hosts an expression matches is not computed
        return set(values) if name.lower() in _HOSTS else None

    def _take(self, token: str) -> bool:
        if self.tokens[:1] == [token]:
            self.tokens.pop(0)
            return True
        return False

    def _require(self, token: str) -> None:
        if not self._take(token):
            raise ValueError

    def _text(self) -> str:
        token = self.tokens.pop(0)
        if token[0] not in '`"':
            raise ValueError
        return token[1:-1]
