"""Objects are found by who they are, wherever they stand, and never when that could be two."""

from __future__ import annotations

import pytest
from repository.edits import apply_edit

from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository import manifest as module
from infra_mcp.repository.edits import SetValue


def manifest(name: str = "web", namespace: str | None = "docs", kind: str = "Deployment", api: str = "apps/v1") -> str:
    where = f"  namespace: {namespace}\n" if namespace else ""
    return f"apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: {name}\n{where}"


def ref(name: str = "web", namespace: str | None = "docs", kind: str = "Deployment", api: str = "apps/v1") -> ObjectRef:
    return ObjectRef(cluster="sandbox", api_version=api, kind=kind, namespace=namespace, name=name)


BROKEN = "kind: Deployment\nmetadata: {namespace: docs, name: web\n"


def test_an_object_is_found_wherever_it_stands(tree_of):
    tree = tree_of(
        {
            "a/all.yaml": manifest("other") + "---\n" + manifest(),
            "deep/er/x.json": '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"docs"}}',
            "b.yml": manifest(namespace="live"),
            "README.md": manifest(),
        }
    )

    found = tree.find(ref())
    assert (found.path, found.index) == ("a/all.yaml", 1)
    assert tree.find(ref(api="apps/v1beta1")).ref.api_version == "apps/v1"
    assert tree.find(ref("docs", None, "Namespace", "v1")).path == "deep/er/x.json"
    assert tree.find(ref(namespace="live")).path == "b.yml"
    assert tree.find(ref(kind="StatefulSet")) is None
    assert tree.find(ref(api="example.dev/v1")) is None
    assert [one.path for one in tree.objects()] == ["a/all.yaml", "a/all.yaml", "b.yml", "deep/er/x.json"]


def test_an_object_that_stands_twice_is_refused_with_both_files(tree_of):
    tree = tree_of({"a.yaml": manifest(), "b.yaml": manifest("x") + "---\n" + manifest(), "c.yaml": BROKEN})

    with pytest.raises(InfraError) as caught:
        tree.find(ref())

    assert caught.value.code == "ambiguous-object"
    assert "a.yaml and b.yaml (document 2)" in caught.value.what
    assert "c.yaml, line " in caught.value.what


def test_a_broken_file_matters_only_to_what_it_mentions(tree_of):
    tree = tree_of(
        {
            "a.yaml": manifest("fine"),
            "broken.yaml": BROKEN,
            "utf16.yaml": BROKEN.replace("web", "wide").encode("utf-16"),
        }
    )

    assert tree.find(ref("fine")).path == "a.yaml"
    assert tree.find(ref("we")) is None
    assert tree.find(ref("web", kind="Service", api="v1")) is None
    for name, file in {"web": "broken.yaml", "wide": "utf16.yaml"}.items():
        with pytest.raises(InfraError, match=f"{file}, line ") as caught:
            tree.find(ref(name))
        assert caught.value.code == "manifest-invalid"
    assert list(tree.broken) == ["broken.yaml", "utf16.yaml"]
    with pytest.raises(InfraError, match=r"broken.yaml") as caught:
        tree.require(ref("missing"))
    assert caught.value.code == "not-in-repository"


def test_a_found_object_is_still_refused_when_a_broken_file_may_hold_it_too(tree_of):
    tree = tree_of({"a.yaml": manifest(), "broken.yaml": BROKEN})

    with pytest.raises(InfraError, match=r"broken.yaml"):
        tree.find(ref())


def test_a_file_without_a_namespace_is_neither_taken_nor_doubled(tree_of):
    tree = tree_of({"a.yaml": manifest(namespace=None), "b.yaml": manifest("x", None)})

    assert tree.find(ref()) is None
    with pytest.raises(InfraError, match=r"In a.yaml deployment/web has no namespace") as caught:
        tree.require(ref())
    assert caught.value.code == "not-in-repository"
    assert tree.find(ref(namespace=None)).path == "a.yaml"
    both = tree.write("c.yaml", manifest().encode())
    assert both.find(ref()).path == "c.yaml"


def test_what_kustomize_builds_is_refused_by_name(tree_of):
    tree = tree_of(
        {
            "base/kustomization.yaml": "resources: [web.yaml, ../parts/x.yaml]\n",
            "base/web.yaml": manifest(),
            "base/patches/p.yaml": manifest("p"),
            "parts/x.yaml": manifest("x"),
            "parts/free.yaml": manifest("free"),
        }
    )

    for name in ("web", "p", "x"):
        with pytest.raises(InfraError, match=r"built by base/kustomization.yaml\."):
            tree.find(ref(name))
    assert tree.find(ref("free")).path == "parts/free.yaml"
    assert [one.ref.name for one in tree.objects()] == ["free"]


