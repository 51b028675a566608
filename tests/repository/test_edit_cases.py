"""Edits of one value each, byte for byte as a careful person makes them: the cases are in edit_cases.toml."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from repository.edits import apply_edit, loaded, set_field, set_fields

from infra_mcp.errors import InfraError, Moved
from infra_mcp.repository.edit import apply_edits, set_inside
from infra_mcp.repository.edits import SetValue, keep, kept
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.rebase import revert

HERE = Path(__file__).resolve().parent
CASES = tomllib.loads((HERE / "edit_cases.toml").read_text(encoding="utf-8"))["case"]
PATH = "apps/prod/web"  # no suffix


def _edit(case: dict[str, Any]) -> SetValue:
    """The edit of a case; the value before is what stands there, read without the product."""
    field, inside = tuple(case["field"]), tuple(case["inside"]) if "inside" in case else None
    before = None
    if not case["before"].startswith("\ufeff"):
        document = loaded(case["before"].encode())[case.get("document", 0)]
        before = get_path(document, field)[1]
        if inside is not None:
            before = get_path(yaml.safe_load(before), inside)[1]
    return SetValue(
        path=PATH,
        document=case.get("document", 0),
        field=field,
        inside=inside,
        before=before,
        after=None if case.get("remove") else case["value"],
    )


@pytest.mark.promise("repos.bytes")
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_an_edit_gives_the_bytes_of_a_careful_person_and_its_undo_the_bytes_before(case, tree_of):
    tree, edit = tree_of({PATH: case["before"]}, "none"), _edit(case)
    if "refused" in case:
        with pytest.raises(InfraError) as caught:
            apply_edit(tree, edit)
        assert case["refused"] in caught.value.what
        return

    after = apply_edit(tree, edit)

    assert after.read(PATH) == case["after"].encode()
    assert kept(keep([edit])) == (edit,)
    undone = revert([edit], after, after, "c")[PATH]
    if case.get("undo", True):
        assert undone == case["before"].encode()
    else:
        assert _without_nulls(loaded(undone)) == _without_nulls(loaded(case["before"].encode())) or "remove" in case
    assert apply_edit(after, edit).read(PATH) == case["after"].encode()


def _without_nulls(documents: list[Any]) -> list[Any]:
    return [{key: value for key, value in one.items() if value is not None} for one in documents]


def test_the_cases_have_names_of_their_own_and_are_many():
    assert len({case["name"] for case in CASES}) == len(CASES) >= 60


def _set(field, before, after, **more) -> SetValue:
    return SetValue(path=PATH, field=field, before=before, after=after, **more)


@pytest.mark.promise("repos.bytes")
def test_what_shares_a_value_through_an_anchor_changes_at_the_anchor_when_all_of_it_is_meant(tree_of):
    text = "version: &v v1.2.3\nweb:\n  tag: *v # web\njobs:\n  - tag: *v\n"
    tree = tree_of({PATH: text}, "none")
    edits = [_set(field, "v1.2.3", "v1.3.0") for field in (("web", "tag"), ("version",), ("jobs", 0, "tag"))]

    assert apply_edits(tree, edits).read(PATH) == text.replace("v1.2.3", "v1.3.0").encode()
    for some in (edits[:1], edits[1:], edits[::2]):
        with pytest.raises(InfraError, match=r"line 1: a change here .an alias on line 3, 5 refers"):
            apply_edits(tree, some)


@pytest.mark.promise("repos.bytes")
def test_what_is_merged_into_maps_changes_where_it_stands_when_all_of_them_are_meant(tree_of):
    text = "base: &b\n  tag: v1\nweb:\n  <<: *b\napi:\n  <<: *b\n  tag: v0\n"
    tree = tree_of({PATH: text}, "none")
    edits = [_set(("base", "tag"), "v1", "v2"), _set(("web", "tag"), "v1", "v2")]

    assert apply_edits(tree, edits).read(PATH) == text.replace("tag: v1", "tag: v2").encode()
    with pytest.raises(InfraError, match=r"line 2: a change here .an alias on line 4, 6 refers"):
        apply_edits(tree, [edits[1], _set(("api", "tag"), "v0", "v2")])


@pytest.mark.promise("repos.bytes")
def test_the_places_that_share_a_value_through_an_anchor_and_merges_change_together_or_not_at_all():
    text = b"""\
