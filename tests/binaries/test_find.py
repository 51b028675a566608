import pytest
from sandbox_scripts import says

from infra_mcp.binaries.catalogue import TOOLS, Way
from infra_mcp.binaries.find import Found, cached, find, place, shown_version, ways
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio


def _gotten(tool, way):
    version = dict(ways(tool))[way]
    return says(place(tool, way, version) / tool.name, version)


def test_a_setting_comes_before_path_and_path_before_what_was_gotten(bare, tmp_path, monkeypatch):
    helm = TOOLS["helm"]
    gotten = _gotten(helm, Way.BUILD)
    assert find("helm") == Found(gotten, "build")
    on_path = says(bare / "helm", "v4.0.0")
    assert find("helm") == Found(on_path, "PATH")
    named = says(tmp_path / "mine" / "helm", "v3.19.0")
    monkeypatch.setenv("INFRA_MCP_HELM", str(named))
    assert find("helm") == Found(named, "INFRA_MCP_HELM")


def test_a_setting_that_names_no_executable_is_not_passed_over(bare, monkeypatch):
    says(bare / "helm", "v4.0.0")
    monkeypatch.setenv("INFRA_MCP_HELM", str(bare / "nothing"))
    with pytest.raises(InfraError, match="There is no executable") as caught:
        find("helm")
    assert caught.value.code == "setup-failed"


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", TOOLS)
def test_what_is_not_here_is_said_with_how_to_get_it(name):
    with pytest.raises(InfraError, match=r"No .* is on PATH|There is no helm3") as caught:
        find(name)
    assert caught.value.next_step.endswith(f"infra-mcp tools get {name}")


@pytest.mark.usefixtures("bare")
def test_each_way_has_a_place_of_its_own_in_the_cache():
    coredns = TOOLS["coredns"]
    assert cached(coredns) is None
    built = _gotten(coredns, Way.BUILD)
    assert cached(coredns) == Found(built, "build")
    assert cached(coredns, Way.DOWNLOAD) is None


@pytest.mark.parametrize(
    ("name", "shown", "version"),
    [
        ("helm", "v4.3.1+g1234567", "4.3.1"),
        ("helm", "v3.22.0+g1234567", "3.22.0"),
        ("helm", "a program of another name", None),
        ("kubectl", "Client Version: v1.37.1\nKustomize Version: v5.8.1", "1.37.1"),
        ("kubectl", "v5.8.1", "5.8.1"),
        ("tofu", "OpenTofu v1.12.6\non linux_amd64", "1.12.6"),
        ("tofu", "Terraform v1.11.4\non linux_amd64\n\nYour version is out of date", "1.11.4"),
        ("coredns", "CoreDNS-1.14.7\nlinux/amd64, go1.26.8, ", "1.14.7"),
    ],
)
async def test_the_version_is_the_one_that_the_program_shows(tmp_path, name, shown, version):
    assert await shown_version(TOOLS[name], says(tmp_path / name, shown)) == version


async def test_a_program_that_cannot_be_started_has_no_version(tmp_path):
    assert await shown_version(TOOLS["helm"], tmp_path / "nothing") is None
