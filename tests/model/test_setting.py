"""A value of a setting is what its type says, within the bounds that policy names, and is data."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra_mcp.errors import InfraError
from infra_mcp.model.inert import SIGNS, escaped, inert
from infra_mcp.model.setting import MAX_TEXT, SettingRule, check

_DIGEST = "sha256:" + "0a" * 32


def _rule(kind: str, **more) -> SettingRule:
    return SettingRule.model_validate_json(json.dumps({"type": kind, **more}))


def _refused(rule: SettingRule, value, **more) -> InfraError:
    with pytest.raises(InfraError) as caught:
        check(rule, value, name="size", **more)
    assert caught.value.code == "invalid-argument"
    assert "size" in caught.value.what
    return caught.value


@pytest.mark.promise("configure.bounded")
@pytest.mark.parametrize(
    ("kind", "more", "value", "written"),
    [
        ("integer", {}, 4, 4), ("integer", {}, "4", 4), ("integer", {}, 3.0, 3), ("integer", {}, "-2", -2),
        ("integer", {"min": 0, "max": 4}, "0", 0), ("integer", {"max": "4"}, 4, 4),
        ("number", {}, "0.5", 0.5), ("number", {}, "4", 4), ("number", {}, 1.5, 1.5), ("number", {}, "1e3", 1000),
        ("number", {"min": 0.1, "max": 0.9}, "0.9", 0.9), ("number", {}, "1.10", 1.1),
        ("boolean", {}, "true", True), ("boolean", {}, False, False),
        ("string", {}, "4", "4"), ("string", {}, "", ""), ("string", {}, "a b, c: d #e 'f'", "a b, c: d #e 'f'"),
        ("string", {}, "https://example.org/?a=b&c=d", "https://example.org/?a=b&c=d"),
        ("string", {"pattern": "[a-z]+|[0-9]+"}, "12", "12"), ("string", {}, "$2a$10$", "$2a$10$"),
        ("string", {}, "costs 5$", "costs 5$"), ("string", {}, "a < b", "a < b"),
        ("string", {"allow": ["${"]}, "${cluster}.example.org", "${cluster}.example.org"),
        ("string", {"allow": ["\n"]}, "a\nb", "a\nb"),
        ("enum", {"values": ["debug", "info"]}, "info", "info"), ("enum", {"values": [1, 2]}, "2", 2),
        ("enum", {"values": [1, 2]}, 2, 2), ("enum", {"values": [True, "auto"]}, "true", True),
        ("quantity", {}, "500m", "500m"), ("quantity", {"max": "1Gi"}, "1024Mi", "1024Mi"),
        ("quantity", {"max": 2}, "2", "2"), ("quantity", {}, 2, 2), ("quantity", {}, "1.5", "1.5"),
        ("quantity", {"min": "100m"}, "0.1", "0.1"), ("quantity", {}, "1e3", "1e3"), ("quantity", {}, ".5Gi", ".5Gi"),
        ("duration", {}, "30s", "30s"), ("duration", {"max": "1h"}, "59m60s", "59m60s"), ("duration", {}, "0", "0"),
        ("duration", {}, "1.5h", "1.5h"), ("duration", {"min": "1ms"}, "1000µs", "1000µs"),
        ("version", {}, "1.10", "1.10"), ("version", {}, f"v2@{_DIGEST}", f"v2@{_DIGEST}"),
        ("version", {}, "_x-1.2", "_x-1.2"), ("version", {"pattern": "v[0-9].*"}, "v2.1", "v2.1"),
        ("chart-version", {}, "1.2.3", "1.2.3"), ("chart-version", {}, "v1.2.3-rc.1+b.5", "v1.2.3-rc.1+b.5"),
        ("ref", {}, "release/1.2", "release/1.2"), ("ref", {}, "0a" * 20, "0a" * 20), ("ref", {}, "HEAD", "HEAD"),
        ("digest", {}, _DIGEST, _DIGEST),
    ],
)  # fmt: skip
def test_a_value_of_its_type_is_written_as_the_type_says(kind, more, value, written):
    got = check(_rule(kind, **more), value, name="size")

    assert got == written
    assert type(got) is type(written)


@pytest.mark.promise("configure.bounded")
@pytest.mark.parametrize(
    ("kind", "more", "values"),
    [
        ("integer", {}, [True, "4.0", "04", "+4", " 4", "4 ", "0x4", "4e0", "", "four", 4.5, "٤", 2**63, "9" * 400]),
        ("integer", {"min": 1, "max": 4}, ["0", "5", -1, "1000000"]),
        ("number", {}, ["nan", "inf", "1e400", "Infinity", ".5", "1.", "0x1", True, "1,5", "0.1000000000000000000001"]),
        ("number", {"max": 0.5}, ["0.51", 1]),
        ("boolean", {}, ["yes", "True", "1", 1, 0, "", "on"]),
        ("string", {}, [4, True, 1.5, "x" * (MAX_TEXT + 1)]),
        ("string", {"pattern": "[a-z]+"}, ["", "A", "a1", "a\n", "\na", "a\nb"]),
        ("string", {"pattern": "a|b"}, ["ab", "ax", "xb"]),
        ("enum", {"values": ["debug", "info"]}, ["INFO", "", "inf", 1, True, "debug "]),
        ("enum", {"values": [1]}, [True, "1.0", "01"]),
        ("quantity", {}, ["1GB", "Gi", "1gi", "1e", "1e100", "1e-999999999", "--1", "1Ei1", "", "9Ei", True, "x"]),
        ("quantity", {"min": "64Mi", "max": "1Gi"}, ["63Mi", "1025Mi", "1.1Gi", "2", "1T", 1]),
        ("duration", {}, ["30", "1d", "1h 30m", "", "h", "1:30", 30, "1s1", "300y", "9999999999h", True]),
        ("duration", {"min": "1s", "max": "1h"}, ["999ms", "3601s", "-5s", "0"]),
        ("version", {}, ["", ".1", "-1", "1+2", "a" * 129, "1:2", "1@sha256:00", f"1@{_DIGEST}0", _DIGEST, 1.9]),
        ("chart-version", {}, ["1.2", "^1.2.3", ">=1.0.0", "1.x.0", "01.2.3", "1.2.3-01", "1.2.3-", "1.2.3 "]),
        ("ref", {}, ["", "-x", "a..b", "a b", "a~1", "a^", "a:b", "a?b", "a*", "a[", "a\\b", "/a", "a/", "a//b", ".a",
                     "a/.b", "a.", "a.lock", "a.lock/b", "@", "a@{1}", "a\x7f", "a" * 251]),
        ("digest", {}, ["sha256:00", _DIGEST.upper(), _DIGEST + "0", "sha512:" + "0" * 64, "0" * 64]),
    ],
)  # fmt: skip
def test_another_value_is_refused_by_the_settings_name_and_says_what_passes(kind, more, values):
    rule = _rule(kind, **more)
    for value in (*values, None, [], ["1"], {"a": 1}):
        error = _refused(rule, value)
        assert (rule.describe() in error.what) or "longer" in error.what or "interpreted" in error.what, (value, error)
        assert not isinstance(value, str) or len(value) < 8 or value not in error.what, value


@pytest.mark.promise("value.inert")
@pytest.mark.parametrize(
    "text",
    [
        "${x}", "a${x:-b}", "$(X)", "$[x]", "$$", "$HOME", "a$b", "%{ if x }", "{{ .Values.x }}", "{% x %}", "#{x}",
        "<path:secret/data/x#key>", "<key>", "a<b>c", "ref+vault://x", "secretref+vault://x", "ENC[AES256_GCM,data:x]",
        "vault:secret/data/x#y", ">>vault:x", "op://vault/item", "`id`", "a\nb", "a\r", "a\tb", "\x00", "\x1b[31m",
        "a\x7f", "a\x85b", "a\u2028b", "a\u2029b", "a\u202eb", "\ufeffa", "a\u200bb", "\ud800",
    ],
)  # fmt: skip
def test_what_a_deliverer_would_interpret_is_refused_and_not_repeated(text):
    error = _refused(_rule("string"), text)

    assert "interpreted" in error.what
    assert text not in error.what or text in SIGNS


@pytest.mark.promise("value.inert")
def test_a_ref_is_refused_too_where_git_would_take_it():
    for text in ("${x}", "$(x)", "a$b", "ref+x", "{{x}}", "`x`"):
        _refused(_rule("ref"), text)


@pytest.mark.promise("value.inert")
def test_policy_allows_each_sign_by_itself():
    rule = _rule("string", allow=["${"])

    assert check(rule, "${a}", name="size") == "${a}"
    for text in ("$(a)", "{{a}}", "$a", "${a}\n", "$${a}"):
        _refused(rule, text)


@pytest.mark.promise("value.inert")
def test_a_delivery_with_an_escape_gets_the_text_escaped_and_the_others_refuse_it():
    rule = _rule("string")

    assert check(rule, "${a} 5$ $$", name="size", delivery="flux") == "$${a} 5$ $$$$"
    assert check(rule, "${a}%{b}", name="size", delivery="terraform") == "$${a}%%{b}"
    assert check(_rule("string", allow=["${"]), "${a}", name="size", delivery="flux") == "${a}"
    for delivery in ("kubernetes", "argocd", "helm", ""):
        _refused(rule, "${a}", delivery=delivery)
    for text in ("{{a}}", "%{a}", "$(a)", "a\\\\b", "a\\/b", "a\n"):
        _refused(rule, text, delivery="flux")
    _refused(rule, "$${a}", delivery="terraform")


def _envsubst(text: str) -> str:
    """Flux's substitution, for texts in which nothing is to be substituted."""
    out, at = "", 0
    while at < len(text):
        pair = text[at : at + 2]
        if pair == "${":
            msg = "it would be substituted"
            raise AssertionError(msg)
        at += 2 if pair in ("$$", "\\\\", "\\/") else 1
        out += pair[1] if pair in ("$$", "\\\\", "\\/") else pair[0]
    return out


