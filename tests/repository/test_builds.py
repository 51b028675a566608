"""Kustomizations built by a real renderer, from the files of a tree alone."""

from __future__ import annotations

import contextlib
from functools import partial

import anyio
import pytest
from repository.kustomize_tree import APP, TREE, WEB, view

from infra_mcp.clients import kustomize as client
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.repository import builds
from infra_mcp.repository.builds import Builds, View, view_of
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.render import read

pytestmark = pytest.mark.anyio


@pytest.fixture
def made(kubectl):
    return Builds(renderer=kubectl)


@pytest.fixture
def started(monkeypatch):
    """The roots that a child was started for."""
    found = []

    async def counted(files, root, **more):
        found.append((root, more["restrict"]))
        return await client.build(files, root, **more)

    monkeypatch.setattr(builds, "build", counted)
    return found


def objects(rendered):
    return {(one.ref.kind, one.ref.namespace, one.ref.name): one.object for one in rendered.objects}


@pytest.mark.promise("tree.kustomize")
async def test_an_overlay_is_rendered_as_objects_with_their_identity_and_all_inputs(made):
    found = await made.render(view(APP), "prod", cluster="sandbox")

    assert found.inputs.files == tuple(sorted(APP))
    deployment = next(one for one in found.objects if one.ref.kind == "Deployment")
    assert str(deployment.ref) == "web-prod/deployment/web"
    assert (deployment.ref.cluster, deployment.path) == ("sandbox", "prod")
    assert deployment.object["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/web:2.0"


@pytest.mark.promise("tree.kustomize")
async def test_the_inputs_are_all_that_a_renderer_reads_and_it_needs_each(made):
    found = await made.render(view(TREE), "app")
    assert found.inputs.files == tuple(sorted(TREE))
    assert {(kind, name.partition("-")[0]) for kind, _, name in objects(found)} == {
        *(("ConfigMap", name) for name in ("files", "made", "old", "settings", "variables")),
        *(("Secret", name) for name in ("more", "secret")),
        *(("Service", name) for name in ("extra", "web")),
        *(("Deployment", "web"), ("StatefulSet", "store")),
    }
    renderer = await client.find_renderer(made._renderer)
    for path in TREE:
        with pytest.raises(InfraError) as caught:
            await client.build({other: TREE[other] for other in TREE if other != path}, "app", renderer=renderer)
        assert caught.value.code == "build-failed", path
        with pytest.raises(InfraError) as caught:
            await made.render(view({other: TREE[other] for other in TREE if other != path}), "app")
        assert caught.value.code == "build-refused", path


@pytest.mark.promise("tree.kustomize")
async def test_a_tree_with_changes_and_links_is_built_as_it_would_be_committed(made, tree_of):
    tree = await anyio.to_thread.run_sync(lambda: tree_of({**APP, "apps": "base"}, "none", modes={"apps": "120000"}))
    overlay = "resources: [../apps]\nnamePrefix: my-\n"
    tree = tree.write("prod/kustomization.yaml", overlay.encode())

    found = await made.render(await anyio.to_thread.run_sync(view_of, tree), "prod")

    assert ("Deployment", None, "my-web") in objects(found)
    assert found.inputs.links == {"apps": "base"}
    gone = view_of(tree.write("base/web.yaml", None))
    with pytest.raises(InfraError, match=r"base/kustomization.yaml: resources\[0\]: web.yaml") as caught:
        await made.render(gone, "prod")
    assert caught.value.code == "build-refused"


@pytest.mark.trap("K5")
async def test_a_generated_name_changes_with_its_content_and_comes_back_with_it(made):
    async def names(colour):
        found = objects(await made.render(view(APP | {"base/settings.env": f"COLOUR={colour}\n"}), "prod"))
        name = next(name for kind, _, name in found if kind == "ConfigMap")
        container = found["Deployment", "web-prod", "web"]["spec"]["template"]["spec"]["containers"][0]
        assert container["envFrom"] == [{"configMapRef": {"name": name}}]
        return name

    red, blue, again = await names("red"), await names("blue"), await names("red")

    assert red == again
    assert red != blue
    assert red.startswith("settings-")
    fresh = Builds(renderer=made._renderer)  # built anew, not kept
    one, other = [await each.render(view(APP), "prod") for each in (made, fresh)]
    assert one is not other
    assert one == other


@pytest.mark.trap("K8")
async def test_a_build_says_its_renderer_and_another_version_is_another_build(made, started, monkeypatch):
    first = await made.render(view(APP), "prod")
    assert first.renderer.startswith("kubectl v")
    assert "kustomize v" in first.renderer
    assert await made.render(view(APP), "prod") is first

    newer = client.Renderer((await client.find_renderer(made._renderer)).path, ("kustomize",), "kubectl v9.0.0")

    async def upgraded(given):
        assert given
        return newer

    monkeypatch.setattr(builds, "find_renderer", upgraded)
    assert (await made.render(view(APP), "prod")).renderer == "kubectl v9.0.0"
    assert [root for root, _ in started] == ["prod", "prod"]


async def test_the_same_inputs_are_built_once_and_what_is_kept_is_bounded(made, started, monkeypatch):
    unrelated = APP | {"other.yaml": "x"}
    first = await made.render(view(APP), "prod")
    assert await made.render(view(unrelated), "prod") is first
    assert await made.render(view(APP), "prod", cluster="other") is not first
    assert len(started) == 2
    monkeypatch.setattr(builds, "KEPT_BUILDS", 1)
    await made.render(view(APP), "base")
    assert list(made._kept) == [next(key for key in made._kept if key[0] == "base")]
    monkeypatch.setattr(builds, "KEPT_BYTES", 1)
    await made.render(view(APP), "prod")
    assert len(made._kept) == 1


def test_a_document_is_parsed_once_while_the_bound_allows(monkeypatch):
    parsed = []

    def counted(data, *, whole):
        parsed.append(data)
        return read(data, whole=whole)

    monkeypatch.setattr(builds, "read", counted)
    documents = builds._Documents()
    one, other = (f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n".encode() for name in "ab")
    assert documents.parse(one) is documents.parse(one)
    documents.parse(other)
    assert parsed == [one, other]
    monkeypatch.setattr(builds, "KEPT_BYTES", len(one) + 1)
    third = one.replace(b"a}", b"c}")
    assert [documents.parse(data)[0].ref.name for data in (third, third, one)] == ["c", "c", "a"]
    assert parsed == [one, other, third, one]
    assert documents._size == len(one)


async def test_several_roots_are_built_side_by_side_at_most_four(made, monkeypatch):
    running, most, together = 0, 0, anyio.Event()

    async def slow(files, root, **more):
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == builds.PARALLEL:
            together.set()
        await together.wait()
        built = await client.build(files, root, **more)
        running -= 1
        return built

    monkeypatch.setattr(builds, "build", slow)
    files = {f"app{n}/kustomization.yaml": f"resources: [../base]\nnamePrefix: n{n}-\n" for n in range(8)}
    with anyio.fail_after(60):
        found = await gather([partial(made.render, view(APP | files), f"app{n}") for n in range(8)])
    assert most == builds.PARALLEL
    assert [("Deployment", None, f"n{n}-web") in objects(one) for n, one in enumerate(found)] == [True] * 8


@pytest.mark.trap("K6")
async def test_the_load_restriction_is_off_only_where_it_must_be(made, started):
    outside = {
        "prod/kustomization.yaml": "configMapGenerator: [{name: a, files: [../beside.txt]}]\n",
        "beside.txt": "x",
    }
    await made.render(view(APP), "prod", restrict="none")
    assert objects(await made.render(view(outside), "prod", restrict="none"))
    assert started == [("prod", "root-only"), ("prod", "none")]
    with pytest.raises(InfraError, match="security; file") as caught:
        await made.render(view(outside), "prod")
    assert caught.value.code == "build-failed"


@pytest.mark.trap("K6")
async def test_whatever_a_renderer_would_read_outside_is_refused(kubectl, tmp_path):
    outside = tmp_path / "outside.yaml"
    outside.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: marker}\n", encoding="utf-8")
    place = "/".join([".."] * 20) + str(outside)
    plugin = "apiVersion: builtin\nkind: {}\nmetadata: {{name: x}}\nname: x\n{}\n"
    cases = [
        f"resources: ['{place}']",
        f"RESOURCES: ['{place}']",
        f"patchesStrategicMerge: ['{place}']",
        f"patchesStrategicMerge: ['a: b/../{place}']",
        f"patchesStrategicMerge: ['? x/../{place}']",
        f"patches: [{{Path: '{place}'}}]",
        f"configMapGenerator: [{{name: x, files: ['k={outside}']}}]",
        f"configMapGenerator: [{{name: x, FILES: ['k={place}']}}]",
        f"transformers: ['{place}']",
        f"transformers: ['a: b/../{place}']",
        *(plugin.format("ConfigMapGenerator", f"{key}: ['k={outside}']") for key in ("files", "Files")),
        plugin.format("PatchStrategicMergeTransformer", f"Paths: ['a: b/../{place}']"),
    ]
    renderer, read = await client.find_renderer(kubectl), 0
    for text in cases:
        field = "generators" if "kind: ConfigMapGenerator" in text else "transformers"
        files = {"app/kustomization.yaml": f"{field}: [p.yaml]\n" if text.startswith("apiVersion") else text}
        files |= {"app/p.yaml": text, "app/web.yaml": WEB}
        data = {path: content.encode() for path, content in files.items()}
        with contextlib.suppress(InfraError):
            shown = await client.build(data, "app", restrict="none", renderer=renderer, mask=str)
            read += b"marker" in shown.data
        with pytest.raises(InfraError) as caught:
            await Builds(renderer=kubectl).render(view(files), "app", restrict="none")
        assert caught.value.code == "build-refused", text
    assert read >= 5  # so the renderer alone would not have refused them


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("resources: [https://example.org/x]\n", marks=pytest.mark.trap("K1")),
        pytest.param("resources: [../../../etc/passwd]\n", marks=pytest.mark.trap("K6")),
        pytest.param("helmCharts: [{name: a}]\n", marks=pytest.mark.trap("K7")),
        "resources: [.]\n",
    ],
)
@pytest.mark.promise("tree.kustomize")
async def test_what_is_not_closed_is_refused_before_anything_is_started(started, text):
    with pytest.raises(InfraError, match="prod cannot be built from this repository alone: prod/kust") as caught:
        await Builds(renderer="/no/such/program").render(view({"prod/kustomization.yaml": text}), "prod")
    assert caught.value.code == "build-refused"
    assert started == []


