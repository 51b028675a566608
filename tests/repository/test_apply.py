"""Edits by identity: made again on another head, taken back, and never over someone else's change."""

from __future__ import annotations

import pytest
from repository.edits import apply_edit

from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import SetValue

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: docs
spec:
  template:
    spec:
      containers:
      - name: side
        image: side:1
      - name: web
        image: site:1.0 # released
"""
REF = ObjectRef(cluster="sandbox", api_version="apps/v1", kind="Deployment", namespace="docs", name="web")
IMAGE = ("spec", "template", "spec", "containers", {"name": "web"}, "image")


def edit(before: object, after: object, field=IMAGE, path: str = "web.yaml") -> SetValue:
    return SetValue(path=path, ref=REF, field=field, before=before, after=after)


def inverse(one: SetValue) -> SetValue:
    return one.model_copy(update={"before": one.after, "after": one.before})


@pytest.mark.promise("plan.one-hunk")
def test_an_edit_follows_the_object_to_where_it_stands_now(tree_of):
    tree = tree_of({"moved/all.yaml": "a: 1\n---\n" + WEB})

    after = apply_edit(tree, edit("site:1.0", "site:2.0"))

    assert dict(after.changed) == {"moved/all.yaml": ("a: 1\n---\n" + WEB).replace("site:1.0", "site:2.0").encode()}
    assert tree.changed == {}
    assert apply_edit(tree, edit("site:1.0", "site:2.0")) is not tree
    assert apply_edit(after, edit("site:1.0", "site:2.0")) is after


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (IMAGE, "site:2.0"),
        (("metadata", "annotations", "infra-mcp.dev/pull-secrets"), "X"),
        (("metadata", "labels", "a"), "b"),
        (("spec", "replicas"), 3),
        (("spec", "template", "spec", "imagePullSecrets"), [{"name": "registry-x"}]),
        (("spec", "template", "spec", "containers", {"name": "side"}, "resources"), {"limits": {"cpu": "1"}}),
    ],
)
def test_an_edit_taken_back_gives_the_same_bytes(tree_of, field, value):
    tree = tree_of({"web.yaml": WEB})
    one = edit("site:1.0" if field is IMAGE else None, value, field)

    after = apply_edit(tree, one)
    back = apply_edit(after, inverse(one))

    assert after.read("web.yaml") != WEB.encode()
    assert back.read("web.yaml") == WEB.encode()
    assert apply_edit(back, inverse(one)) is back


def test_what_someone_else_changed_is_not_overwritten(tree_of):
    tree = tree_of({"web.yaml": WEB.replace("site:1.0", "site:1.5")})

    with pytest.raises(Moved, match=r"web.yaml"):
        apply_edit(tree, edit("site:1.0", "site:2.0"))
    with pytest.raises(Moved):
        apply_edit(tree, edit(None, "site:2.0"))


def test_what_the_tree_says_already_is_no_change(tree_of):
    tree = tree_of({"web.yaml": WEB})

    assert apply_edit(tree, edit("site:0.9", "site:1.0")) is tree
    assert apply_edit(tree, edit(5, None, ("spec", "replicas"))) is tree


def test_a_place_that_is_not_there_is_refused_with_file_and_object(tree_of):
    tree = tree_of({"web.yaml": WEB})

    with pytest.raises(InfraError, match=r"web.yaml, docs/deployment/web: No item") as caught:
        apply_edit(tree, edit(None, "x", ("spec", "template", "spec", "containers", {"name": "none"}, "image")))
    assert caught.value.code == "manifest-invalid"
    with pytest.raises(InfraError) as caught:
        apply_edit(tree_of({}), edit(None, "x"))
    assert caught.value.code == "not-in-repository"


def test_a_shared_value_is_set_when_all_its_places_are_meant(tree_of):
    text = WEB.replace("image: side:1", "image: &image site:1.0").replace("image: site:1.0 #", "image: *image #")
    tree = tree_of({"web.yaml": text})
    side = ("spec", "template", "spec", "containers", {"name": "side"}, "image")
    edits = [edit("site:1.0", "site:2.0", field) for field in (IMAGE, side)]

    after = apply_edits(tree, edits)

    assert after.read("web.yaml") == text.replace("&image site:1.0", "&image site:2.0").encode()
    assert all(apply_edit(after, one) is after for one in edits)
    for one in edits:
        with pytest.raises(InfraError, match=r"web.yaml, line 11"):
            apply_edit(tree, one)
