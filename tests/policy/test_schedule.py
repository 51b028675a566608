"""Schedules. Windows are held against a second way to say what they mean: look at the clock, minute by minute."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.policy.schedule import Schedule

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
MINUTE = timedelta(minutes=1)
# 2026: clocks jump on 29 March and 8 March, and come again on 25 October and 1 November.
NEAR_CHANGES = [
    datetime(2026, 3, 28, tzinfo=UTC),
    datetime(2026, 10, 24, tzinfo=UTC),
    datetime(2026, 3, 7, tzinfo=UTC),
    datetime(2026, 10, 31, tzinfo=UTC),
    datetime(2026, 7, 1, tzinfo=UTC),
]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def due(schedule: str, arrived: str, now: str | None = None) -> datetime:
    return Schedule.parse(schedule).due(at(arrived), at(now or arrived))


def open_at(schedule, moment):
    """Whether a release that arrives at this moment may begin at once."""
    return schedule.due(moment, moment) == moment


def test_now_is_at_once_however_long_ago_it_arrived():
    assert Schedule.parse("now") == Schedule("now")
    assert due("now", "2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z") == at("2026-11-22T10:00:00Z")
    assert due("now", "2026-11-20T10:00:00Z", "2026-11-22T10:00:00Z") <= at("2026-11-22T10:00:00Z")


@pytest.mark.promise("notify.catalogue")
@pytest.mark.parametrize(
    ("schedule", "arrived", "tick"),
    [
        ("every 30m", "2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
        ("every 30m", "2026-11-22T10:00:00.000001Z", "2026-11-22T10:30:00Z"),
        ("every 30m", "2026-11-22T10:29:59Z", "2026-11-22T10:30:00Z"),
        ("every 30m", "2026-11-22T23:45:00Z", "2026-11-23T00:00:00Z"),
        ("every 30m", "2026-11-22T23:45:00+05:45", "2026-11-22T18:00:00Z"),
        ("every 45m", "2026-11-22T01:31:00Z", "2026-11-22T02:15:00Z"),
        ("every 7h", "2026-11-22T21:01:00Z", "2026-11-23T00:00:00Z"),
        ("every 7h", "2026-11-22T14:01:00Z", "2026-11-22T21:00:00Z"),
        ("every 24h", "2026-11-22T00:00:01Z", "2026-11-23T00:00:00Z"),
        ("every 1440m", "2026-11-22T00:00:01Z", "2026-11-23T00:00:00Z"),
    ],
)
def test_a_batch_begins_at_the_next_tick_counted_from_midnight_utc(schedule, arrived, tick):
    assert due(schedule, arrived) == at(tick)


@pytest.mark.promise("notify.catalogue")
def test_a_tick_that_passed_while_nobody_was_there_is_made_up_for_at_once():
    passed = due("every 30m", "2026-11-22T10:01:00Z", "2026-11-24T03:07:00Z")

    assert passed == at("2026-11-22T10:30:00Z")
    assert passed <= at("2026-11-24T03:07:00Z")


@pytest.mark.promise("notify.catalogue")
def test_a_window_that_passed_while_nobody_was_there_is_not_made_up_for():
    weekdays = f"Mon-Fri 09:00-17:00 {BERLIN}"  # arrived on Friday at 10:00, and it is Saturday

    assert due(weekdays, "2026-11-20T09:00:00Z", "2026-11-21T09:00:00Z") == at("2026-11-23T08:00:00Z")


@pytest.mark.parametrize("schedule", ["now", "every 30m", f"daily 00:00-24:00 {BERLIN}"])
def test_an_arrival_in_the_future_counts_as_now(schedule):
    assert due(schedule, "2027-11-22T10:00:00Z", "2026-11-22T10:00:00Z") == at("2026-11-22T10:00:00Z")


@pytest.mark.promise("notify.catalogue")
@pytest.mark.parametrize(
    ("schedule", "now", "opens"),
    [
        (f"Mon-Fri 09:00-17:00 {BERLIN}", "2026-11-23T08:00:00Z", "2026-11-23T08:00:00Z"),
        (f"Mon-Fri 09:00-17:00 {BERLIN}", "2026-11-23T07:59:59.999999Z", "2026-11-23T08:00:00Z"),
        (f"Mon-Fri 09:00-17:00 {BERLIN}", "2026-11-23T15:59:59Z", "2026-11-23T15:59:59Z"),
        (f"Mon-Fri 09:00-17:00 {BERLIN}", "2026-11-23T16:00:00Z", "2026-11-24T08:00:00Z"),
        (f"Mon-Fri 09:00-17:00 {BERLIN}", "2026-07-03T15:00:00Z", "2026-07-06T07:00:00Z"),
        (f"mon-fri  09:00-17:00  {BERLIN}", "2026-11-22T12:00:00Z", "2026-11-23T08:00:00Z"),
        ("Sat,Sun 10:00-12:00 UTC", "2026-11-23T00:00:00Z", "2026-11-28T10:00:00Z"),
        ("Sat-Mon 10:00-12:00 UTC", "2026-11-23T13:00:00Z", "2026-11-28T10:00:00Z"),
        ("Mon,Wed-Fri 10:00-12:00 UTC", "2026-11-24T00:00:00Z", "2026-11-25T10:00:00Z"),
        ("Fri 22:00-04:00 UTC", "2026-11-21T03:59:00Z", "2026-11-21T03:59:00Z"),
        ("Fri 22:00-04:00 UTC", "2026-11-21T04:00:00Z", "2026-11-27T22:00:00Z"),
        ("Fri 22:00-04:00 UTC", "2026-11-20T03:00:00Z", "2026-11-20T22:00:00Z"),
        ("Sat 22:00-00:00 UTC", "2026-11-21T23:59:59Z", "2026-11-21T23:59:59Z"),
        ("Sat 22:00-24:00 UTC", "2026-11-22T00:00:00Z", "2026-11-28T22:00:00Z"),
        ("Sun 00:00-24:00 Pacific/Auckland", "2026-11-21T10:59:00Z", "2026-11-21T11:00:00Z"),
        ("Mon 09:00-10:00 UTC; Tue 09:00-10:00 UTC", "2026-11-23T10:00:00Z", "2026-11-24T09:00:00Z"),
        ("Tue 09:00-10:00 UTC;Mon 09:00-10:00 UTC", "2026-11-23T08:00:00Z", "2026-11-23T09:00:00Z"),
        (f"Mon 09:00-10:00 {NEW_YORK}; Mon 09:00-10:00 {BERLIN}", "2026-11-23T09:00:00Z", "2026-11-23T14:00:00Z"),
    ],
)
def test_a_window_opens_at_its_local_time(schedule, now, opens):
    assert due(schedule, now) == at(opens)


@pytest.mark.promise("notify.catalogue")
@pytest.mark.parametrize(
    ("hours", "zone", "day", "opens", "closes"),
    [
        # Spring, Berlin: at 02:00 it is 03:00. A time that is jumped over is the moment of the jump, 01:00 UTC.
        ("01:00-02:30", BERLIN, "2026-03-29", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
        ("02:30-04:00", BERLIN, "2026-03-29", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
        ("02:00-03:30", BERLIN, "2026-03-29", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"),
        ("01:59-03:00", BERLIN, "2026-03-29", "2026-03-29T00:59:00Z", "2026-03-29T01:00:00Z"),
        ("22:00-02:30", BERLIN, "2026-03-28", "2026-03-28T21:00:00Z", "2026-03-29T01:00:00Z"),
        # Autumn, Berlin: 02:00 to 03:00 comes twice. A time that comes twice is the first: 02:30 is 00:30 UTC.
        ("01:00-02:30", BERLIN, "2026-10-25", "2026-10-24T23:00:00Z", "2026-10-25T00:30:00Z"),
        ("02:30-02:45", BERLIN, "2026-10-25", "2026-10-25T00:30:00Z", "2026-10-25T00:45:00Z"),
        ("02:30-03:00", BERLIN, "2026-10-25", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"),
        ("02:59-04:00", BERLIN, "2026-10-25", "2026-10-25T00:59:00Z", "2026-10-25T03:00:00Z"),
        ("23:00-02:00", BERLIN, "2026-10-24", "2026-10-24T21:00:00Z", "2026-10-25T00:00:00Z"),
        # New York: 2026-03-08 02:00 is 03:00 (07:00 UTC), 2026-11-01 01:00 to 02:00 comes twice (first from 05:00 UTC).
        ("01:30-02:30", NEW_YORK, "2026-03-08", "2026-03-08T06:30:00Z", "2026-03-08T07:00:00Z"),
        ("02:15-05:00", NEW_YORK, "2026-03-08", "2026-03-08T07:00:00Z", "2026-03-08T09:00:00Z"),
        ("01:30-01:45", NEW_YORK, "2026-11-01", "2026-11-01T05:30:00Z", "2026-11-01T05:45:00Z"),
        ("00:30-01:30", NEW_YORK, "2026-11-01", "2026-11-01T04:30:00Z", "2026-11-01T05:30:00Z"),
        ("01:30-02:00", NEW_YORK, "2026-11-01", "2026-11-01T05:30:00Z", "2026-11-01T07:00:00Z"),
        # Half an hour of jump, at 02:00 on Lord Howe; a whole day left out in Samoa.
        ("02:15-04:00", "Australia/Lord_Howe", "2026-10-04", "2026-10-03T15:30:00Z", "2026-10-03T17:00:00Z"),
        ("22:00-06:00", "Pacific/Apia", "2011-12-29", "2011-12-30T08:00:00Z", "2011-12-30T10:00:00Z"),
    ],
)
def test_a_local_time_means_the_first_moment_the_clock_shows_it_or_a_later_one(hours, zone, day, opens, closes):
    schedule = Schedule.parse(f"{at(day):%a} {hours} {zone}")

    assert schedule.due(at(opens) - MINUTE, at(opens) - MINUTE) == at(opens)
    assert open_at(schedule, at(closes) - timedelta(microseconds=1))
    assert not open_at(schedule, at(closes))


@pytest.mark.parametrize(
    ("schedule", "now", "opens"),
    [
        (f"Sun 02:10-02:50 {BERLIN}", "2026-03-28T12:00:00Z", "2026-04-05T00:10:00Z"),
        (f"Sun 02:00-03:00 {BERLIN}", "2026-03-29T01:00:00Z", "2026-04-05T00:00:00Z"),
        (f"Sun 02:10-02:50 {NEW_YORK}", "2026-03-08T00:00:00Z", "2026-03-15T06:10:00Z"),
        ("Fri 09:00-17:00 Pacific/Apia", "2011-12-29T12:00:00Z", "2012-01-05T19:00:00Z"),
    ],
)
def test_a_window_that_lies_wholly_in_the_jump_does_not_open_that_day(schedule, now, opens):
    assert due(schedule, now) == at(opens)


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, "UTC", "Australia/Lord_Howe"])
@given(
    day=st.integers(0, 6),
    begin=st.integers(0, 1439),
    end=st.integers(0, 1440),
    start=st.sampled_from(NEAR_CHANGES),
    offset=st.integers(0, 3 * 1440),
)
def test_a_release_is_due_at_the_first_minute_at_which_a_clock_beside_it_is_in_the_window(
    zone, day, begin, end, start, offset
):
    if begin == end:
        end += 1
    hours = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    schedule = Schedule.parse(f"{['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'][day]} {hours} {zone}")
    now = start + offset * MINUTE
    found = schedule.due(now, now)

    assert found >= now
    assert open_at(schedule, found)
    if found > now:
        assert not open_at(schedule, found - MINUTE)
        assert not open_at(schedule, now)
    assert _opened(found, day, begin, end, ZoneInfo(zone))


def _opened(moment: datetime, day: int, begin: int, end: int, zone: ZoneInfo) -> bool:
    """Go back minute by minute, with an eye on the clock, until it says that the window has opened or closed.

    The clock has passed a local time as soon as it has shown it or a later one, whatever it shows afterwards.
    """
    until = end if end > begin else end + 1440
    monday = datetime(2026, 1, 5)  # noqa: DTZ001 - what a clock on the wall shows has no zone
    here = moment.astimezone(zone).replace(tzinfo=None)
    for back in (0, 1):
        date = (here - timedelta(days=back)).replace(hour=0, minute=0, second=0, microsecond=0)
        if (date - monday).days % 7 != day:
            continue
        opens, closes = date + begin * MINUTE, date + until * MINUTE
        shown = [(moment - step * MINUTE).astimezone(zone).replace(tzinfo=None) for step in range(1600)]
        if max(shown) >= opens and max(shown) < closes:
            return True
    return False


@given(minutes=st.integers(1, 1440), since=st.integers(0, 10**9), microseconds=st.integers(0, 10**6 - 1))
def test_a_batch_waits_for_less_than_its_period_and_two_servers_agree_on_its_tick(minutes, since, microseconds):
    schedule, period = Schedule.parse(f"every {minutes}m"), minutes * MINUTE
    arrived = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=since, microseconds=microseconds)
    tick = schedule.due(arrived, arrived)
    midnight = tick.replace(hour=0, minute=0, second=0, microsecond=0)

    assert timedelta() <= tick - arrived < period
    assert (tick - midnight) % period == timedelta()
    assert schedule.due(arrived, arrived + timedelta(days=3)) == tick
    assert open_at(schedule, tick)


@pytest.mark.parametrize(
    "text",
    [
        "", " now", "Now", "every", "every 0m", "every 30", "every 30s", "every 1441m", "every 25h", "every 30m ",
        "every 30m; every 1h", "now; now", "22:00", "09:00-17:00 Europe/Berlin", "Mon-Fri 09:00-17:00",
        "Mon-Fri 9:00-17:00 UTC", "Mon-Fri 09:00-17:60 UTC", "Mon-Fri 09:00-24:01 UTC", "Mon-Fri 24:00-09:00 UTC",
        "Mon-Fri 25:00-26:00 UTC", "Mon 09:00-09:00 UTC", "Mon 00:00-00:00 UTC", "Mon 09:00-17:00 UTC;",
        "Mon- 09:00-17:00 UTC", "Mon,,Tue 09:00-17:00 UTC", "Mo 09:00-17:00 UTC", "Mon-Tue-Wed 09:00-17:00 UTC",
        "-Tue 09:00-17:00 UTC", "Mon 09:00-17:00 CET", "Mon 09:00-17:00 localtime", "Mon 09:00-17:00 Europe",
        "Mon 09:00-17:00 Europe/Atlantis", "Mon 09:00-17:00 America/Argentina", "Mon 09:00-17:00 ../etc/passwd",
        "Mon 09:00-17:00 /etc/localtime", "Mon 09:00-17:00 Europe/../Europe/Berlin", "Mon 09:00-17:00 +01:00",
        "Mon 09:00-17:00 posix/Europe/Berlin", "Mon 09:00-17:00 europe/berlin",
        "Mon ٠٩:00-17:00 UTC", ";".join(["Mon 09:00-17:00 UTC"] * 21),
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(ValueError, match=r"^(must|may|opens) "):
        Schedule.parse(text)


def test_a_time_without_its_offset_is_refused():
    with pytest.raises(ValueError, match="offset"):
        Schedule.parse("now").due(datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC))  # noqa: DTZ001 - the point
