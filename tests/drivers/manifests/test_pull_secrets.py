"""Pull secrets on a real API server, read as the circle with exactly the rights that `rbac render` gives."""

import base64
import json
import subprocess
import uuid
from dataclasses import dataclass

import anyio
import pytest

from infra_mcp.clients.kube import Cluster
from infra_mcp.drivers.manifests.pull_secrets import PullSecrets
from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.policy.policy import Policy, load
from infra_mcp.policy.rbac import render, to_yaml

pytestmark = [pytest.mark.anyio, pytest.mark.cluster, pytest.mark.timeout(120)]

PASSWORD = "correct-horse-battery-staple"
ROTATED = "another-horse-altogether-now"
TYPE = "kubernetes.io/dockerconfigjson"


def config(password=PASSWORD):
    auth = base64.b64encode(f"robot:{password}".encode()).decode()
    entry = {"username": "robot", "password": password, "auth": auth}
    return base64.b64encode(json.dumps({"auths": {"registry.example": entry}}).encode()).decode()


def secret(namespace, name, password=PASSWORD):
    metadata = {"name": name, "namespace": namespace, "annotations": {"of": "the source"}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": TYPE,
        "data": {".dockerconfigjson": config(password)},
    }


def namespace(name):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


@dataclass(frozen=True)
class Place:
    cluster: Cluster
    policy: Policy
    masker: Masker
    secrets: PullSecrets
    sources: str
    target: str
    user: str
    other: str

    async def read(self, name="X", *, user=None, bound=True):
        return await self.secrets.read(self.policy, name, self.target, as_user=user or self.user, bound=bound)

    async def state(self, name="X", circle="docs"):
        return await self.secrets.state(self.policy, name, self.target, as_user=self.user, circle=circle)

    async def fails(self, name="X", **who):
        with pytest.raises(InfraError) as caught:
            await self.read(name, **who)
        told = json.dumps(caught.value.as_dict())
        assert PASSWORD not in told
        assert config() not in told
        return caught.value


async def kubectl(control_plane, *words, body=None):
    whom = ["--kubeconfig", str(control_plane.kubeconfig), "--context", control_plane.context]
    argv = [str(control_plane.kubectl), *whom, *words]
    given = {"input": body.encode()} if body else {"stdin": subprocess.DEVNULL}
    await anyio.run_process(argv, **given)


@dataclass(frozen=True)
class Installed:
    cluster: Cluster
    policy: Policy
    mark: str

    @property
    def sources(self):
        return f"{self.mark}-secrets"


@pytest.fixture(scope="module")
async def installed(control_plane):
    mark = f"p{uuid.uuid4().hex[:8]}"
    policy = load(f"""
        [clusters.test]
        context = "c"
        service_accounts = "{mark}-infra"
        [circles.docs]
        namespaces = ["{mark}-docs-*"]
        pull_secrets = ["X", "plain", "nowhere"]
        [circles.shop]
        namespaces = ["{mark}-shop-*"]
        [pull_secrets.X]
        from = "{mark}-secrets/registry-x"
        name = "copy-x"
        [pull_secrets.plain]
        from = "{mark}-secrets/plain"
        [pull_secrets.nowhere]
        from = "{mark}-secrets/nowhere"
    """)
    manifests = to_yaml(render(policy, "test"))
    async with Cluster.connect("test", control_plane.kubeconfig, control_plane.context) as cluster:
        made = Installed(cluster, policy, mark)
        try:
            await cluster.create(namespace(made.sources), as_user=None)
            await kubectl(control_plane, "apply", "-f", "-", body=manifests)
            plain = {"type": "Opaque", "data": {"password": base64.b64encode(PASSWORD.encode()).decode()}}
            await cluster.create(secret(made.sources, "plain") | plain, as_user=None)
            yield made
        finally:
            gone = ["--wait=false", "--ignore-not-found"]
            await kubectl(control_plane, "delete", "-f", "-", *gone, body=manifests)
            await kubectl(control_plane, "delete", "namespace", *gone, made.sources)


