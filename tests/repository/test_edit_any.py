"""In any manifest, at any place, with any value: an edit changes that value only and loses no comment."""

from __future__ import annotations

import copy
import difflib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from repository.edits import loaded, remove_field, set_field

from infra_mcp.errors import InfraError
from infra_mcp.repository.nodes import compose, values


@pytest.mark.parametrize(
    "value",
    [
        "x\n---\nkind: ClusterRoleBinding",
        "a: b",
        "a #b",
        "- a",
        "*a",
        "&a",
        "!!int 1",
        "{{ x }}",
        "%a",
        "@a",
        "`a`",
        "'",
        '"',
        "\\",
        "",
        " ",
        "a ",
        " a",
        "\ta",
        "yes",
        "012",
        "1e3",
        "1:30",
        "null",
        "~",
        "=",
        "<<",
        "0o7",
        "1_0",
        ".5",
        "...",
        "---",
        "? a",
        "a:",
        "\x07",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
        "\u202e",
        "😀",
        "ü",
        "a\r\nb",
        "a\n\nb\n\n",
    ],
)
@pytest.mark.parametrize(
    "style", ["image: old # c", "image: 'old' # c", 'image: "old" # c', "image: |\n  old\n  text\n# c", "image: # c"]
)
def test_no_value_can_leave_its_place(style, value):
    text = f"kind: Pod\n{style}\nother: {{a: 1}}\n".encode()

    after = set_field(text, 0, ["image"], value)
    in_flow = set_field(text, 0, ["other", "b"], value)

    assert loaded(after) == [{"kind": "Pod", "image": value, "other": {"a": 1}}]
    assert list(yaml.safe_load_all(after)) == loaded(after)
    assert loaded(in_flow)[0]["other"] == yaml.safe_load(in_flow)["other"] == {"a": 1, "b": value}
    assert b"# c" in after


KEYS = st.sampled_from(["name", "image", "a.b/c", "on", "12", "a b", "x", "y", "z", "value", "<<", "key: x", "-k"])
TEXTS = st.one_of(
    st.sampled_from(
        [
            "web",
            "registry.example/a:1.0",
            "yes",
            "0644",
            "1.10",
            "a: b",
            "x #y",
            "",
            "it's",
            '"q"',
            "ü",
            "a\nb\n",
            "l1\n\nl2",
        ]
    ),
    st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=12),
)
SCALARS = st.one_of(TEXTS, st.integers(-(2**53), 2**53), st.booleans(), st.none(), st.sampled_from([0.5, -1.25, 1e30]))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=5)


class Author:
    """Writes data the way people do: each value in a style drawn at random, with comments that can be told apart."""

    def __init__(self, draw: st.DrawFn, newline: str) -> None:
        self.draw, self.newline, self.count = draw, newline, 0

    def maybe(self, text: str) -> str:
        return text if self.draw(st.integers(0, 3)) == 0 else ""

    def comment(self) -> str:
        self.count += 1
        return f"# c{self.count}."

    def scalar(self, value: Any, in_flow: bool) -> str:
        if not isinstance(value, str):
            return self.draw(st.sampled_from(["null", "~"])) if value is None else json.dumps(value)
        styles = [json.dumps(value)]
        if re.fullmatch(r"[\x20-\x7e\xa0-\xff]*", value):
            styles.append("'" + value.replace("'", "''") + "'")
        plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9./-]*(:[A-Za-z0-9.]+)?", value)
        if plain and not (in_flow and ":" in value) and values(compose(f"a: {value}")) == [{"a": value}]:
            styles += [value, value]
        return self.draw(st.sampled_from(styles))

    def flow(self, value: Any) -> str:
        space = self.draw(st.sampled_from(["", " "]))
        if isinstance(value, dict):
            return "{" + space + ", ".join(f"{json.dumps(k)}: {self.flow(v)}" for k, v in value.items()) + space + "}"
        if isinstance(value, list):
            return "[" + space + ", ".join(map(self.flow, value)) + space + "]"
        return self.scalar(value, in_flow=True)

    def lines(self, value: Any) -> list[str]:
        """Block lines of a collection that is not empty."""
        rows: list[str] = []
        for key, item in value.items() if isinstance(value, dict) else ((None, item) for item in value):
            if self.maybe("x"):
                rows.append(self.comment())
            if self.maybe("x"):
                rows.append("")
            head = "-" if key is None else self.scalar(key, in_flow=False) + ":"
            indent = 2 if key is None else self.draw(st.integers(0 if isinstance(item, list) else 2, 4))
            rows += self.entry(head, item, indent)
        return rows

    def entry(self, head: str, item: Any, indent: int) -> list[str]:
        tail = self.maybe("x") and "  " + self.comment()
        if isinstance(item, dict | list) and item and self.draw(st.booleans()):
            inner = self.lines(item)
            if head == "-" and not tail and inner[0] and not inner[0].startswith("#"):
                return [f"- {inner[0]}", *("  " + row if row else "" for row in inner[1:])]
            return [head + tail, *(" " * indent + row if row else "" for row in inner)]
        if isinstance(item, dict | list):
            return [f"{head} {self.flow(item)}{tail}"]
        if item is None and self.draw(st.booleans()):
            return [head + tail]
        if (
            isinstance(item, str)
            and re.fullmatch(r"(?:[!-~][ -~]*[!-~]|[!-~])(?:\n+[!-~]+)*\n?", item)
            and self.draw(st.booleans())
        ):
            chomp = "" if item.endswith("\n") else "-"
            return [
                f"{head} |{chomp}{tail}",
                *(" " * max(indent, 1) + row if row else "" for row in item.removesuffix("\n").split("\n")),
            ]
        return [f"{head} {self.scalar(item, in_flow=False)}{tail}"]

    def document(self, value: Any) -> str:
        return self.newline.join(self.lines(value)) + self.newline


