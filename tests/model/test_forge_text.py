"""Peers' words for a forge: nothing in them begins a command, and a search for the words still finds them.

What a real forge does with them is in tests/clients/forge/test_inert.py. Quick actions and bots are those of others
that cannot be had here, so the rule by which they read a text stands in for them.
"""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra_mcp.model.forge_text import MAX_LINES, code, fenced, inert, inert_line, title
from infra_mcp.text import visible

pytestmark = pytest.mark.promise("forge.inert")
TEXTS = {
    name: one["text"].format(person="alice", issue=7, repo="acme/infra", url="https://git.example")
    for name, one in tomllib.loads(
        (Path(__file__).parents[1] / "hostile_forge_texts.toml").read_text(encoding="utf-8")
    ).items()
}
# How those who obey read a text, each by its documentation or source; the first group names it.
COMMANDS = {
    "quick action (GitLab), command (Prow, Atlantis)": r"(?m)^\s*/[A-Za-z]",
    "mention": r"(?<![A-Za-z0-9_])@[A-Za-z0-9]",
    "reference": r"(?i)#\d|!\d|\bGH-\d|\w/\w+#\d|://\S+/(issues|pulls?)/\d",
    "skipped pipeline": r"(?i)\[[^\]]*(skip|no)[^\]]*\]|\*\*\*NO_CI|^skip-checks:",
    "bors, homu, review bot": r"(?im)^\s*(bors:? |r\?|r\+)",
    "trailer": r"(?im)^\s*(signed-off-by|co-authored-by|reviewed-by|skip-checks):",
    "draft": r"(?i)^\s*[\[(]?(wip|draft)\b",
    "folded by git": r"^(fixup|squash|amend)!",
    "tag or comment of HTML": r"<[A-Za-z/!]",
    "link or image": r"\]\(|://",
    "entity": r"&(#\d|#x|[A-Za-z]+;)",
    "hidden character": r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]",
}
AT_LINE_STARTS = {
    "bors, homu, review bot",
    "draft",
    "folded by git",
}  # of these a text in a fence is kept by its quoting


def commands(text, *, besides=()):
    return [name for name, pattern in COMMANDS.items() if name not in besides and re.search(pattern, text)]


def test_the_texts_are_commands_as_they_stand():
    assert len(TEXTS) >= 40
    assert {name for text in TEXTS.values() for name in commands(text)} == set(COMMANDS)


@pytest.mark.parametrize("name", TEXTS)
def test_no_part_of_a_hostile_text_is_a_command(name):
    text = TEXTS[name]

    assert commands(inert(text), besides=AT_LINE_STARTS) == []
    assert commands(title(text)) == []
    assert commands(fenced(text)) == []
    assert commands(f"Why: {code(text)}") == []


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_cannot_end_its_fence_or_its_code_span(name):
    opening, *lines, closing = fenced(TEXTS[name]).split("\n")

    assert opening == f"{closing}text"
    assert set(closing) == {"`"}
    assert all(line.startswith(">") and closing not in line for line in lines)
    span = code(TEXTS[name])
    ticks = re.match("`+", span)[0]
    assert span.endswith(ticks)
    assert ticks not in re.findall("`+", span[len(ticks) : -len(ticks)])
    assert "\n" not in span


WORDS = st.text(st.sampled_from("ab 1@#!/[]<>&;:`*-\n\t.~_GH") | st.characters(), max_size=60)


@given(WORDS)
def test_made_inert_twice_is_made_inert_once_and_no_word_is_lost(text):
    made = inert(text)

    assert inert(made) == made
    assert re.findall(r"\w+", made) == re.findall(r"\w+", visible(text))
    assert commands(made, besides={*AT_LINE_STARTS, "skipped pipeline", "trailer"}) == []


@given(WORDS)
def test_any_text_is_kept_in_its_fence(text):
    opening, *lines, closing = fenced(text).split("\n")

    assert opening == f"{closing}text"
    assert all(line.startswith(">") for line in lines)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("docs 2.0 is out, see k8s/docs/app.yaml", "docs 2.0 is out, see k8s/docs/app.yaml"),
        ("registry:5000/team/app@sha256:0123", "registry:5000/team/app@sha256:0123"),
        ("write to ops@test.example", "write to ops@test.example"),
        ("and/or, 1 < 2, a & b, C# or 50 %!", "and/or, 1 < 2, a & b, C# or 50 %!"),
        ("Closes #12", "Closes # 12"),
        ("@alice", "@ alice"),
        ("[skip ci]", "(skip ci)"),
        ("https://git.example/a/b/issues/1", "https: //git.example/a/b/issues/1"),
    ],
)
def test_usual_words_stay_as_they_are_and_others_are_set_apart(text, made):
    assert inert_line(text) == made


def test_a_title_begins_with_a_word_of_no_meaning():
    assert title("Deploy docs 2.0") == "Deploy docs 2.0"
    assert title("WIP: later") == "infra-mcp: WIP: later"
    assert title("") == "infra-mcp"
    assert title("Drafts of docs") == "Drafts of docs"


def test_a_long_text_is_cut_and_says_so():
    shown = fenced("x\n" * 1000)

    assert len(shown.split("\n")) == MAX_LINES + 3
    assert "801 more lines not shown" in shown
