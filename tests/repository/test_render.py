"""What a file stands for, and every way in which it is refused: by file and line, without its words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.nodes import DEEPEST, DOCUMENTS, LARGEST
from infra_mcp.repository.render import dump, parse

POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n"


def refusal(text: str | bytes) -> str:
    with pytest.raises(InfraError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), "apps/x.yaml", "sandbox")
    assert caught.value.code == "manifest-invalid"
    assert "apps/x.yaml, line " in caught.value.what
    return caught.value.what


def test_every_document_is_located_by_what_it_says():
    text = (
        "# only a comment\n---\n# the site\napiVersion: apps/v1\nkind: Deployment\n"
        "metadata: {name: web, namespace: docs}\nspec: {replicas: 0o10}\n"
        "---\n---\nname: values\nimage: of a chart\n--- # last\n"
        '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "docs"}}\n...\n'
    )

    found = parse(text.encode(), "apps/x.yaml", "sandbox")

    assert [(one.path, one.index, str(one.ref)) for one in found] == [
        ("apps/x.yaml", 0, "docs/deployment/web"),
        ("apps/x.yaml", 3, "namespace/docs"),
    ]
    assert found[0].ref == ObjectRef(
        cluster="sandbox", api_version="apps/v1", kind="Deployment", namespace="docs", name="web"
    )
    assert found[0].object["spec"] == {"replicas": 8}
    assert parse(b"", "x.yaml", "s") == parse(b"# nothing\n", "x.yaml", "s") == []


def test_anchors_aliases_and_merges_are_what_they_stand_for():
    text = POD + (
        "spec:\n  base: &base {image: a, args: [1]}\n  one: *base\n  two:\n    <<: *base\n    image: b\n"
        "  three: {<<: [{image: c}, *base]}\n"
    )

    (found,) = parse(text.encode(), "x.yaml", "s")

    assert found.object["spec"] == {
        "base": {"image": "a", "args": [1]},
        "one": {"image": "a", "args": [1]},
        "two": {"image": "b", "args": [1]},
        "three": {"image": "c", "args": [1]},
    }
    found.object["spec"]["one"]["args"].append(2)
    assert found.object["spec"]["base"]["args"] == [1]


def test_keys_are_text_as_kubernetes_tools_make_them():
    (found,) = parse((POD + "data: {on: 1, 012: 2, 'on': 3, -5: 4}\n").replace(", 'on': 3", "").encode(), "x.yaml", "s")

    assert found.object["data"] == {"true": 1, "10": 2, "-5": 4}
    assert "twice" in refusal(POD + "data: {on: 1, 'true': 3}\n")


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("a: [1\nb: 2\n", 2, "did not find"),
        ("a: b: c\n", 1, "mapping values"),
        ("a: 1\n\tb: 2\n", 2, ""),
        (POD + "kind: Secret\n", 5, "twice"),
        (POD + "spec:\n  a: 1\n  a: 1\n", 7, "twice"),
        ("\ufeff" + POD, 1, "byte order mark"),
        (POD.encode("utf-16"), 1, "not UTF-8"),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
        (POD + "spec: !!python/object/apply:os.system ['id']\n", 5, "tag"),
        (POD + "spec: !!binary aGk=\n", 5, "tag"),
        (POD + "spec: !mine {a: 1}\n", 5, "tag"),
        (POD + "spec: !!int x\n", 5, "tag"),
        (POD + "spec: !!set {a}\n", 5, "tag"),
        (POD + "spec: .inf\n", 5, "JSON"),
        (POD + "spec: *none\n", 5, "anchor"),
        (POD + "spec: &a [*a]\n", 5, "lies in"),
        (POD + "spec: {1.5: a}\n", 5, "key"),
        (POD + "spec: {null: a}\n", 5, "key"),
        (POD + "spec: {[a]: b}\n", 5, "key"),
        (POD + "spec: {99999999999999999999: b}\n", 5, "key"),
        (POD + "spec: {<<: 1}\n", 5, "merged"),
        (POD + "spec: {<<: {a: 1}, <<: {b: 1}}\n", 5, "merged"),
        (POD + "spec: {a: 1, <<: {a: 2}}\n", 5, "merge"),
        (POD + "spec: \x07\n", 1, ""),
        ("apiVersion: v1\nkind: [Pod]\nmetadata: {name: x}\n", 1, "kind"),
        ("apiVersion: 1\nkind: Pod\nmetadata: {name: x}\n", 1, "apiVersion"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: 12}\n", 1, "metadata.name"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: ../x}\n", 1, "metadata.name"),
        ('apiVersion: v1\nkind: Pod\nmetadata: {name: "a\\nb"}\n', 1, "metadata.name"),
        ("apiVersion: v1\nkind: Pod\nmetadata: web\n", 1, "metadata.name"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: a|b}\n", 1, "namespace"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: 1}\n", 1, "namespace"),
        ("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret, metadata: {name: 5}}]\n", 1, "name"),
        ("---\n" * 1001 + POD, 1001, "documents"),
        (POD + "spec: " + "[" * 100_000, 5, "deeper"),
        (POD + "".join(f"{' ' * i}a:\n" for i in range(200)), 105, "deeper"),
        (POD + "spec: " + "{a: " * 50_000, 5, "deeper"),
        (POD + "x: " + "a" * (8 * 1024 * 1024), 1, "MiB"),
    ],
)  # fmt: skip
def test_what_could_mean_two_things_is_refused_by_line(text, line, why):
    said = refusal(text)

    assert f"line {line}: " in said
    assert why in said


@pytest.mark.fault("f05")
@pytest.mark.parametrize(
    "text",
    [
        "just text\n",
        "- a\n- b\n",
        "kind: Pod\nmetadata: {name: x}\n",
        "apiVersion: v1\nmetadata: {name: x}\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {generateName: x}\n",
        "apiVersion: v1\nkind: SecretList\nitems: []\n",
        "apiVersion: v1\nkind: List\nitems:\n",
        "apiVersion: v1\nkind: List\nitems: [1, null, {a: 1}]\n",
    ],
)
def test_what_is_no_object_is_passed_over_and_what_stands_beside_it_is_read(text):
    assert parse(text.encode(), "x.yaml", "s") == []
    assert [one.index for one in parse(f"{text}---\n{POD}".encode(), "x.yaml", "s")] == [1]


@pytest.mark.fault("f22", "d13")
@pytest.mark.parametrize("before", ["", "# \U0001f600 é\n", "a: [1, {b: 2}]\n---\n"], ids=["first", "text", "document"])
@pytest.mark.parametrize(
    ("opens", "closes"),
    [
        ("[", "]"),
        ("[\n", "]"),
        ("[ # é\n", "]"),
        ("[&a ", "]"),
        ("{a: ", "}"),
        ("{ ? ", "}"),
        ('{"a":', "}"),
        ("[{a: ", "}]"),
        ("- ", ""),
    ],
)
def test_collections_that_lie_too_deep_are_refused_in_our_words_whatever_libyaml_allows(opens, closes, before):
    for deep in (DEEPEST + 1, 900, 1_000, 1_001, 1_100, 30_000):
        for end in ("", f"0{closes * deep}"):
            assert f"deeper than {DEEPEST}" in refusal(before + opens * deep + end)


@pytest.mark.fault("f22", "d13")
def test_as_deep_as_is_allowed_is_read():
    (found,) = parse(f"{POD}spec: {'[' * (DEEPEST - 1)}{']' * (DEEPEST - 1)}\n".encode(), "x.yaml", "s")

    assert str(found.object["spec"]) == "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1)


def test_the_page_of_the_roots_tells_how_much_is_read():
    page = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
    text = " ".join(page.split())

    assert f"at most {LARGEST // 2**20} MiB, {DOCUMENTS:,} documents, and {DEEPEST} nested collections" in text


def test_an_alias_bomb_is_refused_before_it_grows():
    bomb = POD + "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for n in range(1, 12):
        bomb += f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"

    assert "aliases" in refusal(bomb)
    chain = POD + "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))
    assert "deeper" in refusal(chain)


@pytest.mark.promise("secrets.nowhere")
@pytest.mark.parametrize(
    "text",
    [
        "password: hunter2\n  x: : hunter2\n",
        "a: {hunter2: 1, hunter2: 2}\n",
        "a: *hunter2\n",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: hunter2/x}\n",
        "a: !hunter2 hunter2\n",
    ],
)
def test_a_refusal_does_not_repeat_the_files_words(text):
    assert "hunter2" not in refusal(text)


def test_a_new_file_is_the_same_whatever_order_the_keys_came_in():
    obj = {
        "spec": {
            "template": {"containers": [{"image": "x:1", "name": "web", "args": ["-v", "yes", "012", ""]}]},
            "n": 1,
        },
        "metadata": {"labels": {"b": "1e3", "a": "x"}, "namespace": "docs", "name": "web"},
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "data": {"script": "set -e\nrun\n", "odd": " x\n\ty", "empty": {}, "none": None, "list": []},
    }
    shuffled = json.loads(json.dumps(obj, sort_keys=True))

    assert dump(obj) == dump(shuffled)
    assert dump(obj).decode() == (
        "apiVersion: apps/v1\n"
        "kind: Deployment\n"
        "metadata:\n"
        "  name: web\n"
        "  namespace: docs\n"
        "  labels:\n"
        "    a: x\n"
        '    b: "1e3"\n'
        "data:\n"
        "  empty: {}\n"
        "  list: []\n"
        "  none: null\n"
        '  odd: " x\\n\\ty"\n'
        "  script: |\n"
        "    set -e\n"
        "    run\n"
        "spec:\n"
        '  "n": 1\n'
        "  template:\n"
        "    containers:\n"
        "      - name: web\n"
        "        args:\n"
        '          - "-v"\n'
        '          - "yes"\n'
        '          - "012"\n'
        '          - ""\n'
        "        image: x:1\n"
    )
    (read,) = parse(dump(obj), "x.yaml", "s")
    assert read.object == obj == yaml.safe_load(dump(obj))


def test_a_list_without_items_is_a_list_of_none():
    assert parse(b"apiVersion: v1\nkind: PodList\n---\napiVersion: v1\nkind: List\nitems:\n", "a.yaml", "c") == []