async def test_many_reasons_are_counted():
    text = f"resources: [{', '.join(f'{n}.yaml' for n in range(9))}]\n"
    with pytest.raises(InfraError, match=r"\(and 6 more\)\."):
        await Builds().render(view({"prod/kustomization.yaml": text}), "prod")


@pytest.mark.promise("tree.kustomize")
async def test_a_thousand_objects_and_a_large_generator_are_built(made):
    service = "apiVersion: v1\nkind: Service\nmetadata: {{name: s{}}}\n"
    files = {
        "prod/kustomization.yaml": "resources: [all.yaml]\nconfigMapGenerator: [{name: big, files: [big.txt]}]\n",
        "prod/all.yaml": "---\n".join(service.format(n) for n in range(1500)),
        "prod/big.txt": "line\n---\n" * 100_000,
    }
    found = await made.render(view(files), "prod")
    assert len(found.objects) == 1501
    assert (
        next(one.object for one in found.objects if one.ref.kind == "ConfigMap")["data"]["big.txt"]
        == files["prod/big.txt"]
    )


async def test_files_that_are_too_large_are_refused(monkeypatch):
    monkeypatch.setattr(builds, "MAX_BYTES", 300)
    with pytest.raises(InfraError, match="its files have more than 300 bytes"):
        await Builds().render(view(APP), "prod")
    data = {path: text.encode() for path, text in APP.items()}
    unread = View(lambda path: None if path == "base/web.yaml" else data[path], data.keys())
    with pytest.raises(InfraError, match=r"base/web.yaml is too large") as caught:
        await Builds().render(unread, "prod")
    assert caught.value.code == "build-refused"


