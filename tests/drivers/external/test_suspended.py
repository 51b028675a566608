"""Suspended objects of Flux are named in the plan. The cluster is a mapping: no API server here serves Flux's kinds."""

from __future__ import annotations

import pytest

from infra_mcp.clients.kube import KubeError
from infra_mcp.drivers.base import Build, Context, Share
from infra_mcp.drivers.external.plan import Ground, plan
from infra_mcp.drivers.external.suspended import suspended
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy.policy import Policy, load
from infra_mcp.repository.edits import Goal
from infra_mcp.repository.render import Located
from infra_mcp.repository.value import Base, Tree

pytestmark = [pytest.mark.anyio, pytest.mark.trap("G4")]

RELEASE = ObjectRef(
    cluster="prod", api_version="helm.toolkit.fluxcd.io/v2", kind="HelmRelease", namespace="media", name="player"
)
KUSTOMIZATION = ObjectRef(
    cluster="prod", api_version="kustomize.toolkit.fluxcd.io/v1", kind="Kustomization", namespace="flux", name="apps"
)
WORKLOAD = ObjectRef(cluster="prod", api_version="apps/v1", kind="Deployment", namespace="media", name="player")
TREE = Tree(Base("0" * 40, "prod", ("",), {}, {}))
BY_FLUX = {"manager": "flux", "time": "2026-11-30T09:00:00Z", "fieldsV1": {"f:spec": {"f:suspend": {}}}}
LEFT = "nothing that it delivers becomes live until it is resumed"


class FewObjects:
    """A cluster of some objects; what the circle may not read raises."""

    name = "prod"

    def __init__(self, *objects):
        self.objects = {ref.key: live for ref, live in objects}

    async def may_do(self, *_, **__):
        return True

    async def get(self, ref, *, as_user):
        assert as_user.endswith("circle")
        found = self.objects.get(ref.key)
        if found == "denied":
            raise KubeError(403, "Forbidden", "no")
        return found


def live(ref, labels=None, *, by=(), **spec):
    metadata = {"name": ref.name, "namespace": ref.namespace, "labels": labels or {}, "managedFields": list(by)}
    return ref, {"kind": ref.kind, "metadata": metadata, "spec": spec}


def delivered(ref, by):
    tool = by.group.partition(".")[0]
    labels = {f"{tool}.toolkit.fluxcd.io/name": by.name, f"{tool}.toolkit.fluxcd.io/namespace": by.namespace}
    return live(ref, labels)


def change(**spec):
    """A change of the release's values."""
    before, after = (
        Located("media/release.yaml", 0, {"kind": "HelmRelease", "spec": spec | {"values": value}}, (), RELEASE)
        for value in (1, 2)
    )
    return Share((), (), TREE, TREE, Goal("Set it"), (Build("media", (before,), (after,)),))


async def notes(share, *objects, workloads=()):
    return await suspended(FewObjects(*objects), share, workloads, "circle")


async def test_a_release_that_someone_suspended_in_the_cluster_is_named_with_who_did():
    found = await notes(change(), live(RELEASE, by=[BY_FLUX], suspend=True))

    assert found == (f"{RELEASE} is suspended (set by flux at 2026-11-30T09:00:00Z): {LEFT}",)


async def test_a_release_that_git_keeps_suspended_is_named_with_the_file_also_where_it_cannot_be_read():
    said = (f"{RELEASE} is suspended (media/release.yaml says suspend: true): {LEFT}",)

    assert await notes(change(suspend=True), (RELEASE, "denied")) == said
    assert await notes(change(suspend=True)) == said


async def test_who_delivers_it_is_asked_too_up_to_the_first():
    objects = (
        delivered(WORKLOAD, RELEASE),
        delivered(RELEASE, KUSTOMIZATION),
        live(KUSTOMIZATION, suspend=True),
    )

    said = (f"{KUSTOMIZATION} is suspended (in the cluster): {LEFT}",)
    assert await notes(change(), *objects) == said
    assert await notes(Share((), (), TREE, TREE, Goal("Set it")), *objects, workloads=[WORKLOAD]) == said


@pytest.mark.parametrize(
    ("share", "objects"),
    [
        (change(), [live(RELEASE)]),
        (change(), [live(RELEASE, suspend=False)]),
        (change(), [(RELEASE, "denied")]),
        (change(), []),
        (change(suspend=False), [live(RELEASE, suspend=True)]),  # the change resumes it
    ],
)
async def test_what_is_not_suspended_or_resumed_by_the_change_or_unknown_is_not_remarked_on(share, objects):
    assert await notes(share, *objects) == ()


async def test_objects_that_name_each_other_as_deliverers_end():
    assert await notes(change(), delivered(RELEASE, KUSTOMIZATION), delivered(KUSTOMIZATION, KUSTOMIZATION)) == ()


async def test_the_plan_of_a_change_says_it_and_that_of_no_change_does_not(monkeypatch):
    monkeypatch.setattr(Policy, "service_account", lambda *_: "circle")

    async def no_forge():
        raise AssertionError

    text = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: player, namespace: media}\n"
    before, after = (TREE.write("release.yaml", f"{text}spec: {{values: {value}}}\n".encode()) for value in (1, 2))
    ground = Ground(FewObjects(live(RELEASE, suspend=True)), no_forge, lambda: None)
    context = Context("req-1", "media", load(""))
    changed, same = [await plan(ground, context, Share((), (), one, after, Goal("Set it"))) for one in (before, after)]

    assert [note for note in changed.notes if "suspended" in note] == [
        f"{RELEASE} is suspended (in the cluster): {LEFT}"
    ]
    assert "suspended" not in str(same.notes)
