"""Adoption and compare-and-swap on the real API server with its controllers.

Objects are made as people and controllers make them: by kubectl in its several ways, and through the scale subresource.
What a real server does not do on command (lose the answer to a write) is a fault put between `write` and the cluster.
"""

import json
import uuid
from collections.abc import AsyncIterator
from subprocess import PIPE

import anyio
import pytest

from infra_mcp.clients.kube import Cause, Cluster, KubeError
from infra_mcp.drivers.manifests import ssa
from infra_mcp.drivers.manifests.adopt import extract
from infra_mcp.drivers.manifests.diff import changes
from infra_mcp.drivers.manifests.merge import get_path
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.plan import Adoption, ObjectRef, show_path

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

ADOPT = ("kubectl", "kubectl-*", "before-first-apply")
IMAGE = ("spec", "template", "spec", "containers", {"name": "web"}, "image")
MARK = ("metadata", "annotations", "infra-mcp.dev/request")


@pytest.fixture
async def cluster(control_plane) -> AsyncIterator[Cluster]:
    async with Cluster.connect("test", control_plane.kubeconfig, control_plane.context) as connected:
        yield connected


@pytest.fixture
async def space(cluster: Cluster) -> AsyncIterator[str]:
    name = f"ssa-{uuid.uuid4().hex[:10]}"
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, as_=None)
    yield name
    await cluster._transport.request("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def kubectl(control_plane, space):
    """kubectl as a person uses it, in the test's namespace."""

    async def run(*args: str, body: dict | None = None) -> str:
        where = ["--kubeconfig", str(control_plane.kubeconfig), "--context", control_plane.context, "-n", space]
        done = await anyio.run_process(
            [str(control_plane.kubectl), *where, *args], input=json.dumps(body or {}).encode(), stderr=PIPE
        )
        return done.stdout.decode()

    return run


@pytest.fixture
def ref(space):
    def make(kind: str = "Deployment", name: str = "docs", api_version: str = "apps/v1") -> ObjectRef:
        return ObjectRef(cluster="test", api_version=api_version, kind=kind, namespace=space, name=name)

    return make


@pytest.fixture
def deployment(space):
    """A manifest as it stands in git; it does not run, so that its status moves only when a test moves it."""

    def make(image: str = "docs:1", **spec: object) -> dict:
        container = {
            "name": "web",
            "image": image,
            "env": [{"name": "A", "value": "1"}],
            "ports": [{"containerPort": 80}],
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "docs", "namespace": space, "labels": {"app": "docs"}},
            "spec": {
                "replicas": 2,
                "paused": True,
                "selector": {"matchLabels": {"app": "docs"}},
                "template": {
                    "metadata": {"labels": {"app": "docs"}},
                    "spec": {"containers": [container, {"name": "side", "image": "side:1"}]},
                },
                **spec,
            },
        }

    return make


def to(image: str) -> dict:
    return {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}}


async def deploy(cluster: Cluster, ref: ObjectRef, image: str, adopt=ADOPT) -> tuple[ssa.Proposal, dict]:
    live = await cluster.get(ref, as_=None)
    proposal = await ssa.propose(cluster, ref, live, to(image), as_=None, adopt=adopt)
    return proposal, await ssa.write(cluster, proposal, as_=None, request=f"req-{image}")


