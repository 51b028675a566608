"""How many requests may come in a time."""

from __future__ import annotations

from typing import NamedTuple


class Budget(NamedTuple):
    """One rule's bound of the requests in any such time, a peer's or a circle's."""

    rule: str
    requests: int
    seconds: float
    shared: bool  # by all peers of the circle
