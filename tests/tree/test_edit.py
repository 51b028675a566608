"""An edit changes the value meant and nothing else, in whatever style the file is written."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from infra_mcp.errors import InfraError
from infra_mcp.tree.edit import remove_field, resolve, set_field, set_fields
from infra_mcp.tree.nodes import compose, values

DEPLOYMENT = """\
# the web site
apiVersion: apps/v1   # the version
kind: Deployment
metadata:
  name: web
  namespace: docs-live
  annotations: {}
  labels: {app: web, tier: 'front'}
spec:
  replicas: 2 # two are enough
  template:
    spec:
      # what runs
      containers:
      - name: web
        image: "registry.example/docs/site:1.0"  # deployed by hand
        args: [serve, '--port=80']
        env:
        - {name: A, value: "1"}

      - name: side
        image: side:1.0
        command: # none
        script: |
          set -e
          run

          exit 0
      imagePullSecrets:
      - name: a
# the end
"""


def loaded(data: bytes) -> list[Any]:
    return values(compose(data.decode()))


def changed_lines(before: bytes, after: bytes) -> list[str]:
    old, new = (data.decode().split("\n") for data in (before, after))
    return [
        row
        for row in difflib.unified_diff(old, new, lineterm="", n=0)
        if row[0] in "+-" and row[:3] not in ("+++", "---")
    ]


def refusal(text: str, *edits: tuple[list[str | int], Any]) -> str:
    with pytest.raises(InfraError) as caught:
        set_fields(text.encode(), [(0, path, value) for path, value in edits])
    assert caught.value.code == "manifest-invalid"
    return caught.value.what


@pytest.mark.promise("plan.one-hunk")
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("path", "value", "lines"),
    [
        (
            "spec.template.spec.containers.0.image",
            "registry.example/docs/site:2.0",
            [
                '-        image: "registry.example/docs/site:1.0"  # deployed by hand',
                '+        image: "registry.example/docs/site:2.0"  # deployed by hand',
            ],
        ),
        ("spec.replicas", 3, ["-  replicas: 2 # two are enough", "+  replicas: 3 # two are enough"]),
        (
            "spec.template.spec.containers.1.image",
            "side:1.10",
            ["-        image: side:1.0", "+        image: side:1.10"],
        ),
        ("spec.template.spec.containers.1.image", "1.10", ["-        image: side:1.0", '+        image: "1.10"']),
        ("metadata.namespace", "no", ["-  namespace: docs-live", '+  namespace: "no"']),
        (
            "metadata.labels.tier",
            "it's",
            ["-  labels: {app: web, tier: 'front'}", "+  labels: {app: web, tier: 'it''s'}"],
        ),
        (
            "metadata.labels.tier",
            "two\nlines",
            ["-  labels: {app: web, tier: 'front'}", '+  labels: {app: web, tier: "two\\nlines"}'],
        ),
        (
            "metadata.labels.added",
            "a, b",
            ["-  labels: {app: web, tier: 'front'}", "+  labels: {app: web, tier: 'front', added: \"a, b\"}"],
        ),
        ("metadata.annotations.x/y", "X", ["-  annotations: {}", "+  annotations: {x/y: X}"]),
        (
            "spec.template.spec.containers.0.args.2",
            "-v",
            ["-        args: [serve, '--port=80']", "+        args: [serve, '--port=80', \"-v\"]"],
        ),
        ("spec.template.spec.imagePullSecrets.1", {"name": "b"}, ["+      - name: b"]),
        ("spec.template.spec.imagePullSecrets", [{"name": "a"}, {"name": "b"}], ["+      - name: b"]),
        (
            "spec.template.metadata.annotations.when",
            "2026-01-01",
            ["+    metadata:", "+      annotations:", '+        when: "2026-01-01"'],
        ),
        (
            "spec.template.spec.containers.1.command",
            ["a", "b"],
            ["+        - a", "+        - b"],
        ),
        (
            "spec.template.spec.containers.1.command",
            "run",
            ["-        command: # none", "+        command: run # none"],
        ),
        (
            "spec.template.spec.containers.1.script",
            "set -e\nstart\n\nexit 0\n",
            ["-          run", "+          start"],
        ),
        (
            "spec.template.spec.containers.1.script",
            "set -e\nrun\n\nexit 0",
            ["-        script: |", "+        script: |-"],
        ),
    ],
)
def test_one_value_is_one_hunk_with_quotes_and_comments_kept(newline, path, value, lines):
    before = DEPLOYMENT.replace("\n", newline).encode()
    steps = [int(step) if step.isdigit() else step for step in path.split(".")]

    after = set_field(before, 0, steps, value)

    assert after.count(b"\n") - after.count(b"\r\n") == (0 if newline == "\r\n" else after.count(b"\n"))
    assert [row.rstrip("\r") for row in changed_lines(before, after)] == lines
    here = loaded(after)[0]
    for step in steps:
        here = here[step]
    assert here == value


@pytest.mark.promise("plan.one-hunk")
@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("spec.replicas", ["-  replicas: 2 # two are enough"]),
        ("metadata.labels.app", ["-  labels: {app: web, tier: 'front'}", "+  labels: {tier: 'front'}"]),
        ("metadata.labels.tier", ["-  labels: {app: web, tier: 'front'}", "+  labels: {app: web}"]),
        ("metadata.labels", ["-  labels: {app: web, tier: 'front'}"]),
        ("spec.template.spec.imagePullSecrets", ["-      imagePullSecrets:", "-      - name: a"]),
        ("spec.template.spec.imagePullSecrets.0", None),
        (
            "spec.template.spec.containers.1.name",
            ["-      - name: side", "-        image: side:1.0", "+      - image: side:1.0"],
        ),
        ("metadata.nothing", []),
    ],
)
def test_a_field_is_taken_out_with_its_lines(path, lines):
    before = DEPLOYMENT.encode()
    steps = [int(step) if step.isdigit() else step for step in path.split(".")]

    after = remove_field(before, 0, steps)

    if lines is not None:
        assert changed_lines(before, after) == lines
    expected = copy.deepcopy(loaded(before))
    here = expected[0]
    for step in steps[:-1]:
        here = here[step]
    if isinstance(here, list) or steps[-1] in here:
        del here[steps[-1]]
    assert loaded(after) == expected


def test_taking_out_what_was_put_in_gives_the_same_bytes():
    before = DEPLOYMENT.replace("  annotations: {}\n", "").encode()

    for path, value in {
        ("metadata", "annotations", "a/b"): "X",
        ("spec", "paused"): True,
        ("spec", "template", "spec", "imagePullSecrets", 1): {"name": "b"},
        ("spec", "template", "spec", "containers", 0, "args", 2): "x",
    }.items():
        after = set_field(before, 0, path, value)
        assert after != before
        assert remove_field(after, 0, path) == before


def test_only_the_document_that_is_meant_changes():
    text = b"---\n# one\na: 1\n---\n---\n# three\na: 1\n...\n---\na: 1"

    assert set_field(text, 2, ["a"], 2) == b"---\n# one\na: 1\n---\n---\n# three\na: 2\n...\n---\na: 1"
    assert set_field(text, 3, ["b"], 2) == text + b"\nb: 2"
    with pytest.raises(InfraError, match="no such place"):
        set_field(text, 4, ["a"], 2)
    with pytest.raises(InfraError):
        set_field(text, 1, ["a"], 2)


def test_a_block_of_text_keeps_its_header_and_indentation():
    text = b"a: |- # why\n    one\n    two\n\nb: 1\n"

    assert set_field(text, 0, ["a"], "three") == b"a: |- # why\n    three\n\nb: 1\n"
    assert set_field(text, 0, ["a"], "x\n\n y\n") == b"a: | # why\n    x\n\n     y\n\nb: 1\n"
    assert set_field(text, 0, ["a"], " x") == b'a: " x" # why\n\nb: 1\n'
    assert set_field(text, 0, ["a"], 5) == b"a: 5 # why\n\nb: 1\n"


def test_json_stays_json():
    pretty = b'{\n  "a": {\n    "image": "x:1",\n    "list": []\n  },\n  "b": [\n    1\n  ]\n}\n'

    for path, value in [
        (["a", "image"], "x:2"),
        (["a", "new"], "y"),
        (["b", 1], {"c": "\t\u2028"}),
        (["a", "list", 0], "z"),
    ]:
        after = set_field(pretty, 0, path, value)
        here = json.loads(after)
        for step in path:
            here = here[step]
        assert here == value
    assert set_field(pretty, 0, ["a", "new"], "y") == pretty.replace(b'"list": []', b'"list": [],\n    "new": "y"')


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


ANCHORED = """\
kind: Deployment
x: &image site:1.0   # the one place
spec:
  containers:
  - name: web
    image: *image
  - name: job
    image: *image
    resources: &small
      limits: {cpu: 1}
  - name: other
    resources: *small
