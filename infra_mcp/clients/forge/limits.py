"""How a forge says that it wants no request for a while.

GitHub documents its ways in "Rate limits for the REST API" and "Best practices for using the REST API": 403 or 429 with
`Retry-After`; or with `x-ratelimit-remaining: 0`, and `x-ratelimit-reset` in seconds of the epoch; or a secondary limit
without either, after which a client waits for a minute. A proxy before Gitea or Forgejo answers 429 with `Retry-After`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

_A_MINUTE: Final = 60.0
_LONGEST: Final = 3600.0  # seconds; GitHub's limits are set back every hour
_SECONDARY: Final = b"secondary rate limit"
_MAYBE = {HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


def asked_to_wait(status: int, headers: Mapping[str, str], data: bytes) -> float | None:
    """For how many seconds the forge wants no request; None where its answer is about something else."""
    after, reset = headers.get("Retry-After"), headers.get("X-RateLimit-Reset", "")
    if status not in _MAYBE or (status == HTTPStatus.SERVICE_UNAVAILABLE and after is None):
        return None
    if after is not None:
        return _bounded(_seconds(after, headers))
    if headers.get("X-RateLimit-Remaining") == "0":
        return _bounded(float(reset) - _now(headers)) if reset.isdecimal() else _A_MINUTE
    return _A_MINUTE if status == HTTPStatus.TOO_MANY_REQUESTS or _SECONDARY in data[:4096] else None


def _seconds(after: str, headers: Mapping[str, str]) -> float:
    """The value of `Retry-After`: seconds, or a date."""
    try:
        return float(after)
    except ValueError:
        date = _date(after)
        return date - _now(headers) if date is not None else _A_MINUTE


def _now(headers: Mapping[str, str]) -> float:
    """The time by the forge's own clock, which its dates are meant by."""
    date = _date(headers.get("Date", ""))
    return time.time() if date is None else date


def _date(text: str) -> float | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _bounded(seconds: float) -> float:
    return min(max(seconds, 1.0), _LONGEST) if seconds == seconds else _A_MINUTE  # noqa: PLR0124 - NaN is not itself


def parsed_time(text: object) -> datetime:
    """A time of an API's answer (RFC 3339); the epoch where there is none."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        found = datetime.fromtimestamp(0, UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