def asked(obj: dict) -> dict:
    """What people and managers asked for: all but what a controller reports, which moves by itself."""
    about = obj["metadata"]
    kept = {key: about.get(key) for key in ("uid", "generation", "labels", "finalizers")}
    notes = {k: v for k, v in about.get("annotations", {}).items() if k != "deployment.kubernetes.io/revision"}
    fields = [entry for entry in about["managedFields"] if entry.get("subresource") != "status"]
    managers = [entry for entry in fields if entry["manager"] != "kube-controller-manager"]
    return kept | {"annotations": notes, "managedFields": managers, "spec": obj["spec"]}


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
    before = await cluster.get(ref(), as_=None)
    proposal, after = await deploy(cluster, ref(), "docs:2")
    again, later = await deploy(cluster, ref(), "docs:3", adopt=())

    assert get_path(after, IMAGE) == (True, "docs:2")
    assert rest(after) == rest(before)
    assert [(a.field, a.manager, a.operation) for a in proposal.adoptions] == [
        ('.spec.template.spec.containers[name="web"].image', manager, operation)
    ]
    assert [show_path(c.path) for c in changes(proposal.live, proposal.dry)] == [proposal.adoptions[0].field]
    assert get_path(later, IMAGE) == (True, "docs:3")
    assert (again.force, again.adoptions) == (False, ())
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
    live = await cluster.get(ref(), as_=None)
    with pytest.raises(InfraError, match=r"\.spec\.replicas is owned by kubectl \(through scale\)") as refused:
        await ssa.propose(cluster, ref(), live, {"spec": {"replicas": 3}}, as_=None, adopt=("*",))

    assert refused.value.code == "field-conflict"


@pytest.mark.promise("apply.no-force")
@pytest.mark.parametrize("manager", ["terraform", "kubectlish", "infra-mcp-other"])
async def test_a_field_of_another_manager_is_a_conflict_that_names_field_and_owner(
    cluster, kubectl, ref, deployment, manager
):
    await kubectl("apply", "--server-side", "--field-manager", manager, "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_=None)
    with pytest.raises(InfraError) as refused:
        await ssa.propose(cluster, ref(), live, to("docs:2"), as_=None, adopt=ADOPT)

    assert refused.value.code == "field-conflict"
    assert f'.spec.template.spec.containers[name="web"].image is owned by {manager}' in refused.value.what
    assert asked(await cluster.get(ref(), as_=None)) == asked(live)


@pytest.mark.promise("apply.no-force")
async def test_one_owner_who_may_not_lose_a_field_keeps_all_of_them(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    # Not by kubectl: its server-side apply takes over what its client-side apply owned.
    path = f"/apis/apps/v1/namespaces/{ref().namespace}/deployments/docs"
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"minReadySeconds": 3}}
    await cluster._transport.request("PATCH", path, {"fieldManager": "terraform"}, body=other)
    live = await cluster.get(ref(), as_=None)
    sets = to("docs:2")
    sets["spec"]["minReadySeconds"] = 9
    with pytest.raises(InfraError, match=r"minReadySeconds is owned by terraform") as refused:
        await ssa.propose(cluster, ref(), live, sets, as_=None, adopt=ADOPT)

    assert "image" not in refused.value.what
    assert asked(await cluster.get(ref(), as_=None)) == asked(live)


@pytest.mark.promise("apply.no-force")
async def test_nothing_is_forced_when_policy_adopts_nobody(cluster, kubectl, ref, deployment, monkeypatch):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_=None)
    forced = []
    apply = Cluster._apply

    async def watched(self, body, as_, *, force, dry_run):
        forced.append(force)
        return await apply(self, body, as_, force=force, dry_run=dry_run)

    monkeypatch.setattr(Cluster, "_apply", watched)
    with pytest.raises(InfraError, match="is owned by kubectl-client-side-apply"):
        await ssa.propose(cluster, ref(), live, to("docs:2"), as_=None, adopt=())

    assert forced == [False]


@pytest.mark.promise("apply.no-force")
@pytest.mark.promise("apply.cas")
async def test_what_someone_takes_after_the_plan_is_not_taken_back(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_=None, adopt=ADOPT)
    assert proposal.force
    await kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager",
        "terraform",
        "-f",
        "-",
        body=deployment("docs:9"),
    )
    with pytest.raises((InfraError, Moved)):
        await ssa.write(cluster, proposal, as_=None, request="req-1")

    assert get_path(await cluster.get(ref(), as_=None), IMAGE) == (True, "docs:9")


