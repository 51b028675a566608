"""A workload whose file names no namespace, or that stands in several files, is found by what policy says of it."""

from __future__ import annotations

import pytest
from repository.edits import apply_edit
from repository.test_value import manifest, ref

from infra_mcp.errors import InfraError
from infra_mcp.repository.edits import SetValue
from infra_mcp.repository.value import Home

pytestmark = [pytest.mark.fault("r3"), pytest.mark.promise("repos.namespace")]

SAID, SAMPLE = manifest(), "samples/a.yaml"
BARE = manifest(namespace=None) + "spec: {replicas: 1}\n"
KUSTOMIZED = {"base/kustomization.yaml": "resources: [web.yaml]\n", "base/web.yaml": BARE}
WEB, OTHER = Home("web", ref()), Home("shop", ref(namespace="shop"))


def at(home, file):
    return home._replace(files=(file,))


FOUND = {
    "the only one": ({"a.yaml": BARE}, [WEB], "a.yaml"),
    "the one that says it": ({"a.yaml": BARE, "b.yaml": manifest()}, [WEB], "b.yaml"),
    "the file of policy": ({"a.yaml": BARE, "b.yaml": BARE}, [at(WEB, "b.yaml")], "b.yaml"),
    "the file of policy, of two that say it": (
        {"a.yaml": SAID, "b.yaml": SAID},
        [at(WEB, "b.yaml")],
        "b.yaml",
    ),
    "not the file of another app": ({"a.yaml": BARE, "b.yaml": BARE}, [WEB, at(OTHER, "a.yaml")], "b.yaml"),
    "each its own": ({"a.yaml": BARE, "b.yaml": BARE}, [at(WEB, "b.yaml"), at(OTHER, "a.yaml")], "b.yaml"),
    "not a sample": ({"samples/a.yaml": BARE, "a/test/x.yaml": BARE, "b.yaml": BARE}, [WEB], "b.yaml"),
    "a sample that policy names": (
        {"samples/a.yaml": BARE, "b.yaml": BARE},
        [at(WEB, "samples/a.yaml")],
        "samples/a.yaml",
    ),
    "the folder of policy": (
        {"a/web.yaml": BARE, "b/c/web.yaml": BARE, "b.yaml": BARE},
        [at(WEB, "b")],
        "b/c/web.yaml",
    ),
    "the file of policy, though another app has none": ({"a.yaml": BARE}, [at(WEB, "a.yaml"), OTHER], "a.yaml"),
    "beside a base": (KUSTOMIZED | {"b.yaml": BARE}, [at(WEB, "b.yaml")], "b.yaml"),
    "another kind's namesake": ({"a.yaml": BARE, "b.yaml": BARE.replace("Deployment", "DaemonSet")}, [WEB], "a.yaml"),
}


@pytest.mark.parametrize(("files", "homes", "path"), FOUND.values(), ids=FOUND)
def test_the_workload_is_found_edited_and_applied_in_the_namespace_of_policy(tree_of, files, homes, path):
    tree = tree_of(files).homed(homes)
    found = tree.require(ref())
    replicas = found.object.get("spec", {}).get("replicas")
    edit = SetValue(path=path, ref=ref(), field=("spec", "replicas"), before=replicas, after=3)
    scaled = apply_edit(tree, edit)

    assert (found.path, found.ref) == (path, ref())
    assert list(scaled.changed) == [path]
    assert [one.ref for one in scaled.objects_of(path)] == [ref()]
    assert ref() in [one.ref for one in tree.objects("docs")]
    assert b"namespace: docs" not in (scaled.read(path) or b"") or "namespace: docs" in files[path]


AMBIGUOUS = {
    "two files": ({"a.yaml": BARE, "b.yaml": BARE}, [WEB]),
    "one file of two apps": ({"a.yaml": BARE}, [WEB, OTHER]),
    "one file that policy gives to two apps": ({"a.yaml": BARE}, [at(WEB, "a.yaml"), at(OTHER, "a.yaml")]),
    "two that say it": ({"a.yaml": SAID, "b.yaml": SAID}, [WEB]),
    "a file without it named": ({"a.yaml": SAID, "b.yaml": SAID}, [at(WEB, "c.yaml")]),
}


@pytest.mark.parametrize(("files", "homes"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_where_it_could_be_another_every_file_is_named_with_the_line_that_would_decide(tree_of, files, homes):
    tree = tree_of(files).homed(homes)

    with pytest.raises(InfraError) as caught:
        tree.require(ref())
    assert caught.value.code == "ambiguous-object"
    assert all(path in caught.value.what for path in files)
    assert '[apps.web] file = "…"' in caught.value.next_step
    assert not any(word in caught.value.next_step for word in ("metadata", "eep one", "elete", *files))
    assert {one.ref.namespace for path in files for one in tree.objects_of(path)} <= {None, "docs"}


def test_what_policy_does_not_name_stays_without_a_namespace_and_blocks_nothing(tree_of):
    tree = tree_of({"a.yaml": BARE, "b.yaml": manifest("other", None)}).homed([OTHER._replace(ref=ref("x"))])

    assert tree.find(ref()) is None
    assert [one.ref.namespace for one in tree.objects_of("a.yaml")] == [None]
    assert list(tree.objects("docs")) == []


def test_a_named_file_without_the_workload_is_not_replaced_by_another_file(tree_of):
    tree = tree_of({"a.yaml": BARE, "release.yaml": manifest("web", None, "Release", "x.example/v1")})

    with pytest.raises(InfraError) as caught:
        tree.homed([at(WEB, "release.yaml")]).require(ref())
    assert caught.value.code == "not-in-repository"


def test_a_base_is_not_taken_for_the_workload(tree_of):
    for files in (KUSTOMIZED, KUSTOMIZED | {"b.yaml": BARE}):
        with pytest.raises(InfraError) as caught:
            tree_of(files).homed([WEB]).require(ref())
        assert "metadata.namespace" not in str(caught.value)
        assert "base/web.yaml" in caught.value.what
