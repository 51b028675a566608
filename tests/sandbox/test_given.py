import pytest
from sandbox_scripts import says

from infra_mcp.sandbox import given
from infra_mcp.sandbox.versions import BINARIES

pytestmark = pytest.mark.anyio


async def test_all_of_them_on_path_are_taken(bare, fake_binaries, monkeypatch):
    monkeypatch.setenv("PATH", f"{bare}:{fake_binaries}")
    assert await given.find() == {name: fake_binaries / name for name in BINARIES}


async def test_kubebuilder_assets_come_before_path(bare, fake_binaries, tmp_path, monkeypatch):
    says(tmp_path / "assets" / "etcd", "etcd Version: 3.6.9")
    monkeypatch.setenv("PATH", f"{bare}:{fake_binaries}")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    found = await given.find()
    assert found["etcd"] == tmp_path / "assets" / "etcd"
    assert found["kubectl"] == fake_binaries / "kubectl"


async def test_if_one_is_missing_none_is_taken_and_it_is_named(bare, fake_binaries, monkeypatch):
    (fake_binaries / "kwok").unlink()
    monkeypatch.setenv("PATH", f"{bare}:{fake_binaries}")
    assert await given.find() == "not on this machine: kwok"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("etcd", "etcd Version: 3.4.20", "of versions that do not fit: etcd 3.4"),
        ("kwokctl", "kwokctl version v0.7.0", "of versions that do not fit: kwokctl 0.7"),
        ("kube-apiserver", "Kubernetes v0.0.0-master+$Format:%H$", "of versions that do not fit: kube-apiserver 0.0"),
        ("kubectl", "no such thing", "of versions that do not fit: kubectl (no version)"),
        ("kube-scheduler", "Kubernetes v1.35.1", "of different Kubernetes versions: 1.35, 1.36"),
    ],
)
async def test_versions_that_do_not_fit_are_named(bare, fake_binaries, monkeypatch, name, text, why):
    says(fake_binaries / name, text)
    monkeypatch.setenv("PATH", f"{bare}:{fake_binaries}")
    assert await given.find() == why