@pytest.mark.promise("apply.cas")
async def test_a_value_that_moved_after_the_plan_is_planned_again(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_=None, adopt=ADOPT)
    await kubectl("set", "image", "deploy/docs", "web=docs:9")
    with pytest.raises(Moved):
        await ssa.write(cluster, proposal, as_=None, request="req-1")

    assert get_path(await cluster.get(ref(), as_=None), IMAGE) == (True, "docs:9")


@pytest.mark.promise("apply.cas")
@pytest.mark.promise("plan.stale")
async def test_a_status_that_moved_after_the_plan_does_not_stop_the_write(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_=None, adopt=ADOPT)
    await kubectl("annotate", "deploy/docs", "note=moved")
    await kubectl("scale", "deploy/docs", "--replicas=4")
    written = await ssa.write(cluster, proposal, as_=None, request="req-1")

    assert get_path(written, IMAGE) == (True, "docs:2")
    assert written["metadata"]["annotations"]["note"] == "moved"
    assert written["spec"]["replicas"] == 4


async def test_an_object_that_moves_while_it_is_planned_is_read_again(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    stale = await cluster.get(ref(), as_=None)
    await kubectl("annotate", "deploy/docs", "note=moved")
    proposal = await ssa.propose(cluster, ref(), stale, to("docs:2"), as_=None, adopt=ADOPT)

    assert proposal.live["metadata"]["annotations"]["note"] == "moved"
    assert [show_path(c.path) for c in changes(proposal.live, proposal.dry)] == [proposal.adoptions[0].field]
    await kubectl("set", "image", "deploy/docs", "web=docs:9")
    with pytest.raises(Moved):
        await ssa.propose(cluster, ref(), stale, to("docs:2"), as_=None, adopt=ADOPT)


@pytest.mark.promise("apply.cas")
@pytest.mark.parametrize("then", ["gone", "another"])
async def test_an_object_deleted_after_the_plan_stays_deleted(cluster, kubectl, ref, deployment, then):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_=None, adopt=ADOPT)
    await kubectl("delete", "deploy/docs", "--cascade=orphan")
    if then == "another":
        await kubectl("apply", "-f", "-", body=deployment())
    with pytest.raises(Moved):
        await ssa.write(cluster, proposal, as_=None, request="req-1")
    with pytest.raises(Moved):
        await ssa.propose(cluster, ref(), live, to("docs:2"), as_=None, adopt=ADOPT)
    now = await cluster.get(ref(), as_=None)

    assert now is None if then == "gone" else get_path(now, IMAGE) == (True, "docs:1")


@pytest.mark.promise("apply.cas")
async def test_a_create_that_meets_an_object_changes_nothing(cluster, kubectl, ref, deployment):
    proposal = await ssa.propose(cluster, ref(), None, deployment("docs:2"), as_=None, adopt=ADOPT)
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_=None)
    with pytest.raises(InfraError, match="created by someone else") as refused:
        await ssa.write(cluster, proposal, as_=None, request="req-1")
    with pytest.raises(Moved):
        await ssa.propose(cluster, ref(), None, deployment("docs:2"), as_=None, adopt=ADOPT)

    assert refused.value.code == "exists"
    assert asked(await cluster.get(ref(), as_=None)) == asked(live)


@pytest.mark.promise("apply.cas")
async def test_a_create_leaves_an_object_alone_that_shares_no_field_with_it(cluster, kubectl, ref, space):
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "docs", "namespace": space},
        "data": {"a": "1"},
    }
    at = ref("ConfigMap", api_version="v1")
    proposal = await ssa.propose(cluster, at, None, body, as_=None, adopt=ADOPT)
    await kubectl("create", "configmap", "docs", "--from-literal=b=2")
    live = await cluster.get(at, as_=None)
    with pytest.raises(InfraError, match="created by someone else"):
        await ssa.write(cluster, proposal, as_=None, request="req-1")
    with pytest.raises(Moved):
        await ssa.propose(cluster, at, None, body, as_=None, adopt=ADOPT)

    assert await cluster.get(at, as_=None) == live