def test_charts_hidden_folders_and_symlinks_are_left_out(tree_of):
    tree = tree_of(
        {
            "chart/Chart.yaml": "name: x\n",
            "chart/templates/web.yaml": "kind: Deployment\nname: web {{ .Values.x }}\n{{- end }}\n",
            ".github/workflows/web.yaml": "on: push\nkind: Deployment web: :\n",
            "link.yaml": "chart/templates/web.yaml",
        },
        modes={"link.yaml": "120000"},
    )

    assert tree.find(ref()) is None
    assert dict(tree.broken) == {}
    for path in ("link.yaml", ".github/workflows/web.yaml", ".github/workflows/new.yaml"):
        with pytest.raises(InfraError, match="no p"):
            tree.write(path, manifest().encode())


def test_writing_gives_another_tree_and_leaves_this_one(tree_of):
    tree = tree_of({"apps/a.yaml": manifest(), "apps/b.yaml": BROKEN.replace("web", "b")}, "apps")

    moved = tree.write("apps/a.yaml", manifest(namespace="live").encode()).write(
        "apps/new/c.yaml", manifest("c").encode()
    )

    assert tree.find(ref()).path == "apps/a.yaml"
    assert dict(tree.changed) == {}
    assert moved.find(ref()) is None
    assert moved.find(ref(namespace="live")).path == "apps/a.yaml"
    assert moved.find(ref("c")).path == "apps/new/c.yaml"
    assert sorted(moved.changed) == ["apps/a.yaml", "apps/new/c.yaml"]
    assert moved.read("apps/new/c.yaml") == manifest("c").encode()
    assert moved.read("apps/none.yaml") is None
    assert moved.oid("apps/a.yaml") == tree.oid("apps/a.yaml") is not None
    assert moved.oid("apps/new/c.yaml") is None
    assert moved.base == tree.base == "c" * 40
    assert moved.write("apps/a.yaml", manifest(namespace="live").encode()) is moved
    mended = moved.write("apps/b.yaml", manifest("b").encode())
    assert mended.find(ref("b")).path == "apps/b.yaml"
    assert dict(mended.broken) == {}


@pytest.mark.parametrize(
    "path",
    [
        "x.yaml",
        "apps/../x.yaml",
        "apps//x.yaml",
        "/apps/x.yaml",
        "appsx/x.yaml",
        "apps/.git/x.yaml",
        "apps/x.txt",
        "apps/",
        "",
    ],
)
def test_nothing_is_written_outside_the_roots(tree_of, path):
    tree = tree_of({"apps/a.yaml": manifest()}, "apps")

    with pytest.raises(InfraError) as caught:
        tree.write(path, manifest().encode())
    assert caught.value.code == "manifest-invalid"


def test_what_cannot_be_read_is_not_written(tree_of):
    with pytest.raises(InfraError, match=r"a.yaml, line 3"):
        tree_of({"a.yaml": manifest()}).write("a.yaml", BROKEN.encode())


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('"w\\x65b"', "web"),
        ('"\\u0077eb"', "web"),
        ('"w\\\n    eb"', "web"),
        ("!!str web", "web"),
        (">-\n    web", "web"),
        ("'it''s'", "it's"),
        ('"it\\"s"', 'it"s'),
    ],
)
def test_an_object_is_found_however_its_name_is_written(tree_of, written, name):
    tree = tree_of({"a.yaml": manifest(written), "b.yaml": manifest("other")})

    assert tree.find(ref(name)).path == "a.yaml"


def test_a_file_that_does_not_say_the_name_is_not_parsed(tree_of, monkeypatch):
    parsed = []
    parse = module.parse
    monkeypatch.setattr(module, "parse", lambda data, path, *more: (parsed.append(path), parse(data, path, *more))[1])
    tree = tree_of({"a.yaml": manifest(), "b.yaml": manifest("other"), "c.yaml": manifest(namespace="live")})

    assert tree.find(ref()).path == "a.yaml"
    assert tree.find(ref()).path == "a.yaml"
    assert parsed == ["a.yaml"]


