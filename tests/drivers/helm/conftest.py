"""Helm on the real control plane."""

import pytest
from drivers.helm.space import HelmSpace, helm
from e2e.cluster_setup import ClusterSetup

__all__ = ["helm"]


@pytest.fixture(scope="session")
def cluster_setup(control_plane, tmp_path_factory):
    made = ClusterSetup(
        control_plane.kubectl, control_plane.kubeconfig, control_plane.context, tmp_path_factory.mktemp("helm")
    )
    made.prepare()
    yield made
    made.leave()


@pytest.fixture
def helm_space(cluster_setup, tmp_path, helm):
    made = HelmSpace(cluster_setup, tmp_path, helm)
    yield made
    made.leave()
