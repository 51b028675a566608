"""Whether the ledger is the one that the branch's newest commits speak of, or an older copy of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra_mcp.ledger.heads import HEADS, proof_of

if TYPE_CHECKING:
    from infra_mcp.clients.git import Git
    from infra_mcp.ledger import Ledger

_COMMITS = 100  # the newest; a made-up trailer on top of them hides nothing


async def behind(git: Git, ledger: Ledger, branch: str) -> str:
    """What the newest commit says whose audit head the ledger does not have; empty when it has all of them.

    A restored backup is such a copy, too, so this is told and refuses nothing.

    Raises:
        InfraError: `git-failed`, `ledger-unavailable`.
    """
    for one in await git.log_trailers(branch, _COMMITS):
        head = one.trailers.get("Audit-Head")
        if not head or await ledger.knows(head):
            continue
        said = f"commit {one.commit[:12]} by {one.author} names audit head {head[:12]}, which this ledger does not have"
        if one.trailers.get("Audit-Proof") == proof_of(await ledger.key(HEADS), head):
            return f"The ledger is an older copy: {said}, though it gave it out."
        return f"The ledger may be an older copy: {said}; or someone made that head up. See `infra-mcp audit verify`."
    return ""
