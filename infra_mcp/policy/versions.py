"""Which of two versions is newer, by the order that an app declares. Pure.

`semver` is Semantic Versioning 2.0.0, section 11: a leading v is tolerated, a third part that is left out is 0, build
metadata is ignored. `date` reads 2026-11-22, 20261122 and 2026.11.22, the last with a number for the day's builds where
there is one: 2026.11.22.3. `arrival` reads nothing: what came later is newer. Versions that an order cannot read are
compared by arrival, and the comparison says so.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Final, Literal, NamedTuple

Order = Literal["semver", "date", "arrival"]

_NUMBER = r"(?:0|[1-9][0-9]*)"
_SEMVER: Final = re.compile(
    rf"v?({_NUMBER})\.({_NUMBER})(?:\.({_NUMBER}))?"
    rf"(?:-((?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_DATE: Final = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})-([0-9]{2})|([0-9]{2})([0-9]{2})|\.([0-9]{1,2})\.([0-9]{1,2})(?:\.([0-9]{1,9}))?)"
)

Rank = tuple[Any, ...]


class Comparison(NamedTuple):
    """Which of two versions is newer."""

    sign: int  # 1: the first is newer, -1: it is older, 0: neither
    by: Order  # what decided; `arrival` too where the declared order could not read one of them


def compare(order: Order, late: str, early: str) -> Comparison:
    """Compare a version with an earlier one; different versions of one rank, such as v1.0.0 and 1.0.0, are equal."""
    if late == early:
        return Comparison(0, order)
    rank = {"semver": _semver, "date": _date}.get(order, lambda _: None)
    ranks = rank(late), rank(early)
    if ranks[0] is None or ranks[1] is None:
        return Comparison(1, "arrival")
    return Comparison((ranks[0] > ranks[1]) - (ranks[0] < ranks[1]), order)


def _semver(version: str) -> Rank | None:
    found = _SEMVER.fullmatch(version)
    if found is None:
        return None
    *core, before = found.groups()
    # Section 11.3 and 11.4: a pre-release comes before its release; numbers before words; fewer fields before more.
    fields = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in before.split(".")) if before else ()
    return (*(int(one or 0) for one in core), 0 if before else 1, fields)


def _date(version: str) -> Rank | None:
    found = _DATE.fullmatch(version)
    if found is None:
        return None
    year, month, day = (int(one) for one in [one for one in found.groups()[:7] if one is not None])
    try:
        return (date(year, month, day), int(found[8] or 0))
    except ValueError:
        return None
