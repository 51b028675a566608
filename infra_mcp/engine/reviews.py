"""What reviewers say of a pull request of ours, and which reviews approve nothing by any account."""

from __future__ import annotations

from collections.abc import Collection

from infra_mcp.clients.forge import Proposal, Review
from infra_mcp.engine.run import Dependencies
from infra_mcp.model.approval import Reviewed
from infra_mcp.model.record import ProposalRecord


async def last_words(deps: Dependencies, mine: ProposalRecord, there: Proposal) -> tuple[Reviewed, ...]:
    """The last word of each reviewer, for the commit that is proposed now, or was when it was merged.

    Args:
        deps: of the engine.
        mine: the pull request, as we proposed it.
        there: as the forge has it.

    Raises:
        Unavailable: the forge is away.
        InfraError: `forge-refused`.
    """
    forge = await deps.forge()
    found = await forge.reviews(there.number)
    authors: frozenset[str] | None = frozenset()
    if any(one.approves for one in found):
        ours = {mine.author, there.author.name, (await forge.account()).name}
        # Of our own commits the forge need not be asked.
        others = frozenset[str]() if there.head in mine.heads else await forge.authors(there)
        authors = None if others is None else others | ours
    return tuple(
        Reviewed(by=one.by.name, approves=one.approves, against=_against(one, there.head, authors)) for one in found
    )


def _against(review: Review, head: str, authors: Collection[str] | None) -> str:
    if not review.approves:
        return ""
    if not head or review.head != head:
        return "it is of another commit than the last"
    if authors is None:
        return "the forge does not say who pushed the last commit"
    if review.by.name in authors:
        return "it is an author's"
    return "it is a bot's" if review.by.bot else ""
