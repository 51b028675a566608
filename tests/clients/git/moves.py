"""A commit that an edit became, and a move of the branch to it that is refused."""

from __future__ import annotations

import pytest

from infra_mcp.clients.git import Git
from infra_mcp.errors import InfraError

__all__ = ["EDIT", "OURS", "built", "refused"]

EDIT = {"apps/docs/web.yaml": b"image: site:2.0\nreplicas: 2\n", "apps/new/ns.yaml": b"kind: Namespace\n"}
OURS = "image: site:2.0\nreplicas: 2\n"


async def built(git: Git, base: str, changes: dict[str, bytes | None] | None = None) -> str:
    return await git.build_commit(base, changes or EDIT, "ours\n", 1_700_000_000)


async def refused(git: Git, repo, commit: str, *named: str, base: str | None = None) -> InfraError:
    """The move is refused, names these, and nothing of the user's is different afterwards."""
    before = repo.state()
    with pytest.raises(InfraError) as caught:
        await git.move("main", commit, base or repo.head())

    assert caught.value.code == "checkout-refused"
    assert [name for name in named if name not in caught.value.what] == []
    assert repo.state() == before
    return caught.value
