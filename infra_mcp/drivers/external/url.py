"""Evidence by HTTP: what an address answers, as text or as one value of its JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from pydantic import JsonValue

from infra_mcp.clients.page import fetch
from infra_mcp.drivers.base import Context
from infra_mcp.drivers.external.evidence import Seen, poll
from infra_mcp.errors import Unavailable
from infra_mcp.policy.evidence import UrlRules
from infra_mcp.text import quoted

_LONGEST_PAUSE: Final = 5.0  # seconds between two looks


@dataclass(frozen=True)
class Url:
    """One address, and the value that it must answer.

    Args:
        rules: as policy has them.
        value: the value, with the version in it.
    """

    rules: UrlRules
    value: str

    @property
    def shown(self) -> str:
        """For people, without its query."""
        return f"url {self.rules.at.partition('?')[0]}"

    async def before(self, _: Context) -> JsonValue:
        """Whether it answers so already. Nothing else of the answer is kept."""
        try:
            return (await self._look()).so
        except Unavailable:
            return False

    def fresh(self, before: JsonValue) -> bool:
        """Whether it does not answer so yet."""
        return before is not True

    async def holds(self, context: Context, _: JsonValue, seconds: float) -> str:
        """Wait until it answers with the value."""
        seen = await poll(self.shown, self._look, seconds, context.say, _LONGEST_PAUSE)
        return f"{self.shown} {seen}"

    async def gone(self, context: Context, before: JsonValue, seconds: float) -> str:
        """Wait until it answers something else again."""

        async def look() -> Seen:
            seen = await self._look()
            return Seen(not seen.so or before is True, seen.text)

        return f"{self.shown} {await poll(self.shown, look, seconds, context.say, _LONGEST_PAUSE)}"

    async def _look(self) -> Seen:
        body = await fetch(self.rules.at, hosts=self.rules.hosts, private=self.rules.private)
        text = body.decode("utf-8", "replace").strip()
        if self.rules.pointer is not None:
            try:
                found = _at(json.loads(text), self.rules.pointer)
            except (ValueError, LookupError, RecursionError):
                return Seen(False, f"answers no JSON with {self.rules.pointer or 'a value'}")
            text = found if isinstance(found, str) else json.dumps(found)
        return Seen(text == self.value, f"answers {quoted(text)}")


def _at(value: Any, pointer: str) -> Any:  # noqa: ANN401 - any JSON value
    """The value at a JSON pointer (RFC 6901).

    Raises:
        LookupError: there is none.
        ValueError: a step is no index of a list.
    """
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value[key]
        elif isinstance(value, list) and key.isdecimal():
            value = value[int(key)]
        else:
            raise LookupError(step)
    return value
