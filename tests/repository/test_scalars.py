"""A plain scalar is what Kubernetes' own tools take it for. Each line was tried against sigs.k8s.io/yaml 1.6."""

from __future__ import annotations

import pytest

from infra_mcp.repository.scalars import NotJson, as_json, plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nULL", "nULL"), ("yes", True),
        ("Yes", True), ("YES", True), ("yEs", "yEs"), ("y", True), ("Y", True), ("on", True), ("no", False),
        ("n", False), ("N", False), ("Off", False), ("false", False), ("tRUE", "tRUE"), ("0", 0), ("-1", -1),
        ("+1", 1), ("0644", 420), ("0o17", 15), ("0O17", 15), ("017", 15), ("08", 8), ("0o8", "0o8"), ("0x1F", 31),
        ("-0x10", -16), ("0b101", 5), ("-0b11", -3), ("0x", "0x"), ("1_000", 1000), ("1__0", 10), ("_1", "_1"),
        ("9223372036854775807", 2**63 - 1), ("18446744073709551615", 2**64 - 1), ("-9223372036854775808", -(2**63)),
        ("18446744073709551616", 1.8446744073709552e19), ("1.0", 1), ("1.", 1), ("1.5", 1.5), (".5", 0.5),
        ("1e3", 1000), ("1E+5", 100000), ("4.0e2", 400), ("1e-7", 1e-07), ("1e400", "1e400"), ("1.10", 1.1),
        ("-", "-"), ("+", "+"), ("1:30", "1:30"), ("2026-01-01", "2026-01-01"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"), ("=", "="), ("<<", "<<"), ("...", "..."),
        ("0.13.4", "0.13.4"), ("1.2.3", "1.2.3"), ("v1", "v1"), ("\u0661", "\u0661"), ("._5", "._5"), (".e5", ".e5"),
        (".8_7", 0.87), ("infinity", "infinity"), ("NaN", "NaN"),
    ],
)  # fmt: skip
def test_a_plain_scalar_reads_as_kubernetes_reads_it(text, value):
    read = as_json(plain(text))

    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", [".inf", "+.INF", "-.Inf", ".nan", ".NaN"])
def test_a_number_that_json_has_no_form_for_is_refused(text):
    with pytest.raises(NotJson):
        plain(text)