@pytest.mark.promise("value.inert")
@given(st.text(alphabet="${}a\\/ ", max_size=12))
def test_flux_gives_an_escaped_text_back_as_it_was(text):
    written = escaped(text, "flux")

    if written is None:
        assert "\\\\" in text or "\\/" in text
    else:
        assert _envsubst(written) == text


@pytest.mark.promise("value.inert")
@given(st.text(max_size=40))
def test_whatever_passes_is_one_printable_line_without_a_sign(text):
    if inert(text) is None:
        assert len(text.splitlines()) <= 1
        assert not any(sign in text for sign in ("${", "$(", "{{", "ref+", "ENC[", "<path:", "\x00"))


def test_a_number_that_stood_as_a_text_stays_one():
    assert check(_rule("integer"), 3, name="size", before="2") == "3"
    assert check(_rule("number"), "0.5", name="size", before="2") == "0.5"
    assert check(_rule("boolean"), True, name="size", before="false") == "true"
    assert check(_rule("integer"), "3", name="size", before=2) == 3
    assert check(_rule("integer"), "3", name="size", before="auto") == 3


def test_a_quantity_that_stood_as_a_number_stays_one():
    assert check(_rule("quantity"), "2", name="size", before=1) == 2
    assert check(_rule("quantity"), "2", name="size", before="1") == "2"
    assert check(_rule("quantity"), "500m", name="size", before=1) == "500m"


