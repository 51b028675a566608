import json

import pytest
from sandbox_scripts import says

from infra_mcp.binaries.catalogue import TOOLS, Way
from infra_mcp.binaries.find import place, ways
from infra_mcp.cli import tools
from infra_mcp.cli.main import main


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without any of the programs; returns the folder that is its PATH."""
    path = tmp_path / "path"
    path.mkdir()
    (path / "sh").symlink_to("/bin/sh")
    (path / "cat").symlink_to("/bin/cat")
    for tool in TOOLS.values():
        monkeypatch.delenv(tool.setting or "INFRA_MCP_HELM", raising=False)
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("INFRA_MCP_CACHE", str(tmp_path / "cache"))
    return path


def test_the_list_says_which_version_is_used_where_it_is_from_and_how_to_get_what_is_missing(bare, capsys):
    says(bare / "helm", "v4.1.0+gabc")
    assert main(["tools", "--json"]) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert list(found) == list(TOOLS) == list(tools._NAMES)
    assert (found["helm"]["version"], found["helm"]["from"]) == ("4.1.0", "PATH")
    assert found["tofu"]["path"] is None
    assert "infra-mcp tools get tofu" in found["tofu"]["advice"]

    assert main(["tools"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["helm", "4.1.0", "PATH", str(bare / "helm")]


@pytest.mark.usefixtures("bare")
def test_get_prints_the_path_of_each_program(capsys):
    version = dict(ways(TOOLS["coredns"]))[Way.BUILD]
    there = says(place(TOOLS["coredns"], Way.BUILD, version) / "coredns", "CoreDNS-1.14.7")
    assert main(["tools", "get", "coredns"]) == 0
    assert capsys.readouterr().out == f"{there}\n"
