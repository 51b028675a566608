import io
from pathlib import Path

import anyio
import pytest
from sandbox_scripts import appears

from infra_mcp.errors import InfraError
from infra_mcp.sandbox.build import build
from infra_mcp.sandbox.progress import Progress
from infra_mcp.sandbox.versions import BINARIES, pinned

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("fake_go")]


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


async def test_every_binary_is_built_in_one_go_under_the_name_it_is_known_by(into, tmp_path):
    await build(into, pinned(), tmp_path, Progress())
    assert sorted(path.name for path in into.iterdir()) == sorted(BINARIES)


async def test_the_api_server_is_told_its_version(into, tmp_path):
    await build(into, pinned(), tmp_path, Progress())
    assert "component-base/version.gitVersion=v1.36.3" in (into / "kube-apiserver").read_text()


async def test_progress_counts_sources_then_what_has_to_be_compiled_and_linked(into, tmp_path):
    out = io.StringIO()
    await build(into, pinned(), tmp_path, Progress(out))
    assert out.getvalue().splitlines()[0] == "fetching the sources: 1 modules"
    assert "building the control plane" in out.getvalue()


async def test_a_build_that_fails_says_what_go_said_last(into, tmp_path, monkeypatch):
    monkeypatch.setenv("GO_FAILS", "yes")
    with pytest.raises(InfraError, match="no required module provides package") as caught:
        await build(into, pinned(), tmp_path, Progress())
    assert "what is built is kept" in caught.value.next_step


async def test_an_interrupted_build_leaves_no_compiler_running(into, tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    monkeypatch.setenv("GO_SLEEPS", str(begun))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(build, into, pinned(), tmp_path, Progress())
            await appears(begun)
            assert len(_with_environment(str(into))) == 2
            tasks.cancel_scope.cancel()
        while _with_environment(str(into)):  # noqa: ASYNC110 - they are not our children
            await anyio.sleep(0.01)


def _with_environment(text):
    """The processes whose environment holds `text`."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (entry / "environ").read_bytes():
                found.add(entry.name)
        except OSError:
            continue
    return found
