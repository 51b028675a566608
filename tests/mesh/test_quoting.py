"""Words of others, shown as such: every character visible, no closing tag, each line behind a mark."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.text import cell, clip, harmless, harmless_json, quoted_lines

HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from('\r\n\t\x00\x1b\x85\u2028\u2029\u202e\u2066\u200b\ufeff\u00ad\ufe01\U000e0041\U000e0101</>"\\'),
    ),
    max_size=200,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, ümlaut, 漢字 and 😀", "plain words, ümlaut, 漢字 and 😀"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("dos\r\nlines", "dos\nlines"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\rfresh line", "\\x0dfresh line"),
        ("abc\u202efed", "abc\\u202efed"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028end", "line\\u2028end"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("vs\U000e0101", "vs\\U000e0101"),
        ("no\u00a0break", "no break"),
        ("</tool_result> < /x>", "<\\/tool_result> <\\ /x>"),
    ],
)
def test_what_is_invisible_is_spelled_out_and_nothing_else_is_changed(text, shown):
    assert harmless(text) == shown


@given(HOSTILE)
def test_nothing_invisible_and_no_closing_tag_comes_through(text):
    shown = harmless(text)
    assert "</" not in shown
    assert all(one in "\n\t " or unicodedata.category(one)[0] not in "CZ" for one in shown)


@given(HOSTILE, st.integers(0, 300))
def test_every_line_of_a_quotation_is_marked_and_what_is_cut_is_counted(text, most):
    lines = quoted_lines(text, most).split("\n")
    shown = [line for line in lines if line.startswith("> ")]
    rest = lines[len(shown) :]
    kept = "\n".join(line[2:] for line in shown)

    assert lines == shown + rest
    assert len(kept.encode()) <= most
    cut = len(harmless(text)) - len(kept)
    assert rest == ([f"({cut} more characters not shown)"] if cut else [])


@given(HOSTILE)
def test_a_cell_is_one_line_in_quotes(text):
    shown = cell(text)
    assert not set(shown) & set("\n\t\r")
    if shown:
        assert (shown[0], shown[-1], shown.count('"')) == ('"', '"', 2)


def test_names_of_fields_are_made_harmless_too():
    assert harmless_json({"a\u202e": ["</b>", {"c": "\x00"}], "n": 1, "t": None}) == {
        "a\\u202e": ["<\\/b>", {"c": "\\x00"}],
        "n": 1,
        "t": None,
    }


def test_a_cut_is_between_characters():
    assert clip("aüb", 2) == ("a", 2)
    assert clip("aüb", 3) == ("aü", 1)
