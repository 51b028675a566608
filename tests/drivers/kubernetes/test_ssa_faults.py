"""What a real server does not do on command, put between us and the cluster: a webhook's changes, a lost answer."""

import pytest
from drivers.kubernetes.deploys import ADOPT, IMAGE, MARK, asked, to

from infra_mcp.clients.kube import Cause, Cluster, KubeError
from infra_mcp.drivers.kubernetes import ssa
from infra_mcp.errors import InfraError
from infra_mcp.repository.partial import get_path

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]


class Scripted:
    """A cluster with a mutating webhook, as far as `propose` can see: a conflict first, then what is given."""

    def __init__(self, *answers: dict | KubeError) -> None:
        self.answers = list(answers)

    async def dry_run(self, _body, *, as_user, force=False):  # noqa: ARG002 - as Cluster's
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
            as_user=None,
            adopt=ADOPT,
        )

    assert refused.value.code == "field-conflict"


async def test_an_apply_that_would_remove_more_than_was_asked_is_refused(ref):
    live, dry = owned_map({"a": "1", "b": "1"}), owned_map({"a": "2"})
    with pytest.raises(InfraError, match=r"would also remove \.data\.b"):
        await ssa.propose(
            Scripted(dry), ref("ConfigMap", api_version="v1"), live, {"data": {"a": "2"}}, as_user=None, adopt=ADOPT
        )


@pytest.fixture
def lossy(monkeypatch):
    """Lose the answer to the next write, which has landed or not, and the cluster with it."""

    async def unreachable(*_args, **_kwargs):
        raise KubeError(0, "Unreachable", "ClientConnectorError")

    def make(*, landed: bool, gone: bool = False) -> None:
        write = Cluster.write

        async def lost(self, body, *, as_user, force=False):
            if landed:
                await write(self, body, as_user=as_user, force=force)
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
    live = await cluster.get(ref(), as_user=None)
    proposal = await ssa.propose(cluster, ref(), live, deployment("docs:2"), as_user=None, adopt=ADOPT)
    lossy(landed=True)
    written = await ssa.write(cluster, proposal, as_user=None, request="req-1")

    assert get_path(written, IMAGE) == (True, "docs:2")
    assert get_path(written, MARK) == (True, "req-1")


async def test_a_write_that_is_lost_and_does_not_show_is_said_to_be_unknown(cluster, kubectl, ref, deployment, lossy):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_user=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_user=None, adopt=ADOPT)
    lossy(landed=False)
    with pytest.raises(KubeError) as lost:
        await ssa.write(cluster, proposal, as_user=None, request="req-1")

    assert lost.value.is_unknown
    assert asked(await cluster.get(ref(), as_user=None)) == asked(live)


async def test_a_write_that_is_lost_with_the_cluster_is_said_to_be_unknown(cluster, kubectl, ref, deployment, lossy):
    await kubectl("apply", "-f", "-", body=deployment())
    live = await cluster.get(ref(), as_user=None)
    proposal = await ssa.propose(cluster, ref(), live, to("docs:2"), as_user=None, adopt=ADOPT)
    lossy(landed=True, gone=True)
    with pytest.raises(KubeError) as lost:
        await ssa.write(cluster, proposal, as_user=None, request="req-1")

    assert lost.value.is_unknown