async def test_a_create_is_ours_from_the_start_and_marked(cluster, ref, deployment):
    proposal = await ssa.propose(cluster, ref(), None, deployment(), as_=None, adopt=ADOPT)
    made = await ssa.write(cluster, proposal, as_=None, request="req-1")
    again, later = await deploy(cluster, ref(), "docs:2", adopt=())

    assert get_path(made, MARK) == (True, "req-1")
    assert get_path(proposal.dry, MARK) == (False, None)
    assert (again.force, get_path(later, MARK)) == (False, (True, "req-docs:2"))


@pytest.mark.promise("apply.write-on-drift")
async def test_an_object_that_is_so_already_is_neither_written_nor_asked_about(
    cluster, kubectl, ref, deployment, monkeypatch
):
    await kubectl("apply", "-f", "-", body=deployment("docs:2"))
    live = await cluster.get(ref(), as_=None)

    async def never(*_args, **_kwargs):
        raise AssertionError

    monkeypatch.setattr(Cluster, "_apply", never)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_=None, adopt=())

    assert proposal.unchanged
    assert await ssa.write(cluster, proposal, as_=None, request="req-1") == live
    assert asked(await cluster.get(ref(), as_=None)) == asked(live)


@pytest.mark.promise("apply.write-on-drift")
async def test_a_value_written_another_way_is_no_difference(cluster, ref, space):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "docs", "namespace": space},
        "spec": {"hard": {"requests.cpu": "1500m"}},
    }
    at = ref("ResourceQuota", api_version="v1")
    proposal = await ssa.propose(cluster, at, None, quota, as_=None, adopt=())
    await ssa.write(cluster, proposal, as_=None, request="req-1")
    live = await cluster.get(at, as_=None)
    same = await ssa.propose(cluster, at, live, {"spec": {"hard": {"requests.cpu": "1.5"}}}, as_=None, adopt=())

    assert same.unchanged
    assert asked(await ssa.write(cluster, same, as_=None, request="req-2")) == asked(live)
    assert asked(await cluster.get(at, as_=None)) == asked(live)