"""


@pytest.mark.promise("plan.one-hunk")
def test_a_shared_value_changes_at_its_anchor_when_all_its_places_are_meant():
    places = [["x"], ["spec", "containers", 0, "image"], ["spec", "containers", 1, "image"]]

    after = set_fields(ANCHORED.encode(), [(0, path, "site:2.0") for path in places])

    assert changed_lines(ANCHORED.encode(), after) == [
        "-x: &image site:1.0   # the one place",
        "+x: &image site:2.0   # the one place",
    ]


def test_a_shared_value_is_refused_by_line_when_some_place_is_not_meant():
    assert "Line 2" in refusal(ANCHORED, (["spec", "containers", 0, "image"], "site:2.0"))
    assert "alias on line 6, 8" in refusal(ANCHORED, (["spec", "containers", 0, "image"], "site:2.0"))
    assert "Line 2" in refusal(ANCHORED, (["x"], "site:2.0"))
    both = [(["spec", "containers", i, "image"], "site:2.0") for i in (0, 1)]
    assert "Line 2" in refusal(ANCHORED, *both)
    assert "Line 2" in refusal(ANCHORED, *both, (["x"], "site:3.0"))
    assert "alias on line 12" in refusal(ANCHORED, (["spec", "containers", 1, "resources", "limits", "cpu"], 2))
    assert "Line 10" in refusal(ANCHORED, (["spec", "containers", 2, "resources", "limits", "cpu"], 2))
    refusal(ANCHORED, (["spec", "containers", 2, "resources", "requests"], {"cpu": 1}))
    refusal(ANCHORED, (["spec", "containers", 2, "resources"], {"limits": {"cpu": 2}}))


def test_an_anchor_that_is_used_nowhere_else_is_kept():
    assert set_field(b"a: &x one # c\n", 0, ["a"], "two") == b"a: &x two # c\n"
    assert set_field(b"a: &x\n  b: 1\n", 0, ["a", "c"], 2) == b"a: &x\n  b: 1\n  c: 2\n"
    assert set_field(b"a: &x\n- b\n", 0, ["a", 1], "c") == b"a: &x\n- b\n- c\n"


def test_a_merged_value_is_changed_only_where_it_is_its_own():
    text = "base: &base\n  image: a:1\nuse:\n  <<: *base\n  name: x\n"

    assert "Line 2" in refusal(text, (["use", "image"], "a:2"))
    after = set_fields(text.encode(), [(0, ["use", "image"], "a:2"), (0, ["base", "image"], "a:2")])
    assert changed_lines(text.encode(), after) == ["-  image: a:1", "+  image: a:2"]
    assert b"  name: z\n" in set_field(text.encode(), 0, ["use", "name"], "z")


def test_what_would_lose_a_comment_or_reformat_is_refused():
    assert "Line 2" in refusal("a:\n  b: 1 # why\n  c: 2\n", (["a"], ["x"]))
    refusal("a: # why\n  b: 1\n", (["a"], ["x"]))
    refusal("a: 1\n", (["a", "b"], 2))
    refusal("a: [1]\n", (["a", 5], 2))
    refusal("a: [1]\n", (["a", "b"], 2))
    refusal("a: 1\n", ([], 2))
    refusal("[1, 2]\n", (["a"], 2))
    refusal("a: b: c\n", (["a"], 2))


def test_a_mapping_of_other_keys_is_written_anew():
    text = b"a:\n  b: 1\n  c: 2\n# after\nd: 1\n"

    assert set_field(text, 0, ["a"], {"x": {"w": 1}}) == b"a:\n  x:\n    w: 1\n# after\nd: 1\n"
    assert set_field(text, 0, ["a"], ["x", "z"]) == b"a:\n  - x\n  - z\n# after\nd: 1\n"
    assert set_field(text, 0, ["a"], 5) == b"a: 5\n# after\nd: 1\n"
    assert set_field(b"k:\n- a: 1\n  b: 2\n- c\n", 0, ["k", 0], {"x": [1], "z": 2}) == b"k:\n- x:\n  - 1\n  z: 2\n- c\n"
    assert set_field(b"k:\n- a: 1\n  b: 2\n- c\n", 0, ["k", 0], "x") == b"k:\n- x\n- c\n"


def test_only_what_differs_inside_a_collection_is_touched():
    text = (
        b"spec:\n  # ports\n  ports:\n  - name: http # web\n    port: 80\n"
        b"  - name: https\n    port: 443 # tls\n  sel: {a: b} # c\n"
    )
    value = {"ports": [{"name": "http", "port": 8080}, {"name": "https", "port": 443}], "sel": {"a": "c"}}

    after = set_field(text, 0, ["spec"], value)

    assert changed_lines(text, after) == [
        "-    port: 80",
        "+    port: 8080",
        "-  sel: {a: b} # c",
        "+  sel: {a: c} # c",
    ]


def test_keyed_steps_find_the_items_they_mean():
    obj = {
        "spec": {
            "containers": [
                {"name": "a"},
                {"name": "web", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]},
            ],
            "finalizers": ["x", "y"],
        }
    }

    assert resolve(obj, ("spec", "containers", {"name": "web"}, "image")) == ["spec", "containers", 1, "image"]
    port = {"containerPort": 80, "protocol": "TCP"}
    assert resolve(obj, ("spec", "containers", {"name": "web"}, "ports", port)) == ["spec", "containers", 1, "ports", 0]
    assert resolve(obj, ("spec", "finalizers", {"=": "y"})) == ["spec", "finalizers", 1]
    assert resolve(obj, ("metadata", "labels", "a.b/c")) == ["metadata", "labels", "a.b/c"]
    for field in [
        ("spec", "containers", {"name": "none"}, "image"),
        ("spec", "containers", {}, "image"),
        ("spec", "containers", "web"),
        ("spec", {"name": "web"}),
    ]:
        with pytest.raises(InfraError) as caught:
            resolve(obj, field)
        assert caught.value.code == "manifest-invalid"


# -- any manifest, any place, any value

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
    value = data.draw(st.one_of(SCALARS, VALUES))
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
    return sum(tag != "equal" for tag, *_ in rows)


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in flat(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in flat(item)]
    return [value]
