"""`infra-mcp policy check` and `policy test` without a server, and what is found as remarks of an acceptance."""

from __future__ import annotations

import json
import subprocess

import pytest

from infra_mcp.cli.main import main

PLAIN = '[clusters.a]\ncontext = "a"\n[circles.docs]\nnamespaces = ["docs-*"]\nactions = ["restart"]\n'
APP = '[apps.docs]\nowner = "docs"\nworkload = "docs-live/deployment/docs"\n'


@pytest.fixture
def repo(tmp_path, monkeypatch):
    top = tmp_path / "repo"
    subprocess.run(["git", "init", "-q", "-b", "main", top], check=True)
    monkeypatch.setenv("INFRA_MCP_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("INFRA_MCP_TOKEN", raising=False)
    monkeypatch.chdir(top)
    return top


def test_a_file_without_a_finding_ends_in_0_one_with_some_in_3_and_no_policy_in_2(repo, capsys):
    (repo / "infra.toml").write_text(PLAIN, encoding="utf-8")
    (repo / "next.toml").write_text(PLAIN + 'images = ["a.example/*"]\n', encoding="utf-8")
    (repo / "wrong.toml").write_text("[circles.docs]\nwrong = 1\n", encoding="utf-8")

    assert main(["policy", "check"]) == 0
    assert main(["policy", "check", "next.toml"]) == 3
    assert "circles.docs.images: nothing can use it" in capsys.readouterr().out
    assert main(["policy", "check", "wrong.toml"]) == 2
    assert main(["policy", "check", "none.toml"]) == 2
    assert "none.toml" in capsys.readouterr().err


def test_without_a_ledger_none_is_made_and_with_one_the_peers_are_known(repo, capsys, tmp_path):
    (repo / "infra.toml").write_text(PLAIN + APP, encoding="utf-8")

    assert main(["policy", "check"]) == 0
    assert not (tmp_path / "state").exists()
    assert main(["policy", "accept", "--yes"]) == 0
    assert "remark: apps.docs.owner: there is no peer docs yet." in capsys.readouterr().err
    assert main(["policy", "check", "--json"]) == 3
    (one,) = json.loads(capsys.readouterr().out)["findings"]
    assert (one["kind"], one["where"]) == ("no-such-peer", "apps.docs.owner")
    assert main(["peer", "add", "docs", "--circle", "docs"]) == 0
    assert main(["policy", "check"]) == 0


def test_a_policy_is_tried_on_the_ledger_without_a_server_and_not_where_there_is_none(repo, capsys, tmp_path):
    (repo / "infra.toml").write_text(PLAIN, encoding="utf-8")

    assert main(["policy", "test", "infra.toml"]) == 2
    assert "There is no ledger" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()
    assert main(["policy", "accept", "--yes"]) == 0
    assert main(["policy", "test", "infra.toml", "--since", "2026-01-01"]) == 0
    assert "0 tried: 0 differ, 0 do not, 0 cannot be judged again." in capsys.readouterr().out
    assert main(["policy", "test", "infra.toml", "--since", "yesterday"]) == 2
