"""A scenario for a test, on a cluster setup for the session."""

import pytest
from e2e.cluster_setup import ClusterSetup
from e2e.scenario import Scenario


@pytest.fixture(scope="session")
def cluster_setup(control_plane, tmp_path_factory):
    """The control plane with the peer's rights, fences and source secrets on it."""
    made = ClusterSetup(
        control_plane.kubectl, control_plane.kubeconfig, control_plane.context, tmp_path_factory.mktemp("cluster_setup")
    )
    made.prepare()
    yield made
    made.leave()


@pytest.fixture
async def scenario(cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A scenario with a server and the peers docs and shop."""
    async with Scenario(cluster_setup, tmp_path) as made:
        yield made
