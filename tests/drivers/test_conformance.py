"""Every driver against the one suite: manifests on the real control plane, and both kinds whose world is a file."""

import json
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from drivers.conformance import NEW, OLD, CarryingOut, Comparing, Conformance, Evident, Holding, Undoing
from drivers.dns.cluster_zone import serve_endpoints
from drivers.dns.zone_kit import ZoneKit
from drivers.dns.zone_kit_cluster import config_map_kit, endpoint_kit
from drivers.dns.zone_kit_file import ZoneFileKit
from drivers.helm.kit import HelmKit
from drivers.helm.space import helm
from drivers.json_world import SCOPE, SECRET, Json, JsonWorld, body
from drivers.terraform.kit import TerraformKit
from e2e.cluster_setup import CLUSTER, ClusterSetup, suffix
from name_servers import coredns, free_port, primary, secondary, zone_text

from infra_mcp.actions.base import set_fields
from infra_mcp.drivers.base import Setup, Share
from infra_mcp.drivers.external import driver as external
from infra_mcp.drivers.manifests.driver import connect
from infra_mcp.masking import Masker
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import load
from infra_mcp.repository.edits import Beside, Edit, Goal, InstanceChange, Location, SetValue
from infra_mcp.repository.render import dump
from infra_mcp.repository.value import Base, Tree

__all__ = ["helm"]

pytestmark = [pytest.mark.anyio, pytest.mark.promise("seam.drivers")]

GOAL = Goal("Bring it there", subject="it", on_failure="rollback", timeout=60.0)
PASSWORD = "x9Q-conformance-7Lw2"


def _empty(cluster):
    return Tree(Base("0" * 40, cluster, ("",), {}, {}))


class JsonKit:
    """A JSON file as the world of a driver that carries out, or of one that confirms."""

    names, circle, secret, slow, writes = ("one", "two"), "docs", PASSWORD, f"{NEW}-slow", 2
    policy = load("")

    def __init__(self, home, *, carries_out):
        self.world = JsonWorld(home / "world.json")
        self.masker = Masker(b"k" * 32)
        self.carries_out = carries_out
        for name in self.names:
            self.world.put(name, {"value": OLD}, by="people")

    @asynccontextmanager
    async def connect(self):
        yield Json("json", "here", self.world, self.masker, carries_out=self.carries_out)

    def share(self, version):
        return self._share({name: {"value": version} for name in self.names})

    def secret_share(self):
        return self._share({"guarded": {"value": NEW, SECRET: PASSWORD}})

    @staticmethod
    def _share(things):
        tree = _empty("here")
        for name, data in things.items():
            tree = tree.write(f"{name}.json", body(name, **data))
        return Share(tuple(Location(path=f"{name}.json") for name in things), (), _empty("here"), tree, GOAL)

    def target(self, name):
        return Target(system="json", place="here", scope=SCOPE, kind="ConfigMap", name=name)

    async def live(self):
        return {name: self.world.data(name)["value"] for name in self.names}

    async def ground(self):
        return self.world.writes()

    async def by_others(self, name, version):
        self.world.put(name, {"value": version}, by="people")

    async def delivered(self, version):
        for name in self.names:
            if not self.carries_out and self.world.data(name) != {"value": version}:
                self.world.put(name, {"value": version}, by="deliverer")


class ManifestsKit:
    """Two Deployments in a namespace of their own, on the real control plane, with the peer's own rights."""

    names, circle, slow, writes = ("one", "two"), "docs", f"{NEW}-slow", 2

    def __init__(self, cluster_setup):
        self.on, self.space = cluster_setup, f"docs-{suffix()}"
        self.policy = load(cluster_setup.policy())
        self.masker = Masker(b"k" * 32)
        self.secret = cluster_setup.secrets["X"]
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.space}}
        cluster_setup.apply([space])
        cluster_setup.apply(
            [*cluster_setup.bindings(self.space), *(self._deployment(name, OLD) for name in self.names)]
        )
        for name in self.names:
            cluster_setup.run("-n", self.space, "rollout", "status", f"deployment/{name}", "--timeout=60s")

    def leave(self):
        self.on.run("delete", "namespace", self.space, "--wait=false", check=False)

    def connect(self):
        async def key(_):
            return b"k" * 32

        return connect(Setup(self.on.server_config, key, self.masker), self.policy, CLUSTER)

    def _deployment(self, name, version):
        labels, image = {"app": name}, f"registry.example/docs/site:{version}"
        pod = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "site", "image": image}]}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": self.space},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }

    def _ref(self, name):
        return ObjectRef(cluster=CLUSTER, api_version="apps/v1", kind="Deployment", namespace=self.space, name=name)

    def share(self, version):
        before = _empty(CLUSTER)
        for name in self.names:
            before = before.write(f"{name}.yaml", dump(self._deployment(name, OLD)))
        image = f"registry.example/docs/site:{version}"
        sets = {"spec": {"template": {"spec": {"containers": [{"name": "site", "image": image}]}}}}
        done = Edit(before, GOAL)
        for name in self.names:
            done = set_fields(done, done.tree.require(self._ref(name)), sets)
        return Share(done.addressed, (), before, done.tree, GOAL)

    def secret_share(self):
        target = Target(system="kubernetes", place=CLUSTER, scope=self.space, kind="Secret", name="registry-x")
        copy = Beside(driver="kubernetes", target=target, work="pull-secret", given={"name": "X"})
        return Share((), (copy,), _empty(CLUSTER), _empty(CLUSTER), GOAL)

    def target(self, name):
        return Target(system="kubernetes", place=CLUSTER, scope=self.space, kind="apps/Deployment", name=name)

    def _live(self):
        return json.loads(self.on.run("-n", self.space, "get", "deployments", "-o", "json").stdout)["items"]

    async def live(self):
        found = await anyio.to_thread.run_sync(self._live)
        images = {one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["image"] for one in found}
        return {name: image.rpartition(":")[2] for name, image in images.items()}

    async def ground(self):
        """Each object's generation and who wrote its fields last; controllers change neither."""
        found = await anyio.to_thread.run_sync(self._live)
        return [(one["metadata"]["name"], one["metadata"]["uid"], one["metadata"]["generation"]) for one in found]

    async def by_others(self, name, version):
        image = f"site=registry.example/docs/site:{version}"
        await anyio.to_thread.run_sync(self.on.run, "-n", self.space, "set", "image", f"deployment/{name}", image)

    async def delivered(self, _):
        """The driver does it."""


