"""When a release may begin: at once, in batches, or within windows of local time. Pure.

On days when clocks change, a local time is the first moment at which the zone's clock shows it or a later time: in
spring the moment of the jump, in autumn the first of the two. A window within the jump does not open that day. In
Europe/Berlin, `Sun 01:00-02:30` lasts from 01:00 to 03:00 (one hour) on 2026-03-29, `Sun 02:10-02:50` does not open
then, and on 2026-10-25 it lasts 40 minutes, the first time round.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import count
from typing import Final, NoReturn
from zoneinfo import ZoneInfo

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EVERY: Final = re.compile(r"every ([1-9][0-9]{0,3})([mh])")
_HOURS: Final = re.compile(r"([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9])")
# A zone of the IANA database by its full name. Abbreviations such as CET or IST mean different things to different
# people, and `localtime` something else on every machine.
_ZONE: Final = re.compile(r"UTC|[A-Z][A-Za-z_]+(/[A-Za-z0-9_+-]+){1,2}")
_DAY: Final = timedelta(days=1)
_MIDNIGHT: Final = 1440  # minutes after the one before
_MAX_WINDOWS: Final = 20  # windows of one schedule


@dataclass(frozen=True)
class Window:
    """Hours of local time, every week."""

    days: frozenset[int]  # of the week, Monday is 0: those on which it opens
    begin: int  # minutes after midnight
    end: int  # minutes after the same midnight, so beyond 1440 when it closes on the next day
    zone: ZoneInfo

    def opens(self, moment: datetime) -> datetime:
        """The first moment, not before the given one, at which it is open."""
        today = moment.astimezone(self.zone).date()
        # From before yesterday: a window over midnight began yesterday. Beyond a week: clocks may jump over a window.
        for ahead in count(-2):
            begin, end = self._on(today + ahead * _DAY)
            if begin < end and moment < end:
                return max(begin, moment)
        raise AssertionError  # count never ends

    def _on(self, day: date) -> tuple[datetime, datetime]:
        """When it opens and closes; twice the same moment on a day when it does not open."""
        begin = _moment(day, self.begin, self.zone)
        return begin, _moment(day, self.end, self.zone) if day.weekday() in self.days else begin


@dataclass(frozen=True)
class Schedule:
    """When a release may begin, not when it must be done."""

    text: str  # as the policy has it
    period: timedelta | None = None
    windows: tuple[Window, ...] = ()

    @staticmethod
    @lru_cache(maxsize=256)
    def parse(text: str) -> Schedule:
        """Read a schedule.

        Args:
            text: `now`; `every 30m` or `every 6h` (a day at most); or windows separated by `;`, each days (`Mon-Fri`,
                `Sat,Sun`, `daily`), hours (`09:00-17:00`, `22:00-04:00` into the next day, `00:00-24:00`) and a zone
                of the IANA database (`Europe/Berlin`, `UTC`).

        Raises:
            ValueError: the text is no schedule. The message repeats no value.
        """
        if text == "now":
            return Schedule(text)
        if text.startswith("every"):
            return Schedule(text, period=_period(text))
        parts = text.split(";")
        if len(parts) > _MAX_WINDOWS:
            _refuse(f"may have {_MAX_WINDOWS} windows at most")
        return Schedule(text, windows=tuple(_window(part) for part in parts))

    def due(self, arrived: datetime, now: datetime) -> datetime:
        """When a release that waits may begin.

        After a tick that passed since then it may begin at once; after a window that passed it waits for the next.

        Args:
            arrived: when the release came. Later than now (a clock was set back) counts as now.
            now: the present.

        Returns:
            A moment in UTC at which the schedule is open: now, when it is not after `now`.

        Raises:
            ValueError: a time without its offset.
        """
        now = _utc(now)
        arrived = min(_utc(arrived), now)
        if self.period is not None:
            return _tick(arrived, self.period)
        return min((window.opens(now) for window in self.windows), default=arrived)


def _refuse(problem: str) -> NoReturn:
    raise ValueError(problem) from None


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        _refuse("a time without its offset is no moment")
    return moment.astimezone(UTC)


def _tick(moment: datetime, period: timedelta) -> datetime:
    """The first tick not before a moment. Ticks are counted from midnight UTC, and anew each day."""
    midnight = datetime.combine(moment.date(), time(), UTC)
    steps = -((midnight - moment) // period)
    return min(midnight + steps * period, midnight + _DAY)


def _moment(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """The first moment at which the zone's clock shows this time of that day or a later one, in UTC."""
    wall = datetime.combine(day, time()) + timedelta(minutes=minutes)
    early, late = sorted(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if _shown(early, zone) == wall:
        return early
    while late - early > timedelta(seconds=1):  # PEP 495: the clock jumps over it, somewhere between these two
        middle = early + (late - early) // 2
        early, late = (early, middle) if _shown(middle, zone) >= wall else (middle, late)
    return late.replace(microsecond=0)


def _shown(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _period(text: str) -> timedelta:
    found = _EVERY.fullmatch(text)
    period = timedelta(minutes=int(found[1]) * (60 if found[2] == "h" else 1)) if found else _DAY * 2
    if period > _DAY:
        _refuse('must be written as "every 30m" or "every 6h", and be 24h at most')
    return period


def _window(text: str) -> Window:
    try:
        days, hours, zone = text.split()
    except ValueError:
        _refuse('must be "now", "every 30m", or days, hours and a zone, as in "Mon-Fri 09:00-17:00 Europe/Berlin"')
    begin, end = _hours(hours)
    return Window(frozenset(_days(days)), begin, end, _zone(zone))


def _days(text: str) -> Iterator[int]:
    if text.casefold() == "daily":
        yield from range(7)
        return
    for part in text.casefold().split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (last if dash else first) not in _DAYS:
            _refuse("must name days as Mon, Mon-Fri, Sat,Sun or daily")
        start = _DAYS.index(first)
        length = (_DAYS.index(last) - start) % 7 if dash else 0
        yield from ((start + step) % 7 for step in range(length + 1))


def _hours(text: str) -> tuple[int, int]:
    found = _HOURS.fullmatch(text)
    numbers = [int(one) for one in found.groups()] if found else [24, 0, 0, 0]
    begin, end = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
    if begin >= _MIDNIGHT or end > _MIDNIGHT:
        _refuse("must name hours as 09:00-17:00, from 00:00 to 24:00")
    if begin == end:
        _refuse("opens and closes at one time; the whole day is 00:00-24:00")
    return begin, end if end > begin else end + _MIDNIGHT


def _zone(text: str) -> ZoneInfo:
    with suppress(KeyError, ValueError, OSError):  # KeyError: no such zone; OSError: a folder of zones
        if _ZONE.fullmatch(text):
            return ZoneInfo(text)
    _refuse("must name a zone of the IANA database, such as Europe/Berlin, or UTC")
