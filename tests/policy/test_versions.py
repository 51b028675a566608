import string
from datetime import date
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.policy.versions import Comparison, Order, compare

ORDERS = get_args(Order)

KNOWN = {"semver": "1.0.0", "date": "2026-11-22"}


def newer(order, late, early):
    return compare(order, late, early).sign > 0


def readable(order, version):
    return compare(order, version, KNOWN[order]).by == order


# Semantic Versioning 2.0.0, section 11.
ASCENDING = [
    "0.0.0-0", "0.0.1", "0.9.0", "0.10.0", "1.0.0-0", "1.0.0-1", "1.0.0-10", "1.0.0-alpha", "1.0.0-alpha.1",
    "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "2.0.0", "2.1.0", "2.1.1",
    "10.0.0", "99999999999999999999.0.0",
]  # fmt: skip
NO_SEMVER = [
    "", "1", "1.", "1.2.", "1.2.3.4", "01.2.3", "1.02.3", "1.2.03", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "1.2.3-a_b",
    "V1.2.3", "vv1.2.3", "v 1.2.3", " 1.2.3", "1.2.3\n", "-1.2.3", "1.2.x", "latest", "nightly", "1.2.\u0663",
    "1.2.3+", "1.2.3_4",
]  # fmt: skip

NUMBERS = st.integers(0, 12).map(str)
WORDS = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=3).filter(
    lambda word: not word.isdigit() or word == "0" or word[0] != "0"
)
SEMVERS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "v"]),
    st.tuples(NUMBERS, NUMBERS, NUMBERS).map(".".join),
    st.just("") | st.lists(WORDS, min_size=1, max_size=3).map(lambda parts: "-" + ".".join(parts)),
    st.just("") | WORDS.map("+".__add__),
)
DAYS = st.dates(date(2026, 1, 1), date(2027, 12, 31))
DATES = (
    DAYS.map("{:%Y-%m-%d}".format)
    | DAYS.map("{:%Y%m%d}".format)
    | st.builds("{:%Y.%m.%d}{}".format, DAYS, st.just("") | st.integers(0, 30).map(".{}".format))
)


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize("at", range(len(ASCENDING) - 1))
def test_semver_orders_as_its_specification_does(at):
    early, late = ASCENDING[at], ASCENDING[at + 1]

    assert compare("semver", late, early) == Comparison(1, "semver")
    assert compare("semver", early, late) == Comparison(-1, "semver")
    assert newer("semver", late, early)
    assert not newer("semver", early, late)


@pytest.mark.parametrize(
    ("one", "other"),
    [("v1.0.0", "1.0.0"), ("1.0.0+a", "1.0.0+b"), ("1.0.0+a", "1.0.0"), ("v1.0.0-rc.1+5", "1.0.0-rc.1")],
)
def test_a_leading_v_and_build_metadata_do_not_count(one, other):
    assert compare("semver", one, other) == compare("semver", other, one) == Comparison(0, "semver")


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize(
    ("late", "early", "sign"),
    [
        ("2026-11-22", "2026-11-21", 1),
        ("2026-11-21", "2026-11-22", -1),
        ("20261122", "2026-11-21", 1),
        ("20261122", "2026-11-22", 0),
        ("2026.11.22", "20261122", 0),
        ("2026.11.22.1", "2026.11.22", 1),
        ("2026.11.22.10", "2026.11.22.9", 1),
        ("2026.11.22.10", "2026.11.23", -1),
        ("2026.1.2", "2026.01.02", 0),
        ("2026.10.2", "2026.9.30", 1),
        ("10000101", "99991231", -1),
    ],
)
def test_dates_order_by_the_day_and_then_by_the_days_number(late, early, sign):
    assert compare("date", late, early) == Comparison(sign, "date")


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize(
    ("order", "version"),
    [
        *(("semver", version) for version in NO_SEMVER),
        ("date", "2026-13-01"), ("date", "2026-02-29"), ("date", "20260230"), ("date", "2026.2.30"),
        ("date", "0000-01-01"), ("date", "2026-1-2"), ("date", "2026-11-22.1"), ("date", "20261122.1"),
        ("date", "v2026.11.22"), ("date", "2026.11.22.-1"), ("date", "26.11.22"), ("date", "1.2.3"), ("date", "latest"),
        ("date", "2026.11-22"),
    ],
)  # fmt: skip
def test_what_the_order_cannot_read_is_compared_by_arrival_and_the_comparison_says_so(order, version):
    known = KNOWN[order]

    assert not readable(order, version)
    assert readable(order, known)
    assert compare(order, version, known) == compare(order, known, version) == Comparison(1, "arrival")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("version", ["1.0.0", "2026-11-22", "nightly"])
def test_a_version_is_not_newer_than_itself(order, version):
    assert compare(order, version, version) == Comparison(0, order)
    assert not newer(order, version, version)


def test_by_arrival_what_came_later_is_newer_whatever_it_is_called():
    assert compare("arrival", "0.1.0", "9.9.9") == Comparison(1, "arrival")
    assert newer("arrival", "2020-01-01", "2026-11-22")


@pytest.mark.promise("notify.order")
@pytest.mark.parametrize(("order", "versions"), [("semver", SEMVERS), ("date", DATES)])
@given(data=st.data())
def test_the_order_of_what_can_be_read_is_total_and_transitive(order, versions, data):
    one, two, three = (data.draw(versions) for _ in range(3))
    signs = [compare(order, *pair).sign for pair in ((one, two), (two, one), (two, three), (one, three))]

    assert all(readable(order, version) for version in (one, two, three))
    assert signs[0] == -signs[1]
    if signs[0] == signs[2] or 0 in {signs[0], signs[2]}:
        assert signs[3] == (signs[0] or signs[2])


TWO_PARTS = ["0.9", "1.0-rc.1", "1.0", "1.0.1", "v1.2", "1.9", "1.9.5", "1.10", "1.11-alpha", "1.11.0", "2.0", "10.0"]


@pytest.mark.fault("f21")
@pytest.mark.parametrize("at", range(len(TWO_PARTS) - 1))
def test_a_version_of_two_parts_is_ordered_as_if_its_third_were_0(at):
    early, late = TWO_PARTS[at], TWO_PARTS[at + 1]

    assert compare("semver", late, early) == Comparison(1, "semver")
    assert compare("semver", early, late) == Comparison(-1, "semver")


@pytest.mark.fault("f21")
@pytest.mark.parametrize(("one", "other"), [("1.2", "1.2.0"), ("v1.2", "1.2"), ("1.2-rc.1", "1.2.0-rc.1")])
def test_a_version_of_two_parts_has_the_rank_of_that_with_a_0(one, other):
    assert compare("semver", one, other) == compare("semver", other, one) == Comparison(0, "semver")