@pytest.mark.parametrize(
    ("pattern", "text"), [("(a+)+", "a" * 4000 + "!"), ("(a|aa)+b", "a" * 4000), ("(.*)*x", "y" * 4000)]
)
def test_a_pattern_takes_linear_time(pattern, text):
    rule, begin = _rule("string", pattern=pattern), time.process_time()

    _refused(rule, text)

    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    "rule",
    [
        {"type": "text"}, {"type": "enum"}, {"type": "enum", "values": ["1", 1]}, {"type": "string", "values": ["a"]},
        {"type": "integer", "pattern": "a"}, {"type": "string", "pattern": "("}, {"type": "string", "pattern": "(?=a)"},
        {"type": "string", "pattern": "(a)\\1"}, {"type": "string", "pattern": "a)|(?:b"}, {"type": "string", "max": 4},
        {"type": "string", "pattern": "(?x)a #"}, {"type": "string", "pattern": "((a{1000}){1000}){1000}"},
        {"type": "integer", "min": 4, "max": 1}, {"type": "integer", "min": 0.5}, {"type": "integer", "max": "x"},
        {"type": "quantity", "max": "1GB"}, {"type": "duration", "max": "1d"}, {"type": "integer", "max": True},
        {"type": "string", "allow": ["&"]}, {"type": "version", "allow": ["${"]}, {"type": "string", "at": "x"},
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused_with_the_policy(rule):
    with pytest.raises(ValidationError):
        SettingRule.model_validate_json(json.dumps(rule))


def test_the_docs_name_every_sign_that_policy_may_allow():
    text = (Path(__file__).resolve().parents[2] / "docs/policy.md").read_text(encoding="utf-8")
    (row,) = [row for row in text.splitlines() if row.startswith("| `apps.NAME.settings.NAME.allow` |")]

    shown = {"`": "a backquote", "\n": r"`\n`"}
    assert [sign for sign in SIGNS if shown.get(sign, f"`{sign}`") not in row] == []