async def test_saying_again_what_we_own_moves_nothing(cluster, ref, deployment):
    body = deployment()
    body["metadata"]["finalizers"] = ["infra-mcp.dev/test"]
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1", "memory": "1Gi"}}
    body["spec"]["template"]["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    proposal = await ssa.propose(cluster, ref(), None, body, as_=None, adopt=())
    made = await ssa.write(cluster, proposal, as_=None, request="req-1")
    live = await cluster.get(ref(), as_=None)
    again, status = await cluster.write(extract(live), as_=None)
    await cluster.write(extract(live) | {"metadata": extract(live)["metadata"] | {"finalizers": []}}, as_=None)

    assert status == 200
    assert asked(again) == asked(made)


@pytest.mark.promise("plan.adopt")
async def test_an_object_without_managers_is_adopted_from_before_first_apply(cluster, kubectl, ref):
    at = ref("ServiceAccount", "default", "v1")
    with anyio.fail_after(10):
        async for event in cluster.watch("v1", "ServiceAccount", at.namespace, as_=None, name="default"):
            live = event["object"]
            break
    await kubectl("patch", "sa/default", "-p", '{"imagePullSecrets": [{"name": "old"}]}')
    live = await cluster.get(at, as_=None)
    sets = {"imagePullSecrets": [{"name": "old"}, {"name": "registry-x"}]}
    if live["metadata"].get("managedFields"):  # a server that records the patch: then that is whom it is taken from
        pytest.fail("the default service account has managers here")
    proposal = await ssa.propose(cluster, at, live, sets, as_=None, adopt=ADOPT)
    written = await ssa.write(cluster, proposal, as_=None, request="req-1")

    assert proposal.adoptions == (
        Adoption(field=".imagePullSecrets", manager="before-first-apply", operation="Update"),
    )
    assert written["imagePullSecrets"] == [{"name": "old"}, {"name": "registry-x"}]


@pytest.mark.promise("plan.adopt")
async def test_a_field_that_is_co_owned_is_adopted_by_the_same_steps(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    await deploy(cluster, ref(), "docs:2")
    await kubectl("apply", "--server-side", "-f", "-", body=deployment("docs:2"))  # an equal value is owned by both
    proposal, after = await deploy(cluster, ref(), "docs:3")

    assert [(a.manager, a.operation) for a in proposal.adoptions] == [("kubectl", "Apply")]
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
    live = await cluster.get(ref(), as_=None)
    for sets in (to("docs:2"), to("docs:1"), {"metadata": {"labels": {"new": "label"}}}):
        with pytest.raises(InfraError, match=owner) as refused:
            await ssa.propose(cluster, ref(), live, sets, as_=None, adopt=("*",))

        assert refused.value.code == "owned-elsewhere"
    assert asked(await cluster.get(ref(), as_=None)) == asked(live)


async def test_what_we_own_is_removed_when_it_is_to_go_and_what_others_own_too_is_not(
    cluster, kubectl, ref, deployment
):
    await kubectl("apply", "-f", "-", body=deployment())
    ours = ("metadata", "labels", "ours")
    shared = ("metadata", "labels", "shared")
    live = await cluster.get(ref(), as_=None)
    sets = {"metadata": {"labels": {"ours": "1", "shared": "1"}}}
    first = await ssa.propose(cluster, ref(), live, sets, as_=None, adopt=())
    live = await ssa.write(cluster, first, as_=None, request="req-1")
    await kubectl("label", "deploy/docs", "shared=1", "--overwrite", "--field-manager=other")
    await kubectl("label", "deploy/docs", "shared=2", "--overwrite", "--field-manager=other")
    live = await cluster.get(ref(), as_=None)
    gone = await ssa.propose(cluster, ref(), live, {}, as_=None, adopt=(), removes=[ours])
    written = await ssa.write(cluster, gone, as_=None, request="req-2")

    assert written["metadata"]["labels"] == {"app": "docs", "shared": "2"}
    with pytest.raises(InfraError, match="other owns it too"):
        await ssa.propose(cluster, ref(), written, {}, as_=None, adopt=(), removes=[shared])


async def test_an_atomic_list_is_not_replaced_by_parts_of_its_items(cluster, kubectl, ref, space):
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "docs", "namespace": space},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": space}],
    }
    await kubectl("apply", "-f", "-", body=role)
    at = ref("RoleBinding", "docs", "rbac.authorization.k8s.io/v1")
    live = await cluster.get(at, as_=None)
    with pytest.raises(InfraError, match=r"\.subjects is one value there"):
        await ssa.propose(cluster, at, live, {"subjects": [{"name": "a", "kind": "User"}]}, as_=None, adopt=ADOPT)


async def test_the_servers_own_no_is_told_in_our_words(cluster, kubectl, ref, deployment):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_=None)
    nobody = f"system:serviceaccount:{ref().namespace}:nobody"
    cases = [
        ({"spec": {"replica": 1}}, None, "object-invalid", r"\.spec\.replica: field not declared"),
        ({"spec": {"selector": {"matchLabels": {"app": "x"}}}}, None, "object-invalid", "field is immutable"),
        (to("docs:2"), nobody, "cluster-denied", "cannot patch"),
    ]
    for sets, as_, code, says in cases:
        with pytest.raises(InfraError, match=says) as refused:
            await ssa.propose(cluster, ref(), live, sets, as_=as_, adopt=ADOPT)

        assert refused.value.code == code


class Scripted:
    """A cluster with a mutating webhook, as far as `propose` can see: a conflict first, then what is given."""

    def __init__(self, *answers: dict | KubeError) -> None:
        self.answers = list(answers)

    async def dry_run(self, _body, *, as_, force=False):  # noqa: ARG002 - as Cluster's
        answer = self.answers.pop(0)
        if isinstance(answer, KubeError):
            raise answer
        return answer


