"""What the chain holds of a message: the words, where the infra peer or an operator has part; else what proves them.

Events are never taken away, so words that are to go after a while must not stand in one. Between two peers of circles
an event holds their length and a keyed hash. The hash has a key because words are short: without one, whoever has an
old copy of the ledger could try all short answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from infra_mcp.model.digest import canonical, keyed


def between_peers(circle: str | None, other: str | None) -> bool:
    """Whether both sides are peers of circles, by their circles."""
    return circle is not None and other is not None


class MessageDigests:
    """Tells events what was said.

    Args:
        key: gives the key of the hashes; asked for when first needed, in the thread that writes.
    """

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._ask = key
        self._key: bytes | None = None

    def hash(self, text: str | None, attachments: Sequence[dict[str, Any]] = ()) -> str:
        """The keyed hash of words and what is attached to them."""
        if self._key is None:
            self._key = self._ask()
        return keyed(self._key, canonical([text, list(attachments)]))

    def told(
        self, private: bool, text: str | None, attachments: Sequence[dict[str, Any]] = ()
    ) -> tuple[str, dict[str, Any]]:
        """Text and data of an event about masked words.

        Args:
            private: whether they are between peers.
            text: the words; None where nothing was said.
            attachments: what came with them.
        """
        if private:
            return "", {"length": len(text or ""), "hash": self.hash(text, attachments)}
        return text or "", {"attachments": list(attachments)} if attachments else {}

    def match(self, event: Any, text: str | None, attachments: Sequence[dict[str, Any]] = ()) -> bool:  # noqa: ANN401
        """Whether words are those an event tells of.

        Args:
            event: its `text` and its `data`, parsed.
            text: the words as they stand in a row.
            attachments: what stands with them.
        """
        data = event["data"]
        if "hash" in data:
            try:
                return bool(data["hash"] == self.hash(text, attachments))
            except ValueError:  # someone made of it what is no JSON
                return False
        return bool(event["text"] == (text or "") and data.get("attachments", []) == list(attachments))