@pytest.fixture(scope="session")
def cluster_setup(control_plane, tmp_path_factory):
    made = ClusterSetup(
        control_plane.kubectl, control_plane.kubeconfig, control_plane.context, tmp_path_factory.mktemp("conform")
    )
    made.prepare()
    yield made
    made.leave()


class TestManifests(Conformance, Comparing, Undoing, CarryingOut):
    @pytest.fixture
    def kit(self, cluster_setup):
        made = ManifestsKit(cluster_setup)
        yield made
        made.leave()


class ExternalKit(ManifestsKit):
    """The same two Deployments, which somebody else's `kubectl` brings to a version; each is evidence of an app."""

    def __init__(self, cluster_setup):
        super().__init__(cluster_setup)
        places = ", ".join(f'"{self.space}/deployment/{name}"' for name in self.names)
        app = f'[apps.site]\nowner = "docs"\n[apps.site.evidence]\nworkload = [{places}]\n'
        self.policy = load(cluster_setup.policy(app))

    def connect(self):
        async def key(_):
            return b"k" * 32

        return external.connect(Setup(self.on.server_config, key, self.masker), self.policy, CLUSTER)

    def share(self, version):
        made = super().share(version)
        changes = (SetValue(path="site.yaml", field=("image", "tag"), before=OLD, after=version),)
        instance = InstanceChange(app="site", environment=None, units=(), delivery="external", version=version)
        return replace(made, addressed=(), instance=instance, changes=changes)

    def secret_share(self):
        for name in self.names:
            self.on.run("-n", self.space, "set", "env", f"deployment/{name}", f"PASSWORD={self.secret}")
        self.masker.learn(self.secret)
        return self.share(NEW)

    async def delivered(self, version):
        for name in self.names:
            await self.by_others(name, version)


class TestZones(Conformance, Comparing, Undoing, CarryingOut):
    @pytest.fixture
    def kit(self, tmp_path_factory):
        port = free_port()
        with (
            primary(tmp_path_factory.mktemp("p"), notify=port) as bind,
            secondary(tmp_path_factory.mktemp("s"), bind, port) as other,
        ):
            yield ZoneKit(bind, other)


class TestZoneFiles(Conformance, Comparing, Undoing, CarryingOut):
    @pytest.fixture
    def kit(self, tmp_path_factory):
        with coredns(tmp_path_factory.mktemp("c"), zone_text()) as server:
            yield ZoneFileKit(server)


class TestZonesOfExternalDns(Conformance, Comparing, Undoing, CarryingOut):
    @pytest.fixture
    def kit(self, cluster_setup, tmp_path_factory):
        serve_endpoints(cluster_setup)
        with primary(tmp_path_factory.mktemp("p")) as bind, endpoint_kit(cluster_setup, bind) as made:
            yield made


class TestZoneFilesOfConfigMaps(Conformance, Comparing, Undoing, CarryingOut):
    @pytest.fixture
    def kit(self, cluster_setup, tmp_path_factory):
        with config_map_kit(cluster_setup, tmp_path_factory.mktemp("c")) as made:
            yield made


class TestTerraform(Conformance, Comparing, Holding, CarryingOut):
    @pytest.fixture
    def kit(self, tmp_path, monkeypatch):
        return TerraformKit(tmp_path, monkeypatch)


class TestExternal(Conformance, Evident):
    @pytest.fixture
    def kit(self, cluster_setup):
        made = ExternalKit(cluster_setup)
        yield made
        made.leave()


class TestOneThatCarriesOut(Conformance, Comparing, Undoing, CarryingOut):
    @pytest.fixture
    def kit(self, tmp_path):
        return JsonKit(tmp_path, carries_out=True)


class TestOneThatConfirms(Conformance, Comparing, Undoing):
    @pytest.fixture
    def kit(self, tmp_path):
        return JsonKit(tmp_path, carries_out=False)


class TestHelm(Conformance, Comparing, Undoing, CarryingOut):
    @pytest.fixture
    def kit(self, cluster_setup, tmp_path, helm):
        made = HelmKit(cluster_setup, tmp_path, helm)
        yield made
        made.leave()