@st.composite
def manifests(draw: st.DrawFn) -> tuple[str, list[Any]]:
    author = Author(draw, draw(st.sampled_from(["\n", "\r\n"])))
    data = draw(st.lists(OBJECTS, min_size=1, max_size=2))
    mark = f"---{author.newline}"
    return mark.join(author.document(document) for document in data), data


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [place for key, item in items for place in places(item, (*path, key))]
    more = [(*path, "added")] if isinstance(value, dict) else [(*path, len(value))] if isinstance(value, list) else []
    return [path, *found, *more]


@pytest.mark.promise("plan.one-hunk")
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_random_edit_changes_no_other_value_and_loses_no_comment(data):
    text, documents = data.draw(manifests())
    assert loaded(text.encode()) == documents
    index = data.draw(st.integers(0, len(documents) - 1))
    path = data.draw(st.sampled_from([place for place in places(documents[index]) if place]))
    value = data.draw(st.one_of(SCALARS, VALUES).filter(lambda drawn: drawn is not None))  # null removes
    before = text.encode()
    expected = copy.deepcopy(documents)
    here = expected[index]
    for step in path[:-1]:
        here = here[step]
    there = path[-1] in here if isinstance(here, dict) else path[-1] < len(here)
    was = here[path[-1]] if there else None
    if isinstance(here, dict):
        here[path[-1]] = value
    else:
        here[path[-1] : path[-1] + 1] = [value]

    after, why = attempt(set_field, before, index, path, value)
    event(why or "edited")
    if after is None:
        assert isinstance(value, dict | list) or isinstance(was, dict | list), why
        return

    assert loaded(after) == expected
    assert [type(v) for v in flat(loaded(after))] == [type(v) for v in flat(expected)]
    comments = [Counter(re.findall(r"# c\d+\.", t.decode())) for t in (before, after)]
    assert comments[0] <= comments[1]
    if not isinstance(was, dict | list):
        assert hunks(before, after) <= 1
    assert (b"\r\n" in after) == (b"\r\n" in before)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_random_removal_changes_no_other_value(data):
    text, documents = data.draw(manifests())
    paths = [place for place in places(documents[0]) if place and "added" not in place]
    path = data.draw(st.sampled_from(paths))
    expected = copy.deepcopy(documents)
    here = expected[0]
    for step in path[:-1]:
        here = here[step]
    assume(len(path) > 1 or len(here) > 1)
    assume(path[-1] in here if isinstance(here, dict) else path[-1] < len(here))
    assume(here[path[-1]] is not None)  # the same as absent
    del here[path[-1]]

    after, why = attempt(remove_field, text.encode(), 0, path)
    event(why or "removed")
    if after is None:
        return

    assert loaded(after) == expected
    assert hunks(text.encode(), after) <= 1


def attempt(change: Callable[..., bytes], *args: Any) -> tuple[bytes | None, str]:
    """The result, or None and why it was refused."""
    try:
        return change(*args), ""
    except InfraError as error:
        return None, error.what.partition(":")[2]


def hunks(before: bytes, after: bytes) -> int:
    old, new = (data.decode().splitlines(keepends=True) for data in (before, after))
    rows = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    found = sum(tag != "equal" for tag, *_ in rows)
    if len(old) != len(new):
        return found
    # Of equal rows it may match the wrong ones: with as many rows as before, they also compare one by one.
    return min(found, sum(differs for differs, _ in itertools.groupby(a != b for a, b in zip(old, new, strict=True))))


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for _, item in sorted(value.items()) for leaf in flat(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in flat(item)]
    return [value]
