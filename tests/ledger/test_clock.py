"""Times sort as text, whatever form they came in."""

import pytest

from infra_mcp.ledger.clock import normal, now


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00.000000Z"),
        ("2026-11-22T10:00:00.123+02:00", "2026-11-22T08:00:00.123000Z"),
        ("2026-11-22T10:00:00", "2026-11-22T10:00:00.000000Z"),
        (" 2026-11-22 ", "2026-11-22T00:00:00.000000Z"),
    ],
)
def test_a_time_is_kept_in_one_form(given, kept):
    assert normal(given) == kept
    assert normal(kept) == kept


def test_a_date_can_mean_its_end():
    assert normal("2026-11-22", end=True) == "2026-11-22T23:59:59.999999Z"
    assert normal("2026-11-22T10:00:00Z", end=True) == "2026-11-22T10:00:00.000000Z"


@pytest.mark.parametrize("given", ["", "yesterday", "2026-13-01", "22.11.2026", "\0"])
def test_what_is_no_time_is_refused(given):
    with pytest.raises(ValueError):  # noqa: PT011 - the library's words
        normal(given)


def test_the_present_is_in_that_form():
    moment = now()
    assert normal(moment) == moment
