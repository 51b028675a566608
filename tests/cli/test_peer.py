"""Adding, renewing and removing peers from the command line."""

from __future__ import annotations

import subprocess

import pytest
from shell import Shell

pytestmark = pytest.mark.anyio


@pytest.fixture
def alone(tmp_path) -> Shell:
    """A repository without a server."""
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path / "repo"], check=True)
    return Shell(tmp_path)


@pytest.mark.process
@pytest.mark.fault("w06")
@pytest.mark.parametrize("kind", [("--circle", "docs"), ("--operator",)], ids=["peer", "operator"])
async def test_adding_a_peer_that_is_there_says_that_the_token_is_one_more(alone, kind):
    first = await alone("peer", "add", "docs", *kind)
    again = await alone("peer", "add", "docs", *kind)
    data = await alone("peer", "add", "docs", *kind, "--json")

    assert (first.code, again.code, data.code) == (0, 0, 0)
    assert again.out.startswith("imcp_")
    assert "additional" not in first.err
    assert "exists already" in again.err
    assert "additional token" in again.err
    assert "peer token docs" in again.err
    assert (data.json["tokens"], data.json["new"]) == (3, False)
