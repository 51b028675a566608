"""What the forges of both kinds take alike: pull requests by their number, at the same paths below the repository."""

from __future__ import annotations

from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import Any

from infra_mcp.clients.forge.forge import Proposal
from infra_mcp.clients.forge.http import Api, Http, Refused
from infra_mcp.errors import InfraError


class Repository(ABC):
    """One repository at a forge; see `Forge` for its methods.

    Args:
        api: of the forge.
        at: the path of the repository below the API.
    """

    def __init__(self, api: Api, at: str) -> None:
        self.shown = api.shown
        self._http = Http(api)
        self._at = at

    async def aclose(self) -> None:
        """End its connections."""
        await self._http.aclose()

    async def proposal(self, number: int) -> Proposal:
        """A pull request by its number."""
        return await self._proposal(await self._pull(number))

    async def proposal_of(self, branch: str) -> Proposal | None:
        """The newest pull request of a branch of ours."""
        found = await self._newest(branch, "all")
        # A list leaves out who merged it, and whether it can be merged.
        return None if found is None else await self.proposal(int(found["number"]))

    async def describe(self, number: int, title: str, body: str) -> None:
        """Set the title and body of a pull request."""
        await self._http.write("PATCH", f"{self._at}/pulls/{number}", {"title": title, "body": body})

    async def comment(self, number: int, text: str) -> None:
        """Write a comment below a pull request."""
        await self._http.write("POST", f"{self._at}/issues/{number}/comments", {"body": text})

    async def close(self, number: int) -> None:
        """Close a pull request without a merge; one that is closed already is fine."""
        try:
            await self._http.write("PATCH", f"{self._at}/pulls/{number}", {"state": "closed"})
        except Refused:
            if (await self.proposal(number)).state == "open":
                raise

    async def _pull(self, number: int) -> dict[str, Any]:
        try:
            return dict(await self._http.read(f"{self._at}/pulls/{number}"))
        except Refused as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise InfraError("not-found", f"{self.shown} has no pull request {number}.") from error
            raise

    @abstractmethod
    async def _newest(self, branch: str, state: str) -> dict[str, Any] | None:
        """The newest pull request of a branch of this repository, as the forge lists it."""

    @abstractmethod
    async def _proposal(self, found: dict[str, Any]) -> Proposal:
        """A pull request, as the forge has it."""