def owned_map(data: dict, *fields: str) -> dict:
    owned = {"f:data": {f"f:{name}": {} for name in fields}}
    entry = {"manager": "kubectl", "operation": "Update", "apiVersion": "v1", "fieldsV1": owned}
    about = {"name": "docs", "namespace": "a", "uid": "u", "resourceVersion": "7", "managedFields": [entry]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": data}


@pytest.mark.promise("apply.no-force")
async def test_a_field_that_would_be_lost_beside_the_set_ones_is_a_conflict(ref):
    conflict = KubeError(409, "Conflict", "", (Cause("FieldManagerConflict", ".data.a", 'conflict with "kubectl"'),))
    live = owned_map({"a": "1", "b": "1"}, "a", "b")
    taken = owned_map({"a": "2", "b": "2"})
    with pytest.raises(InfraError, match=r"\.data\.b is owned by kubectl") as refused:
        await ssa.propose(
            Scripted(conflict, taken),
            ref("ConfigMap", api_version="v1"),
            live,
            {"data": {"a": "2"}},
            as_=None,
            adopt=ADOPT,
        )

    assert refused.value.code == "field-conflict"


async def test_an_apply_that_would_remove_more_than_was_asked_is_refused(ref):
    live, dry = owned_map({"a": "1", "b": "1"}), owned_map({"a": "2"})
    with pytest.raises(InfraError, match=r"would also remove \.data\.b"):
        await ssa.propose(
            Scripted(dry), ref("ConfigMap", api_version="v1"), live, {"data": {"a": "2"}}, as_=None, adopt=ADOPT
        )


@pytest.fixture
def lossy(monkeypatch):
    """Lose the answer to the next write, which has landed or not, and the cluster with it."""

    async def unreachable(*_args, **_kwargs):
        raise KubeError(0, "Unreachable", "ClientConnectorError")

    def make(*, landed: bool, gone: bool = False) -> None:
        write = Cluster.write

        async def lost(self, body, *, as_, force=False):
            if landed:
                await write(self, body, as_=as_, force=force)
            if gone:
                monkeypatch.setattr(Cluster, "get", unreachable)
            raise KubeError(0, "OutcomeUnknown", "ServerDisconnectedError")

        monkeypatch.setattr(Cluster, "write", lost)
        monkeypatch.setattr(ssa, "SETTLE", 0.0)

    return make


@pytest.mark.parametrize("exists", [True, False])
async def test_a_write_whose_answer_is_lost_is_looked_at_and_counts_when_it_landed(
    cluster, kubectl, ref, deployment, lossy, exists
):
    if exists:
        await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_=None)
    proposal = await ssa.propose(cluster, ref(), live, deployment("docs:2"), as_=None, adopt=ADOPT)
    lossy(landed=True)
    written = await ssa.write(cluster, proposal, as_=None, request="req-1")

    assert get_path(written, IMAGE) == (True, "docs:2")
    assert get_path(written, MARK) == (True, "req-1")


async def test_a_write_that_is_lost_and_does_not_show_is_said_to_be_unknown(cluster, kubectl, ref, deployment, lossy):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_=None, adopt=ADOPT)
    lossy(landed=False)
    with pytest.raises(KubeError) as lost:
        await ssa.write(cluster, proposal, as_=None, request="req-1")

    assert lost.value.is_unknown
    assert asked(await cluster.get(ref(), as_=None)) == asked(live)


async def test_a_write_that_is_lost_with_the_cluster_is_said_to_be_unknown(cluster, kubectl, ref, deployment, lossy):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_=None, adopt=ADOPT)
    lossy(landed=True, gone=True)
    with pytest.raises(KubeError) as lost:
        await ssa.write(cluster, proposal, as_=None, request="req-1")

    assert lost.value.is_unknown


async def test_a_mark_that_someone_copied_is_left_to_them(cluster, kubectl, ref, deployment):
    body = deployment()
    body["metadata"]["annotations"] = {"infra-mcp.dev/request": "req-of-long-ago"}
    await kubectl("apply", "-f", "-", body=body)
    proposal, after = await deploy(cluster, ref(), "docs:2")

    assert get_path(after, MARK) == (True, "req-of-long-ago")
    assert len(proposal.adoptions) == 1
