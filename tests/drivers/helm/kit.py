"""What the conformance suite needs of Helm: two releases on the real control plane."""

import json

import anyio
from drivers.conformance import NEW, OLD
from drivers.helm.space import CHARTS, HelmSpace
from e2e.cluster_setup import CLUSTER

from infra_mcp.model.target import Target

__all__ = ["HelmKit"]


class HelmKit(HelmSpace):
    """Two releases in a namespace of their own, by Helm 4 and by Helm 3."""

    names, slow, secret, writes = ("one", "two"), f"{NEW}-slow", "x9Q-conformance-7Lw2", 2

    def __post_init__(self):
        super().__post_init__()
        anyio.run(self._installed)

    async def _installed(self):
        for name in self.names:
            await self._install(name, OLD)

    async def _install(self, name, version):
        image = f"registry.example/charts/web:{version}"
        await self.run_helm("upgrade", "--install", name, CHARTS / "web", "--set", f"image={image}")

    def _files(self, version, *names, **values):
        image = f"registry.example/charts/web:{version}"
        return {path: text for name in names for path, text in self.declared(name, image=image, **values).items()}

    def share(self, version):
        return self.change(self._files(OLD, *self.names), self._files(version, *self.names))

    def secret_share(self):
        return self.change({}, self._files(NEW, "guarded", password=self.secret))

    def target(self, name):
        return Target(system="helm", place=CLUSTER, scope=self.name, kind="release", name=name)

    async def live(self):
        found = json.loads(await anyio.to_thread.run_sync(self.kubectl, "get", "deployments", "-o", "json"))["items"]
        images = {one["metadata"]["name"]: one["spec"]["template"]["spec"]["containers"][0]["image"] for one in found}
        return {name: image.rpartition(":")[2] for name, image in images.items() if name in self.names}

    async def ground(self):
        """Every revision that Helm stores: each of its writes makes one or changes its status."""
        found = json.loads(await self.run_helm("list", "-o", "json", "--filter", "^(one|two)$"))
        return [(one["name"], one["revision"], one["status"]) for one in found]

    async def by_others(self, name, version):
        await self._install(name, version)

    async def delivered(self, _):
        """The driver does it."""
