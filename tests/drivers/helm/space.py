"""A namespace for Helm on the real control plane, charts, and a repository that declares releases of them."""

import json
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest
import yaml
from drivers.helm.repository import tree_of
from e2e.cluster_setup import CLUSTER, ClusterSetup, suffix

from infra_mcp.binaries.catalogue import TOOLS
from infra_mcp.binaries.find import cached, find
from infra_mcp.drivers.base import Context, Setup, Share
from infra_mcp.drivers.helm.driver import connect
from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker
from infra_mcp.policy.policy import load
from infra_mcp.repository.edits import Goal, Location

__all__ = ["CHARTS", "ROOT", "HelmSpace", "helm", "helm_3", "helm_4"]

CHARTS = Path(__file__).parents[2] / "charts"
ROOT = '[[tree.roots]]\npath = "helm"\ndelivery = "helm"\n'


def helm_3():
    """The Helm 3 that was gotten for tests; a skip where there is none."""
    found = cached(TOOLS["helm3"])
    if found is None:
        pytest.skip("There is no Helm 3. Get it once: infra-mcp tools get helm3")
    return found.path


def helm_4():
    """The Helm 4 to test with."""
    found = cached(TOOLS["helm"])
    if found is not None:
        return found.path
    try:
        return find("helm").path
    except InfraError:
        pytest.skip("There is no Helm. Get it once: infra-mcp tools get helm")


@pytest.fixture(params=["4", "3"])
def helm(request, monkeypatch):
    """The path of the Helm that the driver uses: Helm 4, and Helm 3."""
    path = helm_4() if request.param == "4" else helm_3()
    monkeypatch.setenv("INFRA_MCP_HELM", str(path))
    return path


@dataclass
class HelmSpace:
    """A namespace in which a circle may use Helm."""

    on: ClusterSetup
    home: Path
    helm: Path
    name: str = field(default_factory=lambda: f"charts-{suffix()}")
    circle: str = "charts"

    def __post_init__(self):
        self.policy = load(self.on.policy(f'{ROOT}[helm]\nrepositories = ["http://127.0.0.1"]\n'))
        self.masker = Masker(b"k" * 32)
        self.on.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}}])
        self.on.apply(self.on.bindings(self.name))

    def leave(self):
        self.on.run("delete", "namespace", self.name, "--wait=false", check=False)

    @asynccontextmanager
    async def connect(self):
        async def key(_):
            return b"k" * 32

        setup = Setup(self.on.server_config, key, self.masker, self.home)
        async with connect(setup, self.policy, CLUSTER) as driver:
            yield driver

    def context(self, **more):
        return Context(**({"request": "req-1", "circle": self.circle, "policy": self.policy, "nonce": "n" * 32} | more))

    def declared(self, name="web", chart="web", **values):
        """The file of a release of a chart in the repository."""
        return {f"helm/{self.name}/{name}.yaml": yaml.safe_dump({"chart": f"../../charts/{chart}", "values": values})}

    def change(self, before, after, *, on_failure="rollback", timeout=60.0):
        """A change from one declaration to another, of every file that differs; or of all where none does."""
        old, new = tree_of(before | _charts()), tree_of(before | _charts())
        for path, text in after.items():
            new = new.write(path, text.encode())
        goal = Goal("Bring it there", subject="web", on_failure=on_failure, timeout=timeout)
        return Share(tuple(Location(path=path) for path in sorted(after)), (), old, new, goal)

    async def bring(self, driver, before, after, **more):
        """Plan, apply and verify a change; the plan, and what is then true."""
        plan = await driver.plan(self.context(), self.change(before, after, **more))
        await driver.apply(self.context(), plan)
        return plan, await driver.verify(self.context(), plan, 60)

    def chart(self, name):
        """The folder of a chart of the tests."""
        return CHARTS / name

    def kubectl(self, *words, check=True):
        return self.on.run("-n", self.name, *words, check=check).stdout

    def get(self, kind, name):
        return json.loads(self.kubectl("get", kind, name, "-o", "json"))

    async def run_helm(self, *words, check=True):
        """Helm as a person uses it."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.on.kubeconfig)}
        argv = [str(self.helm), *map(str, words), "--namespace", self.name, "--kube-context", self.on.context]
        done = await anyio.run_process(argv, env=env, check=False)
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    async def history(self, name="web"):
        return json.loads(await self.run_helm("history", name, "-o", "json"))


def _charts():
    return {f"charts/{p.relative_to(CHARTS).as_posix()}": p.read_text() for p in CHARTS.rglob("*") if p.is_file()}