def test_files_that_cannot_be_read_are_told_where_they_say_kind_and_name_whatever_the_namespace(tree_of):
    tree = tree_of({"a.yaml": manifest(), "broken.yaml": BROKEN, "large.yaml": "#" * (9 << 20)})

    assert [one.partition(",")[0] for one in tree.unread("Deployment", "web")] == ["broken.yaml", "large.yaml"]
    assert [one.partition(",")[0] for one in tree.unread("Deployment", "other")] == ["large.yaml"]


def test_objects_handed_out_can_be_changed_without_changing_the_tree(tree_of):
    tree = tree_of({"a.yaml": manifest()})

    tree.find(ref()).object["metadata"]["name"] = "changed"
    for one in tree.objects():
        one.object.clear()

    assert tree.find(ref()).object["metadata"]["name"] == "web"


@pytest.mark.fault("f05")
@pytest.mark.parametrize("kind", ["List", "DeploymentList"])
def test_the_items_of_a_list_are_objects_that_are_found_and_edited(tree_of, kind):
    item = "\n  ".join(manifest().rstrip().splitlines())
    text = f"apiVersion: v1\nkind: {kind}\nitems:\n- kind: Other\n  x: 1\n- {item}\n  spec: {{replicas: 1}}  # few\n"
    tree = tree_of({"all.yaml": text})

    edit = SetValue(path="all.yaml", ref=ref(), field=("spec", "replicas"), before=1, after=2)

    assert tree.find(ref()).object["spec"] == {"replicas": 1}
    assert apply_edit(tree, edit).read("all.yaml") == text.replace("replicas: 1", "replicas: 2").encode()
    assert [one.ref.name for one in tree.objects()] == ["web"]


@pytest.mark.fault("f06")
def test_for_an_object_without_a_namespace_no_edit_of_a_file_is_advised(tree_of):
    one = {"a.yaml": manifest(namespace=None)}
    several = one | {"b.yaml": manifest(namespace=None)}
    built = {"k/kustomization.yaml": "resources: [a.yaml]\n", "k/a.yaml": manifest(namespace=None)}

    for files, line in ((one, True), (several, True), (built, False)):
        with pytest.raises(InfraError) as caught:
            tree_of(files).require(ref())
        assert caught.value.code == "not-in-repository"
        assert ("[apps.NAME] file" in caught.value.next_step) is line
        assert "metadata.namespace" not in caught.value.next_step
        assert all(path in caught.value.what for path in files if not path.endswith("kustomization.yaml"))


@pytest.mark.fault("f07")
@pytest.mark.parametrize(
    "named",
    [
        "patches: [{path: ../patches/web.yaml}]",
        "patches: [{path: ../patches/web.yaml, target: {kind: Deployment}}]",
        "patchesStrategicMerge: [../patches/web.yaml]",
        "patchesJson6902: [{target: {kind: Deployment, name: web}, path: ../patches/web.yaml}]",
        "replacements: [{path: ../patches/web.yaml}]",
        "configurations: [../patches/web.yaml]",
    ],
)
@pytest.mark.parametrize("namespace", ["docs", None])
def test_a_patch_that_a_kustomization_names_is_no_object_wherever_it_lies(tree_of, named, namespace):
    built = {
        "base/kustomization.yaml": "resources: [web.yaml]\n",
        "base/web.yaml": manifest(namespace=namespace),
        "overlay/kustomization.yaml": f"resources: [../base]\nnamespace: docs\n{named}\n",
        "patches/web.yaml": manifest(namespace=namespace),
    }
    tree = tree_of(built)

    with pytest.raises(InfraError) as caught:
        tree.require(ref())
    words = f"{caught.value.what} {caught.value.next_step}"
    assert "patches/web.yaml" not in words
    assert "Keep one of the named files" not in words
    assert "metadata.namespace" not in words
    assert tree_of(built | {"free.yaml": manifest("free")}).find(ref("free")).path == "free.yaml"
    assert [one.path for one in tree.objects()] == []


@pytest.mark.fault("f07")
def test_an_object_in_two_kustomize_folders_is_refused_as_built_and_no_deletion_is_advised(tree_of):
    tree = tree_of(
        {
            **{f"{name}/kustomization.yaml": "resources: [web.yaml]\n" for name in ("one", "two")},
            **{f"{name}/web.yaml": manifest() for name in ("one", "two")},
        }
    )

    with pytest.raises(InfraError, match=r"built by one/kustomization.yaml and two/kustomization.yaml") as caught:
        tree.find(ref())
    assert caught.value.code == "manifest-invalid"