base: &b {tag: &v v1, name: x}
web: {<<: *b, name: web}
api: {<<: *b, tag: v0}
jobs: [{tag: *v}, *b]
"""

    shared = [("base", "tag"), ("jobs", 0, "tag"), ("jobs", 1, "tag"), ("web", "tag")]
    assert set_fields(text, [(0, place, "v2") for place in shared]) == text.replace(b"v1", b"v2")
    assert set_field(text, 0, ("api", "tag"), "v2") == text.replace(b"v0", b"v2")
    for left in range(len(shared)):
        with pytest.raises(InfraError, match="would change more than was asked"):
            set_fields(text, [(0, place, "v2") for place in shared[:left] + shared[left + 1 :]])


@pytest.mark.trap("K2")
@pytest.mark.promise("repos.bytes")
def test_another_version_in_a_kustomization_moves_no_comment_and_no_entry(tree_of):
    text = """\
# who runs here: the docs team
namespace: docs-live  # not the staging one

images:
  # the site; its tag is set by people
  - newTag: v1.2.3  # see the notes
    name: registry.example/docs/site
# all below is the same everywhere
  - name: registry.example/docs/api
    newName: mirror.example/docs/api
    digest: sha256:aaaa

resources:
  - ../../base
  # at the revision of the tag
  - https://git.example/docs/site//deploy?ref=v1.2.3&timeout=90s
