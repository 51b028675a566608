"""The one place every outgoing text passes."""

from __future__ import annotations

from typing import Any

__all__ = ["Masker"]


class Masker:
    """Replaces secrets by `[masked:HMAC8]`."""

    def __init__(self, key: bytes) -> None: ...

    def learn(self, value: str | bytes) -> None: ...

    def mask(self, text: str) -> str: ...

    def mask_json(self, value: Any) -> Any: ...  # noqa: ANN401 - any JSON value
