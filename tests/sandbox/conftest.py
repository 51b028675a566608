import pytest
from bare_machine import bare, fake_go
from sandbox_scripts import says

from infra_mcp.sandbox.versions import BINARIES

__all__ = ["bare", "fake_go"]

SAYS = {
    "etcd": "etcd Version: 3.6.8\nGit SHA: abc",
    "kubectl": "Client Version: v1.36.3\nKustomize Version: v5.8.1",
    "kwok": "kwok version v0.8.0 go1.26.8 (linux/amd64)",
    "kwokctl": "kwokctl version v0.8.0 go1.26.8 (linux/amd64)",
}


@pytest.fixture
def fake_binaries(tmp_path):
    """A folder with programs that only say their version."""
    folder = tmp_path / "given"
    for name in BINARIES:
        says(folder / name, SAYS.get(name, "Kubernetes v1.36.3"))
    return folder
