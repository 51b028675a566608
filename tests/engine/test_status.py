"""What `status` reads, and in which order nobody has to wait."""

from types import SimpleNamespace

import anyio
import pytest

from infra_mcp.clients.kube import KubeError
from infra_mcp.engine.status import status
from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")


def tools(observe, recent):
    policy = SimpleNamespace(
        service_account=lambda circle: f"circle-{circle}", app=lambda _: SimpleNamespace(owner="docs")
    )
    return SimpleNamespace(
        cluster="sandbox",
        policy=lambda: policy,
        driver=SimpleNamespace(observe_app=observe),
        ledger=SimpleNamespace(recent=recent),
    )


async def test_the_cluster_and_the_ledger_are_read_side_by_side():
    asked, written = anyio.Event(), anyio.Event()

    async def observe(*_):
        asked.set()
        await written.wait()
        return {"health": "healthy"}

    async def recent(*_):
        written.set()
        await asked.wait()
        return []

    with anyio.fail_after(5):
        found = await status(tools(observe, recent), DOCS, None, "docs")

    assert found == {"cluster": "sandbox", "app": "docs", "health": "healthy", "open": [], "recent": []}


@pytest.mark.parametrize(("code", "told"), [(403, "not-found"), (404, "not-found"), (0, "cluster-unreachable")])
async def test_what_the_cluster_says_arrives_as_itself_whatever_the_ledger_does(code, told):
    async def observe(*_):
        raise KubeError(code, "No", "no")

    async def recent(*_):
        await anyio.sleep_forever()

    with anyio.fail_after(5), pytest.raises(InfraError) as caught:
        await status(tools(observe, recent), DOCS, None, "docs")

    assert caught.value.code == told
