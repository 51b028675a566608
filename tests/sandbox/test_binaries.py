import anyio
import pytest
from sandbox_scripts import says

from infra_mcp.binaries.progress import Progress
from infra_mcp.errors import InfraError
from infra_mcp.sandbox import binaries
from infra_mcp.sandbox.binaries import Source, cached, ensure, find_given
from infra_mcp.sandbox.versions import BINARIES, pinned

pytestmark = pytest.mark.anyio


def _lines(file):
    return len(file.read_text().splitlines())


@pytest.fixture
def downloadable(bare, monkeypatch):
    """As if the internet were there; `bare` first, which takes it away."""

    async def download(into, *_):
        for name in BINARIES:
            (into / name).write_text("downloaded")
            (into / name).chmod(0o755)

    monkeypatch.setattr(binaries, "download", download)
    return bare


async def test_given_binaries_come_first_and_nothing_is_fetched(fake_go, fake_binaries, bare, monkeypatch):
    monkeypatch.setenv("PATH", f"{bare}:{fake_binaries}")
    folder = await ensure(Progress())
    assert {path.name: path.resolve() for path in folder.iterdir()} == {name: fake_binaries / name for name in BINARIES}
    assert _lines(fake_go) == 0
    assert await ensure(Progress()) == folder


@pytest.mark.usefixtures("downloadable")
async def test_downloading_comes_before_building(fake_go):
    folder = await ensure(Progress())
    assert (folder / "etcd").read_text() == "downloaded"
    assert _lines(fake_go) == 0


async def test_otherwise_they_are_built_once_and_cached_by_version(fake_go, tmp_path):
    folder = await ensure(Progress())
    assert folder == tmp_path / "cache" / "sandbox" / pinned().key / "bin"
    assert await ensure(Progress()) == folder
    assert _lines(fake_go) == 1


@pytest.mark.usefixtures("downloadable")
async def test_only_the_named_source_is_tried(fake_go):
    assert (await ensure(Progress(), Source.DOWNLOAD) / "etcd").read_text() == "downloaded"
    assert cached(Source.BUILD) is None
    assert (await ensure(Progress(), Source.BUILD) / "etcd").read_text().startswith('#!/bin/sh\necho "install')
    assert _lines(fake_go) == 1
    with pytest.raises(InfraError, match="given: not on this machine"):
        await ensure(Progress(), Source.GIVEN)


async def test_a_failed_build_leaves_no_set_in_the_cache(fake_go, tmp_path, monkeypatch):
    monkeypatch.setenv("GO_FAILS", "yes")
    with pytest.raises(InfraError) as caught:
        await ensure(Progress())
    assert cached() is None
    assert [path.name for path in (tmp_path / "cache" / "sandbox").iterdir()] == ["lock"]
    for word in ("given: not on this machine", "download: Name or service not known", "build: "):
        assert word in caught.value.what
    monkeypatch.delenv("GO_FAILS")
    assert await ensure(Progress()) == cached()
    assert _lines(fake_go) == 2


async def test_the_set_is_built_under_its_usual_names_with_the_version_of_kubernetes(fake_go):
    folder = await ensure(Progress())
    assert sorted(path.name for path in folder.iterdir()) == sorted(BINARIES)
    assert "component-base/version.gitVersion=v1.36.3" in (folder / "kube-apiserver").read_text()
    assert _lines(fake_go) == 1


async def test_two_at_once_build_once(fake_go):
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(ensure, Progress())
    assert _lines(fake_go) == 1


async def test_the_files_of_a_killed_build_are_removed(fake_go, tmp_path):
    left = tmp_path / "cache" / "sandbox" / "getting-xyz" / "bin"
    left.mkdir(parents=True)
    await ensure(Progress())
    assert not left.parent.exists()
    assert _lines(fake_go) == 1


@pytest.mark.usefixtures("fake_go")
async def test_an_incomplete_set_is_built_again():
    folder = await ensure(Progress())
    (folder / "kwok").unlink()
    assert cached() is None
    assert (await ensure(Progress()) / "kwok").exists()


async def test_binaries_on_path_are_used(bare, fake_binaries, monkeypatch):
    monkeypatch.setenv("PATH", f"{bare}:{fake_binaries}")
    assert await find_given() == {name: fake_binaries / name for name in BINARIES}


async def test_kubebuilder_assets_come_before_path(bare, fake_binaries, tmp_path, monkeypatch):
    says(tmp_path / "assets" / "etcd", "etcd Version: 3.6.9")
    monkeypatch.setenv("PATH", f"{bare}:{fake_binaries}")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    found = await find_given()
    assert found["etcd"] == tmp_path / "assets" / "etcd"
    assert found["kubectl"] == fake_binaries / "kubectl"


async def test_a_missing_binary_is_named_and_none_is_used(bare, fake_binaries, monkeypatch):
    (fake_binaries / "kwok").unlink()
    monkeypatch.setenv("PATH", f"{bare}:{fake_binaries}")
    assert await find_given() == "not on this machine: kwok"


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
    assert await find_given() == why
