import anyio
import pytest

from infra_mcp.errors import InfraError
from infra_mcp.sandbox import binaries
from infra_mcp.sandbox.binaries import Source, cached, ensure
from infra_mcp.sandbox.progress import Progress
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


async def test_given_ones_come_first_and_nothing_is_fetched(fake_go, fake_binaries, bare, monkeypatch):
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


async def test_without_either_they_are_built_once_and_kept_by_version(fake_go, tmp_path):
    folder = await ensure(Progress())
    assert folder == tmp_path / "cache" / "sandbox" / pinned().key / "bin"
    assert await ensure(Progress()) == folder
    assert _lines(fake_go) == 1


@pytest.mark.usefixtures("downloadable")
async def test_a_way_that_the_user_names_is_the_only_one_tried(fake_go):
    assert (await ensure(Progress(), Source.DOWNLOAD) / "etcd").read_text() == "downloaded"
    assert cached(Source.BUILD) is None
    assert (await ensure(Progress(), Source.BUILD) / "etcd").read_text().startswith("install")
    assert _lines(fake_go) == 1
    with pytest.raises(InfraError, match="given: not on this machine"):
        await ensure(Progress(), Source.GIVEN)


async def test_a_build_that_fails_leaves_nothing_that_looks_whole(fake_go, tmp_path, monkeypatch):
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


async def test_two_at_once_build_once(fake_go):
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(ensure, Progress())
    assert _lines(fake_go) == 1


async def test_what_a_killed_build_left_is_cleared_away(fake_go, tmp_path):
    left = tmp_path / "cache" / "sandbox" / "getting-xyz" / "bin"
    left.mkdir(parents=True)
    await ensure(Progress())
    assert not left.parent.exists()
    assert _lines(fake_go) == 1


@pytest.mark.usefixtures("fake_go")
async def test_a_set_that_lost_a_file_is_not_taken_for_whole():
    folder = await ensure(Progress())
    (folder / "kwok").unlink()
    assert cached() is None
    assert (await ensure(Progress()) / "kwok").exists()
