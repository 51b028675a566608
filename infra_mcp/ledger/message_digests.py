"""What the chain holds of a message: its text, where the infra peer or an operator takes part; else what proves it.

Events are never deleted, so text that retention deletes must not be in one. For a message between two peers of circles
an event holds its length and a keyed hash. The hash has a key because messages are short: without one, an old copy of
the ledger would be enough to try all short answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from infra_mcp.model.digest import canonical, keyed


def between_peers(circle: str | None, other: str | None) -> bool:
    """Whether both sides are peers of circles, by their circles."""
    return circle is not None and other is not None


class MessageDigests:
    """Makes and checks the text and data of events about messages."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._key = cache(key)  # called when first needed, in the thread that writes

    def content(
        self, private: bool, text: str | None, attachments: Sequence[dict[str, Any]] = ()
    ) -> tuple[str, dict[str, Any]]:
        """Text and data of an event about a masked message; a `private` one is between peers of circles."""
        if private:
            return "", {"length": len(text or ""), "hash": self._hash(text, attachments)}
        return text or "", {"attachments": list(attachments)} if attachments else {}

    def match(self, event: Any, text: str | None, attachments: Sequence[dict[str, Any]] = ()) -> bool:  # noqa: ANN401
        """Whether the text and attachments of a row are those of an event, whose data is parsed."""
        data = event["data"]
        if "hash" in data:
            try:
                return bool(data["hash"] == self._hash(text, attachments))
            except ValueError:  # an edited row that is no JSON
                return False
        return bool(event["text"] == (text or "") and data.get("attachments", []) == list(attachments))

    def _hash(self, text: str | None, attachments: Sequence[dict[str, Any]]) -> str:
        return keyed(self._key(), canonical([text, list(attachments)]))
