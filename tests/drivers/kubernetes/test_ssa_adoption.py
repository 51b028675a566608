"""Takeover on the real API server: a field is taken from people where policy says so, and from nobody else.

Objects are made as people and controllers make them: by kubectl in its several ways, and through the scale subresource.
"""

import json

import anyio
import pytest
from drivers.kubernetes.deploys import ADOPT, IMAGE, MARK, asked, deploy, to

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.drivers.kubernetes.diff import changes
from infra_mcp.errors import InfraError
from infra_mcp.model.effect import Takeover, show_path
from infra_mcp.repository.partial import get_path

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


def rest(obj: dict) -> dict:
    """All that a deploy must leave as it is."""
    kept = json.loads(json.dumps(obj))
    for key in ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"):
        kept["metadata"].pop(key, None)
    for name in ("infra-mcp.dev/request", "deployment.kubernetes.io/revision"):
        kept["metadata"].get("annotations", {}).pop(name, None)
    kept["metadata"]["annotations"] = kept["metadata"].get("annotations", {})
    get_path(kept, IMAGE[:-1])[1].pop("image")
    kept.pop("status", None)
    return kept


MADE_BY = {
    "apply": (["apply", "-f", "-"], "kubectl-client-side-apply", "Update"),
    "create": (["create", "-f", "-"], "kubectl-create", "Update"),
    "server-side apply": (["apply", "--server-side", "-f", "-"], "kubectl", "Apply"),
}
THEN = {
    "nothing": [],
    "set image": [["set", "image", "deploy/docs", "web=docs:by-hand"]],
    "set env": [["set", "env", "deploy/docs", "-c", "web", "B=2"]],
    "patch": [["patch", "deploy/docs", "-p", '{"spec": {"minReadySeconds": 7}}']],
    "rollout restart": [["rollout", "resume", "deploy/docs"], ["rollout", "restart", "deploy/docs"]],
    "label and annotate": [["label", "deploy/docs", "team=docs"], ["annotate", "deploy/docs", "note=kept"]],
    "scale": [["scale", "deploy/docs", "--replicas=5"]],
}


@pytest.mark.promise("plan.adopt")
@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("made", MADE_BY)
async def test_the_first_deploy_of_what_people_made_takes_the_image_and_nothing_else(
    cluster, kubectl, ref, deployment, made, then
):
    how, manager, operation = MADE_BY[made]
    await kubectl(*how, body=deployment())
    for args in THEN[then]:
        await kubectl(*args)
    if then == "set image":
        manager, operation = "kubectl-set", "Update"
    before = await cluster.get(ref(), as_user=None)
    proposal, after = await deploy(cluster, ref(), "docs:2")
    again, later = await deploy(cluster, ref(), "docs:3", adopt=())

    assert get_path(after, IMAGE) == (True, "docs:2")
    assert rest(after) == rest(before)
    assert [(a.field, a.manager, a.operation) for a in proposal.takes] == [
        ('.spec.template.spec.containers[name="web"].image', manager, operation)
    ]
    assert [show_path(c.path) for c in changes(proposal.live, proposal.dry)] == [proposal.takes[0].field]
    assert get_path(later, IMAGE) == (True, "docs:3")
    assert (again.force, again.takes) == (False, ())
    assert rest(later) == rest(before)


@pytest.mark.promise("plan.adopt")
async def test_replicas_an_autoscaler_set_stay_its_own(cluster, kubectl, ref, deployment, space):
    await kubectl("apply", "-f", "-", body=deployment())
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "docs"}, "spec": {"replicas": 7}}
    path = f"/apis/apps/v1/namespaces/{space}/deployments/docs/scale?fieldManager=horizontal-pod-autoscaler"
    await cluster._transport.request("PUT", path, body=scale)
    _, after = await deploy(cluster, ref(), "docs:2")
    _, later = await deploy(cluster, ref(), "docs:3")

    assert (after["spec"]["replicas"], later["spec"]["replicas"]) == (7, 7)
    owner = [e for e in later["metadata"]["managedFields"] if "f:replicas" in e["fieldsV1"].get("f:spec", {})]
    assert [(e["manager"], e["subresource"]) for e in owner] == [("horizontal-pod-autoscaler", "scale")]