commonAnnotations: {}   # none
"""
    url = "https://git.example/docs/site//deploy?ref={}&timeout=90s"
    edits = [
        _set(("images", {"name": "registry.example/docs/site"}, "newTag"), "v1.2.3", "v1.3.0"),
        _set(("resources", {"=": url.format("v1.2.3")}), url.format("v1.2.3"), url.format("v1.3.0")),
        _set(("images", {"name": "registry.example/docs/api"}, "digest"), "sha256:aaaa", "sha256:bbbb"),
    ]
    tree = tree_of({PATH: text}, "none")

    after = apply_edits(tree, edits)

    assert after.read(PATH) == text.replace("v1.2.3", "v1.3.0").replace("aaaa", "bbbb").encode()
    assert revert(edits, after, after, "c")[PATH] == text.encode()


def test_the_undo_of_a_renamed_item_finds_it_by_its_new_name(tree_of):
    text = "images:\n  - name: web\n    newTag: v1\n  - name: api\n    newTag: v1\n"
    tree = tree_of({PATH: text}, "none")
    edit = _set(("images", {"name": "web"}, "name"), "web", "site")

    after = apply_edit(tree, edit)

    assert b"name: site" in after.read(PATH)
    assert revert([edit], after, after, "c")[PATH] == text.encode()


@pytest.mark.promise("repos.bytes")
def test_several_items_of_one_list_come_and_go_together(tree_of):
    tree = tree_of({PATH: "resources:\n  - a.yaml\n  - d.yaml\n  - f.yaml\n"}, "none")
    changes = {"b.yaml": (None, "b.yaml"), "d.yaml": ("d.yaml", "e.yaml"), "g.yaml": (None, "g.yaml")}
    edits = [_set(("resources", {"=": name}), *change) for name, change in changes.items()]

    after = apply_edits(tree, edits)

    assert after.read(PATH) == b"resources:\n  - a.yaml\n  - b.yaml\n  - e.yaml\n  - f.yaml\n  - g.yaml\n"
    assert revert(edits, after, after, "c")[PATH] == tree.read(PATH)


def test_an_item_that_someone_else_changed_or_removed_is_not_set(tree_of):
    tree = tree_of({PATH: "resources:\n  - a.yaml\nreplicas: 2\nvalues: |\n  tag: v2\n"}, "none")

    for edit in (
        _set(("resources", {"=": "b.yaml"}), "b.yaml", "c.yaml"),
        _set(("resources", {"=": "a.yaml"}), None, "other.yaml"),
        _set(("replicas",), 1, 3),
        _set(("values",), "v1", "v3", inside=("tag",)),
        _set(("replicas",), "v1", "v3", inside=("tag",)),
    ):
        with pytest.raises(Moved):
            apply_edit(tree, edit)
    with pytest.raises(InfraError, match="not the one"):
        apply_edit(tree, _set(("images", {"name": "a"}), None, {"name": "b"}))


def test_an_item_that_is_as_it_should_be_is_left_alone(tree_of):
    tree = tree_of({PATH: "resources:\n  - a.yaml\n"}, "none")

    for step, before, after in (("b.yaml", "b.yaml", None), ("b", "b", "a.yaml"), ("a.yaml", None, "a.yaml")):
        assert apply_edit(tree, _set(("resources", {"=": step}), before, after)).read(PATH) == tree.read(PATH)


@pytest.mark.parametrize(
    ("text", "why"),
    [("a: [", "line 2 of the text"), ("a: 1\n---\nb: 2\n", "not one YAML document"), ("a: {a: 1, a: 2}", "twice")],
)
def test_a_text_that_is_no_yaml_document_is_not_edited(text, why):
    with pytest.raises(InfraError, match=why) as caught:
        set_inside(text, ("a",), 1, 2)

    assert caught.value.code == "manifest-invalid"


@pytest.mark.promise("repos.bytes", "value.inert")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_value_can_leave_the_text_that_it_stands_in(data, tree_of):
    style = data.draw(st.sampled_from(["|", "|-", "|+", ">", "|2"]))
    text = f"values: {style}\n  image:\n    tag: v1 # by hand\n  list: [a]\nother: x\n"
    if style == ">":
        text = "values: >\n  {image: {tag: v1}, list: [a]}\nother: x\n"
    value = data.draw(VALUES)
    tree = tree_of({PATH: text}, "none")

    after = apply_edit(tree, _set(("values",), "v1", value, inside=("image", "tag"))).read(PATH)

    (outer,) = loaded(after)
    assert outer.keys() == {"values", "other"}
    assert loaded(outer["values"].encode()) == [{"image": {"tag": value}, "list": ["a"]}]
    assert ("by hand" in text) == (b"by hand" in after)


@given(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=2, max_size=6), st.sampled_from("abcdefgh"))
def test_an_item_comes_to_its_place_in_a_sorted_list_and_to_the_end_of_another(names, new):
    text = "".join(f"# {name}\n- name: {name}\n  tag: v1\n" for name in names)
    edit = _set(({"name": new},), None, {"name": new, "tag": "v2"})
    if new in names:
        return

    after = set_inside(text, edit.field, None, edit.after)

    found = [item["name"] for item in loaded(after.encode())[0]]
    assert found == (sorted([*names, new]) if names == sorted(names) else [*names, new])
    assert [row for row in after.split("\n") if "v2" not in row and row != f"- name: {new}"] == text.split("\n")


# -- any scalar of many documents

DOCUMENTS = [case["before"] for case in CASES if "refused" not in case and "inside" not in case]
VALUES = st.one_of(
    st.sampled_from(["v1.2.3", "1.10", "1e3", "0x1F", "yes", "~", "2024-01-01", "12:30", "a: b", "x #y", "it's", "-x"]),
    st.sampled_from(["https://example.org/a?b=c&d=*e", "", " a", "a ", "{{ x }}", "é", "a\tb", "line\nline\n", "---"]),
    st.text(st.characters(codec="utf-8", max_codepoint=0x2FFF), max_size=10),
    st.integers(-(10**6), 10**6),
    st.booleans(),
)


def _scalars(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    return [path] if items is None else [place for key, item in items for place in _scalars(item, (*path, key))]


def _shipped() -> list[str]:
    """The YAML and JSON files of the tests themselves."""
    files = [path for end in ("*.yaml", "*.yml", "*.json") for path in HERE.parent.rglob(end)]
    texts = (path.read_text(encoding="utf-8") for path in files)
    return sorted(text for text in texts if len(text) < 20_000 and "<<" not in text and text[:1] != "\ufeff")


@pytest.mark.promise("repos.bytes", "plan.one-hunk")
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_scalar_of_any_document_changes_alone_and_in_one_hunk(data):
    text = data.draw(st.sampled_from(DOCUMENTS + _SHIPPED))
    try:
        documents = loaded(text.encode())
    except Exception:  # noqa: BLE001 - broken on purpose, by another test
        return
    places = [(i, path) for i, document in enumerate(documents) for path in _scalars(document) if path]
    if not places or "*" in text:
        return
    index, path = data.draw(st.sampled_from(places))
    value = data.draw(VALUES)
    here = documents[index]
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value

    after = set_field(text.encode(), index, path, value)

    assert loaded(after) == documents
    assert _hunks(text, after.decode()) <= 1


def _hunks(before: str, after: str) -> int:
    """How many runs of lines differ, as `git diff` counts them without context."""
    rows = difflib.SequenceMatcher(None, before.split("\n"), after.split("\n"), autojunk=False).get_opcodes()
    return sum(kind != "equal" for kind, *_ in rows)


_SHIPPED = _shipped()
