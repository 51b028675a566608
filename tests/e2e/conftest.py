"""A world for a test, on a ground for the session."""

import pytest
from e2e.ground import Ground
from e2e.world import World


@pytest.fixture(scope="session")
def ground(control_plane, tmp_path_factory):
    """The control plane with the peer's rights, fences and source secrets on it."""
    made = Ground(
        control_plane.kubectl, control_plane.kubeconfig, control_plane.context, tmp_path_factory.mktemp("ground")
    )
    made.prepare()
    yield made
    made.leave()


@pytest.fixture
async def world(ground, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A world with a server and the peers docs and shop."""
    async with World(ground, tmp_path) as made:
        yield made