async def test_a_renderer_that_shows_a_secret_is_masked(kubectl):
    secret = (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: NS}\n"
        "stringData: {key: tulip-wrench-91}\ndata: {other: cGVwcGVyLWxhbXAtMTc=}\n"
    )
    files = {
        # two Secrets become one by the namespace, and kustomize shows both in its error
        "prod/kustomization.yaml": "resources: [a.yaml, b.yaml]\nnamespace: one\n",
        "prod/a.yaml": secret.replace("NS", "x"),
        "prod/b.yaml": secret.replace("NS", "y"),
    }
    literal = {"prod/kustomization.yaml": "secretGenerator: [{name: a, literals: ['=violet-anchor-55']}]\n"}
    env = {
        "prod/kustomization.yaml": "secretGenerator: [{name: a, envs: [e]}]\n",
        "prod/e": b"KEY=granite-puddle-23\xff\n",
    }
    plain = {"prod/kustomization.yaml": "secretGenerator: [{name: a, literals: [marble-kettle-64]}]\n"}
    for given in (files, literal, env, plain):
        with pytest.raises(InfraError) as caught:
            await Builds(renderer=kubectl).render(view(given), "prod")
        assert caught.value.code == "build-failed"
        with pytest.raises(InfraError) as bare:
            await client.build(
                {path: view(given).read(path) for path in given}, "prod",
                renderer=await client.find_renderer(kubectl), mask=str,
            )  # fmt: skip
        secrets = ("tulip-wrench", "cGVwcGVy", "violet-anchor", "granite-puddle", "marble-kettle")
        assert any(one in bare.value.what for one in secrets)  # so it would have been shown
        assert not any(one in str(caught.value) for one in secrets)


async def test_output_that_cannot_be_read_or_has_too_many_objects_is_a_failed_build(monkeypatch, kubectl):
    for output, why in ((b"a: [", "did not find"), (b"a: b\n---\n" * 10_001, "it has more than 10000 objects")):

        async def odd(*_, data=output, **__):
            await anyio.lowlevel.checkpoint()
            return client.Built(data, "kustomize v0")

        monkeypatch.setattr(builds, "build", odd)
        with pytest.raises(InfraError, match="The output of kustomize v0 for prod cannot be read") as caught:
            await Builds(renderer=kubectl).render(view(APP), "prod")
        assert caught.value.code == "build-failed"
        assert why in caught.value.what


@pytest.mark.parametrize(
    "body", ["kind: Job\nmetadata: {name: a}", "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}"]
)
def test_an_object_that_would_be_skipped_makes_the_output_of_a_build_unreadable(body):
    with pytest.raises(Unreadable, match="no apiVersion, no kind, or a generated name"):
        builds._Documents().parse(body.encode())