@pytest.fixture
async def place(control_plane, installed):
    cluster, policy = installed.cluster, installed.policy
    target = f"{installed.mark}-docs-{uuid.uuid4().hex[:6]}"
    await cluster.create(namespace(target), as_user=None)
    for one in render(policy, "test", [target])[-2:]:
        await cluster.create(one, as_user=None)
    await cluster.write(secret(installed.sources, "registry-x"), as_user=None, force=True)
    masker = Masker(b"k" * 32)
    secrets = PullSecrets(cluster, b"k" * 32, masker)
    users = [policy.service_account(circle) for circle in ("docs", "shop")]
    yield Place(cluster, policy, masker, secrets, installed.sources, target, *users)
    await kubectl(control_plane, "delete", "namespace", "--wait=false", target)


@pytest.mark.promise("pull-secret.granted")
async def test_the_copy_is_type_and_data_of_the_source_under_policys_name(place):
    found = await place.read()

    assert found.body == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "copy-x", "namespace": place.target},
        "type": TYPE,
        "data": {".dockerconfigjson": config()},
    }
    assert found.live is None
    assert found.copy_ref == ObjectRef(
        cluster="test", api_version="v1", kind="Secret", namespace=place.target, name="copy-x"
    )


@pytest.mark.promise("pull-secret.granted")
async def test_a_circle_that_is_not_granted_it_cannot_read_the_source(place):
    error = await place.fails(user=place.other, bound=False)

    assert error.code == "pull-secret-unavailable"
    assert place.sources not in str(error)


@pytest.mark.promise("pull-secret.granted")
@pytest.mark.parametrize("name", ["plain", "nowhere", "unknown"])
async def test_what_is_no_pull_secret_or_not_there_is_not_copied(place, name):
    assert (await place.fails(name, bound=False)).code == "pull-secret-unavailable"


@pytest.mark.promise("pull-secret.granted")
async def test_a_copy_is_compared_with_its_source_and_rotation_shows(place):
    told = [await place.state()]
    await place.cluster.write((await place.read()).body, as_user=place.user)
    told.append(await place.state())
    live = await place.read()
    await place.cluster.write(secret(place.sources, "registry-x", ROTATED), as_user=None, force=True)
    told.append(await place.state())

    assert told == ["missing", "current", "rotated"]
    assert live.live["data"] == live.body["data"]
    assert (await place.read()).content != live.content


@pytest.mark.promise("pull-secret.granted")
async def test_a_copy_whose_grant_was_taken_away_says_so_and_nothing_else_is_read(place):
    assert await place.state(circle="shop") == "not granted any more"


async def test_a_secret_of_another_kind_in_the_copys_place_is_left_alone(place):
    other = secret(place.target, "copy-x") | {"type": "Opaque", "data": {"mine": "bWluZQ=="}}
    await place.cluster.create(other, as_user=None)

    assert (await place.fails()).code == "exists"


@pytest.mark.promise("secrets.nowhere")
async def test_once_read_its_content_is_known_to_the_masker_in_every_form(place):
    auth = base64.b64encode(f"robot:{PASSWORD}".encode()).decode()
    forms = [PASSWORD, auth, config(), base64.b64decode(config()).decode()]
    before = [place.masker.mask(f"it says {form} here") for form in forms[:1]]
    await place.read()

    assert before == [f"it says {PASSWORD} here"]
    assert not [form for form in forms if form in place.masker.mask(f"it says {form} here")]


@pytest.mark.promise("secrets.nowhere")
async def test_neither_its_hash_nor_its_repr_shows_the_content(place):
    found = await place.read()
    other = await PullSecrets(place.cluster, b"o" * 32, place.masker).read(
        place.policy, "X", place.target, as_user=place.user, bound=True
    )

    assert found.content == (await place.read()).content
    assert found.content != other.content
    assert not [form for form in (PASSWORD, config()) if form in repr(found)]
