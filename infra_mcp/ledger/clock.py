"""Times as the ledger writes them: UTC, ISO 8601, microseconds, so that they sort as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_DATE = len("2026-01-31")


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> str:
    """The time of this machine's clock. It may go backwards; the order of events is their number, never their time."""
    return _written(datetime.now(UTC))


def after(seconds: float, moment: str | None = None) -> str:
    """The time so many seconds after a moment that the ledger wrote, or after now."""
    return _written(datetime.fromisoformat(moment or now()) + timedelta(seconds=seconds))


def normal(time: str, *, end: bool = False) -> str:
    """A time as the ledger writes it. Without a zone it is UTC; a bare date is its first moment, or its last.

    Args:
        time: an ISO 8601 date or time.
        end: whether a bare date means the end of that day.

    Raises:
        ValueError: it is neither.
    """
    moment = datetime.fromisoformat(time.strip())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if end and len(time.strip()) == _DATE:
        moment += timedelta(days=1, microseconds=-1)
    return _written(moment)
