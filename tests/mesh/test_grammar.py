"""The table of sentences and its reader."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import sentences

from infra_mcp.mesh.grammar import GRAMMAR, SLOTS, Token, match, tokens


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a 'b c' d.", [("a", False), ("b c", True), ("d", False), (".", False)]),
        ('"x", `y`', [("x", True), (",", False), ("y", True)]),
        ("\u2018x\u2019 \u201cy\u201d", [("x", True), ("y", True)]),
        (
            "I'd 0.13.4 a=b,c=d!",
            [("I'd", False), ("0.13.4", False), ("a=b", False), (",", False), ("c=d", False), ("!", False)],
        ),
        ("open 'quote", [("open", False), ("'quote", False)]),
        ("'a'b", [("'a'b", False)]),
        ("''", [("", True)]),
        (" \n\t ", []),
    ],
)
def test_a_text_is_words_marks_and_quoted_names(text, found):
    assert tokens(text) == [Token(*one) for one in found]


@given(st.text(max_size=80))
def test_nothing_but_blanks_and_quotes_is_lost_between_words(text):
    found = tokens(text)
    kept = re.sub(r"\s", "", "".join(token.text for token in found))
    quotes = 2 * sum(token.quoted for token in found)
    assert len(kept) + quotes == len(re.sub(r"\s", "", text))


def test_every_rule_is_used_and_every_name_in_a_form_is_there():
    named = {
        item.rstrip("?*")[1:-1] for forms in GRAMMAR.values() for form in forms for item in form.split() if "<" in item
    }
    assert named == set(GRAMMAR) - {"sentence"}
    slots = {item for forms in GRAMMAR.values() for form in forms for item in form.split() if item.isupper()}
    assert slots == set(SLOTS)


def test_the_table_can_be_printed_for_people():
    printed = sentences()
    assert all(f"{name}: " in printed for name in (*GRAMMAR, *SLOTS))
    assert "image-pull" in printed


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece", ["please ", "and ", ", ", "with secret X and ", "4 cpu and ", "a ", "label a=b, ", "hi, ", "thanks ! "]
)
def test_no_sentence_takes_long_to_read(piece):
    for start in ("", "I need a namespace 'a' with secret X ", "could you "):
        match(tokens(start + piece * 60))
