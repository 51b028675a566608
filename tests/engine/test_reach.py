"""What a change of files reaches, by builds of the tests' own: a base under many overlays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from infra_mcp.actions.base import Look, census_of
from infra_mcp.actions.registry import EDITS
from infra_mcp.engine import reach as module
from infra_mcp.engine.reach import reach
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ACTIONS
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.builds import Builds
from infra_mcp.repository.edits import Edit, Goal
from tests.repository.conftest import tree_of  # noqa: F401 - a fixture

pytestmark = [pytest.mark.anyio, pytest.mark.promise("delivery.reach")]
BASE = {
    "base/kustomization.yaml": "resources: [web.yaml]\n",
    "base/web.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
    'spec: {template: {spec: {containers: [{name: web, image: "registry.example/web:1.0.0"}]}}}\n',
}
CONFIGURED = {"version": "1.1.0", "environment": "live"}


class NoRenderer(Builds):
    """Builds of a machine without kubectl and kustomize; counts what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def render(self, view, root, **_):
        assert view.paths
        self.asked.append(root)
        raise InfraError("setup-failed", "Neither kustomize nor kubectl is installed.")


def overlay(tag=None, name="web"):
    own = f"images: [{{name: registry.example/web, newTag: {tag}}}]\n" if tag else ""
    return f"resources: [../base]\nnamespace: {name}\n{own}"


async def reached(tree, builds, **given):
    async def absent(_):
        return None

    look = Look("req-1", "docs", Policy(), "", tree, absent)
    edit = await EDITS["deploy"](look, ACTIONS["deploy"](app="web", **given))
    return (await reach(Policy(), look.census, tree, edit, builds, "", required=False)).reached


async def test_without_a_renderer_every_delivery_that_reads_the_file_is_reached_and_says_that_it_was_not_built(
    tree_of,  # noqa: F811
):
    files = BASE | {"live/kustomization.yaml": overlay("1.0.0"), "other/kustomization.yaml": overlay("1.0.0", "other")}

    found = await reached(tree_of_async(tree_of, files), NoRenderer(), **CONFIGURED)

    assert [(one.root, one.own, "kustomize" in one.unbuilt) for one in found] == [("live", True, True)]


async def test_so_many_deliveries_are_built_and_the_others_count_as_reached(tree_of, monkeypatch):  # noqa: F811
    monkeypatch.setattr(module, "MAX_BUILT", 3)
    files = BASE | {f"o{at}/kustomization.yaml": overlay(name=f"o{at}") for at in range(6)}
    tree, builds = tree_of_async(tree_of, files), NoRenderer()
    after = tree.write("base/web.yaml", BASE["base/web.yaml"].replace("1.0.0", "1.1.0").encode())

    found = await reach(Policy(), census_of(Policy(), tree), tree, Edit(after, Goal("x")), builds, "", required=False)

    assert [one.root for one in found.reached] == [f"o{at}" for at in range(6)]
    assert set(builds.asked) == {"o0", "o1", "o2"}
    assert [one.unbuilt for one in found.reached[3:]] == ["more than 3 deliveries read the file"] * 3


@pytest.mark.promise("repos.overlay")
async def test_an_edit_that_the_build_does_not_show_is_refused(tree_of, kubectl):  # noqa: F811
    """Something that is not read for finding the place decides: here a replacement."""
    text = """
resources: [../base, pin.yaml]
namespace: live
images: [{name: registry.example/web, newTag: 1.0.0}]
replacements:
- source: {kind: ConfigMap, name: pin, fieldPath: data.image}
  targets: [{select: {kind: Deployment}, fieldPaths: [spec.template.spec.containers.0.image]}]
"""
    pin = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: pin}\ndata: {image: registry.example/web:0.9.0}\n"
    tree = tree_of_async(tree_of, BASE | {"live/kustomization.yaml": text, "live/pin.yaml": pin})

    with pytest.raises(InfraError) as refused:
        await reached(tree, Builds(renderer=kubectl), version="1.1.0")

    assert (refused.value.code, "live" in refused.value.what) == ("no-effect", True)


def tree_of_async(make, files):
    """A tree made in a thread of its own, since the fixture runs an event loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(make, files).result()
