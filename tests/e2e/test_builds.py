"""An app that kustomize builds, with a base and an overlay for each environment: the whole way, and back."""

from __future__ import annotations

import pytest
from e2e.overlays import Overlays

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

STAGING, PRODUCTION = "overlays/staging/kustomization.yaml", "overlays/production/kustomization.yaml"


@pytest.fixture
async def overlays(cluster_setup, tmp_path, anyio_backend):  # noqa: ARG001 - the loop it runs on
    """A scenario with a server, and docs in two environments."""
    async with Overlays(cluster_setup, tmp_path) as made:
        yield made


def _bytes(overlays):
    folder = overlays.file("")
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def _deploy(overlays, version, environment="production", **more):
    return await overlays.tool("deploy", app="docs", version=version, environment=environment, **more)


@pytest.mark.core
@pytest.mark.promise("repos.overlay", "tree.kustomize")
async def test_a_deploy_to_one_environment_sets_its_overlay_alone(overlays):
    files, staging = _bytes(overlays), overlays.workload("staging")

    made = await _deploy(overlays, "1.2.0")

    assert made.ok, made.text
    assert overlays.site("production") == "registry.example/docs/site:1.2.0"
    assert "docs 1.2.0 runs as" in made.text
    assert "3 of 3 replicas ready" in made.text
    files[PRODUCTION] = files[PRODUCTION].replace(b"newTag: 1.0.1", b"newTag: 1.2.0")
    assert _bytes(overlays) == files
    assert overlays.workload("staging") == staging
