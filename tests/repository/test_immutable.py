"""Fields that the API server never lets change, found in builds before and after a change."""

from __future__ import annotations

import pytest
from repository.kustomize_tree import APP, WEB, view

from infra_mcp.repository.builds import Builds
from infra_mcp.repository.immutable import immutable_changes

pytestmark = pytest.mark.anyio


@pytest.fixture
def made(kubectl):
    return Builds(renderer=kubectl)


@pytest.mark.trap("K3")
@pytest.mark.parametrize(
    ("change", "by"),
    [
        ({"prod/kustomization.yaml": "commonLabels: {team: shop}\n"}, "commonLabels.team of prod/kustomization.yaml"),
        ({"base/kustomization.yaml": "commonLabels: {team: shop}\n"}, "commonLabels.team of base/kustomization.yaml"),
        (
            {"base/kustomization.yaml": "labels: [{pairs: {a: b}}, {pairs: {team: shop}, includeSelectors: true}]\n"},
            "labels[1].pairs.team of base/kustomization.yaml",
        ),
        (
            {
                "prod/kustomization.yaml": "components: [../part]\n",
                "part/kustomization.yaml": "kind: Component\nlabels: [{pairs: {team: shop}, includeSelectors: true}]\n",
            },
            "labels[0].pairs.team of part/kustomization.yaml",
        ),
    ],
)
async def test_a_label_that_reaches_an_immutable_selector_is_named_with_its_entry(made, change, by):
    added = {path: APP.get(path, "") + text for path, text in change.items()}
    before, after = await made.render(view(APP), "prod"), await made.render(view(APP | added), "prod")

    assert [str(one) for one in immutable_changes(before, after)] == [
        f"immutable selector of web-prod/deployment/web would change, by {by}"
    ]
    assert [str(one) for one in immutable_changes(after, before)] == [
        f"immutable selector of web-prod/deployment/web would change, by {by}"
    ]
    assert immutable_changes(after, after) == []


@pytest.mark.trap("K3")
async def test_a_changed_label_and_a_patch_that_change_a_selector_are_found_and_other_labels_are_fine(made):
    async def render(text):
        return await made.render(view(APP | {"prod/kustomization.yaml": APP["prod/kustomization.yaml"] + text}), "prod")

    plain = await render("")
    assert immutable_changes(plain, await render("labels: [{pairs: {team: shop}, includeTemplates: true}]\n")) == []
    (one,) = immutable_changes(await render("commonLabels: {team: a}\n"), await render("commonLabels: {team: b}\n"))
    assert (one.entry, one.file) == ("commonLabels.team", "prod/kustomization.yaml")
    patch = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {selector: {matchLabels: {x: y}}}}"
    (one,) = immutable_changes(plain, await render(f"patches: [{{patch: '{patch}'}}]\n"))
    assert str(one) == "immutable selector of web-prod/deployment/web would change"
    stateful = WEB.replace("Deployment", "StatefulSet") + "  volumeClaimTemplates: [{metadata: {name: data}}]\n"
    claims = APP | {"base/web.yaml": stateful}
    labelled = claims | {"prod/kustomization.yaml": APP["prod/kustomization.yaml"] + "commonLabels: {team: shop}\n"}
    found = immutable_changes(await made.render(view(claims), "prod"), await made.render(view(labelled), "prod"))
    assert {one.field for one in found} == {"spec.selector", "spec.volumeClaimTemplates"}
    assert {one.entry for one in found} == {"commonLabels.team"}