@pytest.mark.promise("plan.adopt")
@pytest.mark.promise("apply.no-force")
async def test_a_field_scaled_through_the_subresource_is_never_adopted(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    await kubectl("scale", "deploy/docs", "--replicas=5")
    live = await cluster.get(ref(), as_user=None)
    with pytest.raises(InfraError, match=r"\.spec\.replicas is owned by kubectl \(through scale\)") as refused:
        await ssa.propose(cluster, ref(), live, {"spec": {"replicas": 3}}, as_user=None, adopt=("*",))

    assert refused.value.code == "field-conflict"


@pytest.mark.promise("apply.no-force")
@pytest.mark.parametrize("manager", ["terraform", "kubectlish", "infra-mcp-other"])
async def test_a_field_of_another_manager_is_a_conflict_that_names_field_and_owner(
    cluster, kubectl, ref, deployment, manager
):
    await kubectl("apply", "--server-side", "--field-manager", manager, "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_user=None)
    with pytest.raises(InfraError) as refused:
        await ssa.propose(cluster, ref(), live, to("docs:2"), as_user=None, adopt=ADOPT)

    assert refused.value.code == "field-conflict"
    assert f'.spec.template.spec.containers[name="web"].image is owned by {manager}' in refused.value.what
    assert asked(await cluster.get(ref(), as_user=None)) == asked(live)


@pytest.mark.promise("apply.no-force")
async def test_one_owner_who_may_not_lose_a_field_keeps_all_of_them(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    # Not by kubectl: its server-side apply takes over what its client-side apply owned.
    path = f"/apis/apps/v1/namespaces/{ref().namespace}/deployments/docs"
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"minReadySeconds": 3}}
    await cluster._transport.request("PATCH", path, {"fieldManager": "terraform"}, body=other)
    live = await cluster.get(ref(), as_user=None)
    sets = to("docs:2")
    sets["spec"]["minReadySeconds"] = 9
    with pytest.raises(InfraError, match=r"minReadySeconds is owned by terraform") as refused:
        await ssa.propose(cluster, ref(), live, sets, as_user=None, adopt=ADOPT)

    assert "image" not in refused.value.what
    assert asked(await cluster.get(ref(), as_user=None)) == asked(live)


@pytest.mark.promise("apply.no-force")
async def test_nothing_is_forced_when_policy_adopts_nobody(cluster, kubectl, ref, deployment, monkeypatch):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_user=None)
    forced = []
    apply = Cluster._apply

    async def watched(self, body, as_user, **how):
        forced.append(how["force"])
        return await apply(self, body, as_user, **how)

    monkeypatch.setattr(Cluster, "_apply", watched)
    with pytest.raises(InfraError, match="is owned by kubectl-client-side-apply"):
        await ssa.propose(cluster, ref(), live, to("docs:2"), as_user=None, adopt=())

    assert forced == [False]


@pytest.mark.promise("plan.adopt")
async def test_an_object_without_managers_is_adopted_from_before_first_apply(cluster, kubectl, ref):
    at = ref("ServiceAccount", "default", "v1")
    with anyio.fail_after(30):
        async for event in cluster.watch("v1", "ServiceAccount", at.namespace, as_user=None, name="default"):
            live = event["object"]
            break
    await kubectl("patch", "sa/default", "-p", '{"imagePullSecrets": [{"name": "old"}]}')
    live = await cluster.get(at, as_user=None)
    sets = {"imagePullSecrets": [{"name": "old"}, {"name": "registry-x"}]}
    if live["metadata"].get("managedFields"):  # a server that records the patch: then that is whom it is taken from
        pytest.fail("the default service account has managers here")
    proposal = await ssa.propose(cluster, at, live, sets, as_user=None, adopt=ADOPT)
    written = await ssa.write(cluster, proposal, as_user=None, request="req-1")

    assert proposal.takes == (Takeover(field=".imagePullSecrets", manager="before-first-apply", operation="Update"),)
    assert written["imagePullSecrets"] == [{"name": "old"}, {"name": "registry-x"}]


@pytest.mark.promise("plan.adopt")
async def test_a_field_that_is_co_owned_is_adopted_by_the_same_steps(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    await deploy(cluster, ref(), "docs:2")
    await kubectl("apply", "--server-side", "-f", "-", body=deployment("docs:2"))  # an equal value is owned by both
    proposal, after = await deploy(cluster, ref(), "docs:3")

    assert [(a.manager, a.operation) for a in proposal.takes] == [("kubectl", "Apply")]
    assert get_path(after, IMAGE) == (True, "docs:3")


@pytest.mark.promise("plan.adopt")
@pytest.mark.parametrize(
    ("marks", "owner"),
    [
        (
            {"annotations": {"meta.helm.sh/release-name": "docs"}, "labels": {"app.kubernetes.io/managed-by": "Helm"}},
            "Helm release",
        ),
        (
            {"annotations": {"argocd.argoproj.io/tracking-id": "site:apps/Deployment:a/docs"}},
            "Argo CD application site",
        ),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "Flux Kustomization"),
    ],
)
async def test_what_helm_argo_and_flux_own_is_refused_even_without_a_conflict(
    cluster, kubectl, ref, deployment, marks, owner
):
    body = deployment()
    body["metadata"] |= {"labels": body["metadata"]["labels"] | marks.get("labels", {})}
    body["metadata"] |= {"annotations": marks.get("annotations", {})}
    await kubectl("apply", "-f", "-", body=body)
    live = await cluster.get(ref(), as_user=None)
    for sets in (to("docs:2"), to("docs:1"), {"metadata": {"labels": {"new": "label"}}}):
        with pytest.raises(InfraError, match=owner) as refused:
            await ssa.propose(cluster, ref(), live, sets, as_user=None, adopt=("*",))

        assert refused.value.code == "owned-elsewhere"
    assert asked(await cluster.get(ref(), as_user=None)) == asked(live)


async def test_a_mark_that_someone_copied_is_left_to_them(cluster, kubectl, ref, deployment):
    body = deployment()
    body["metadata"]["annotations"] = {"infra-mcp.dev/request": "req-of-long-ago"}
    await kubectl("apply", "-f", "-", body=body)
    proposal, after = await deploy(cluster, ref(), "docs:2")

    assert get_path(after, MARK) == (True, "req-of-long-ago")
    assert len(proposal.takes) == 1
