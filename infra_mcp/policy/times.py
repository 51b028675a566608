"""Durations and moments as people write them in the policy file. Messages never repeat the value they refuse."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, StringConstraints

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# RFC 3339, with the space that TOML allows for the T.
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def seconds(duration: str) -> float:
    """A duration such as `30s`, `10m`, `1h` or `30d`, in seconds."""
    return float(int(duration[:-1]) * _UNITS[duration[-1]])


def format_duration(amount: float) -> str:
    """A number of seconds as people write it, in the largest unit that fits: `90s`, `1h`."""
    unit, size = next((one for one in reversed(_UNITS.items()) if amount % one[1] == 0), ("s", 1))
    return f"{int(amount // size)}{unit}"


def _duration(value: str) -> str:
    if seconds(value) > 24 * 3600:
        msg = "must be at most 24h"
        raise ValueError(msg)
    return value


def _long(value: str) -> str:
    if seconds(value) > 366 * _UNITS["d"]:
        msg = "must be at most 366d"
        raise ValueError(msg)
    return value


def _moment(value: object) -> datetime:
    try:
        if isinstance(value, str) and _MOMENT.fullmatch(value):
            return datetime.fromisoformat(value.upper())
    except ValueError:  # the 31st of February; its message repeats the value
        pass
    msg = "must be a date and time with its offset, as in 2026-12-20T18:00:00+01:00 (RFC 3339)"
    raise ValueError(msg)


Duration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}[smh]$"), AfterValidator(_duration)]
LongDuration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,4}[smhd]$"), AfterValidator(_long)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
