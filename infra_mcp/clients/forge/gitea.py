"""Gitea and Forgejo, whose API is the same for all that is asked here.

The API is described by the forge itself, at `/api/swagger` of every server. Where it leaves something open, what Gitea
1.26 does was looked at; tests/clients/forge/test_gitea.py holds each of these against a real one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import anyio

from infra_mcp.clients.forge.forge import Account, Check, Deployment, Proposal, Review, Rights
from infra_mcp.clients.forge.gitea_rights import difference
from infra_mcp.clients.forge.http import Api, Refused
from infra_mcp.clients.forge.limits import parsed_time
from infra_mcp.clients.forge.repository import Repository
from infra_mcp.errors import Unavailable
from infra_mcp.text import one_line

_PAGE: Final = "50"  # Gitea's default largest page
_NEWEST: Final = 500  # pull requests among which one of ours is looked for
_COLOUR: Final = "#7a8899"  # of a label that is made
_LOOKING: Final = 10.0  # seconds after which a pull request that cannot be merged has conflicts
_PAUSE: Final = 0.25
_STATES: dict[str, Literal["pending", "success", "failure"]] = {"pending": "pending", "success": "success"}
_SAYS: Final = ("APPROVED", "REQUEST_CHANGES")  # the reviews that have a say


@dataclass(frozen=True)
class _Unmergeable:
    """Since when a pull request cannot be merged, at this head and base."""

    at: tuple[str, str]
    since: float


class Gitea(Repository):
    """One repository at a Gitea or Forgejo.

    Args:
        url: the forge's address, without a slash at the end.
        repository: `owner/name`.
        token_file: holds the server's token.
        looking: for how many seconds Gitea may be looking whether a pull request can be merged.
    """

    def __init__(self, url: str, repository: str, token_file: Path | None, *, looking: float = _LOOKING) -> None:
        shown = one_line(f"{urlsplit(url).netloc}{urlsplit(url).path}/{repository}")
        api = Api(f"{url}/api/v1", token_file, "token", {"Accept": "application/json"}, shown)
        super().__init__(api, f"/repos/{quote(repository)}")
        self._looking = looking
        self._unmergeable: dict[int, _Unmergeable] = {}

    async def account(self) -> Account:
        """Whose the server's token is."""
        return _account(await self._http.read("/user"))

    async def rights(self, branch: str, *, merges: bool) -> Rights:
        """What the token may not and should, and what it may and should not."""
        return await difference(self._http, self._at, branch, merges=merges)

    async def propose(self, branch: str, base: str, title: str, body: str, labels: Sequence[str] = ()) -> Proposal:
        """Open a pull request of a branch; the one that is open already, if there is one."""
        number = await self._open(branch)
        if number is None:
            text = {"head": branch, "base": base, "title": title, "body": body}
            try:
                number = int((await self._http.write("POST", f"{self._at}/pulls", text))["number"])
            except Refused as error:
                if error.status != HTTPStatus.CONFLICT or (number := await self._open(branch)) is None:
                    raise
        if labels:
            with suppress(Refused):  # people's way to sort them; a pull request counts without
                await self._label(number, labels)
        return await self.proposal(number)

    async def merge_when_ready(self, proposal: Proposal) -> None:
        """Have the forge merge it as soon as its own rules allow, in the repository's own way.

        Gitea keeps it on where the branch gets another head later.
        """
        repository = await self._http.read(self._at)
        body = {
            "Do": repository.get("default_merge_style") or "merge",
            "head_commit_id": proposal.head,
            "merge_when_checks_succeed": True,
        }
        until = time.monotonic() + _LOOKING
        while True:
            try:
                await self._http.write("POST", f"{self._at}/pulls/{proposal.number}/merge", body)
            except (Refused, Unavailable) as error:
                if isinstance(error, Refused) and error.status == HTTPStatus.CONFLICT:
                    if (await self.proposal(proposal.number)).auto:
                        return
                    raise
                # While it looks whether a pull request can be merged, Gitea answers 405 with these words, or 500.
                passes = isinstance(error, Unavailable) or "try again later" in error.what.lower()
                if not passes or time.monotonic() > until:
                    raise
                await anyio.sleep(_PAUSE)
            else:
                return

    async def reviews(self, number: int) -> tuple[Review, ...]:
        """The last word of each reviewer; dismissed ones are left out."""
        last: dict[str, dict[str, Any]] = {}
        async with aclosing(self._http.pages(f"{self._at}/pulls/{number}/reviews", {"limit": _PAGE})) as found:
            async for one in found:
                if one.get("user") and one.get("state") in _SAYS:
                    name = one["user"]["login"]
                    last[name] = max(last.get(name, one), one, key=lambda each: int(each["id"]))
        return tuple(
            Review(_account(one["user"]), one["state"] == "APPROVED", one.get("commit_id") or "")
            for one in last.values()
            if not one.get("dismissed")
        )

    async def authors(self, proposal: Proposal) -> frozenset[str] | None:
        """The accounts that pushed to its branch, and those that Gitea takes for a commit's author, by its address."""
        pushes = [one for one in await self._events(proposal.number) if one["type"] == "pull_push"]
        if not any(proposal.head in _pushed(one) for one in pushes):
            return None
        found = {_account(one.get("user")).name for one in pushes}
        path = f"{self._at}/pulls/{proposal.number}/commits"
        async with aclosing(self._http.pages(path, {"limit": _PAGE, "stat": "false", "files": "false"})) as commits:
            async for one in commits:
                found |= {_account(one.get(role)).name for role in ("author", "committer")}
        return frozenset(found - {""})

    async def checks(self, commit: str) -> tuple[Check, ...]:
        """The newest commit status by each name and setter; Gitea's own runs set them as `gitea-actions`."""
        last: dict[tuple[str, str], dict[str, Any]] = {}
        async with aclosing(self._http.pages(f"{self._at}/statuses/{quote(commit)}", {"limit": _PAGE})) as found:
            async for one in found:
                key = one["context"], _account(one.get("creator")).name
                last[key] = max(last.get(key, one), one, key=lambda each: int(each["id"]))
        return tuple(
            Check(
                name=one_line(name),
                by=by,
                state=_STATES.get(one["status"], "failure"),  # failure, error, warning; skipped is no success
                set_at=parsed_time(one.get("updated_at")),
                text=one_line(one.get("description") or ""),
                url=one_line(one.get("target_url") or "", 2000),
            )
            for (name, by), one in last.items()
        )

    async def deployments(self, commit: str) -> tuple[Deployment, ...]:  # noqa: ARG002 - it has none of any commit
        """None: Gitea has no deployments."""
        return ()

    async def _open(self, branch: str) -> int | None:
        found = await self._newest(branch, "open")
        return None if found is None else int(found["number"])

    async def _newest(self, branch: str, state: str) -> dict[str, Any] | None:
        """The newest pull request of a branch of this repository; Gitea lists the newest ones first.

        It has no filter by branch, so an older one than the `_NEWEST` newest of the repository is not found.
        """
        seen = 0
        async with aclosing(self._http.pages(f"{self._at}/pulls", {"state": state, "limit": _PAGE})) as found:
            async for one in found:
                # `ref` is another one where the branch was deleted; a fork's branch has another repository
                if one["head"]["label"] == branch and one["head"]["repo_id"] in (one["base"]["repo_id"], -1):
                    return dict(one)
                if (seen := seen + 1) >= _NEWEST:
                    break
        return None

    async def _label(self, number: int, labels: Sequence[str]) -> None:
        known = set()
        async with aclosing(self._http.pages(f"{self._at}/labels", {"limit": _PAGE})) as found:
            async for one in found:
                known.add(one["name"])
        for name in labels:
            if name not in known:
                await self._http.write("POST", f"{self._at}/labels", {"name": name, "color": _COLOUR})
        await self._http.write("POST", f"{self._at}/issues/{number}/labels", {"labels": list(labels)})

    async def _proposal(self, found: dict[str, Any]) -> Proposal:
        number, is_open = int(found["number"]), found["state"] == "open"
        made = Proposal(
            number=number,
            url=one_line(found["html_url"], 2000),
            state="merged" if found.get("merged") else "open" if is_open else "closed",
            branch=found["head"]["label"],
            head=found["head"].get("sha") or "",
            base=found["base"]["label"],
            author=_account(found.get("user")),
            merged=found.get("merge_commit_sha") or "" if found.get("merged") else "",
        )
        if made.state == "merged":
            head = await self._merged_head(number) or made.head
            return replace(made, head=head, ended_by=_account(found["merged_by"]) if found.get("merged_by") else None)
        events = await self._events(number)
        if made.state == "closed":
            closed = next((one for one in events if one["type"] == "close"), None)
            return replace(made, ended_by=_account(closed["user"]) if closed else None)
        auto = next((one["type"] for one in events if "scheduled_merge" in one["type"]), "") == "pull_scheduled_merge"
        return replace(made, conflicts=self._conflicts(found), auto=auto)

    async def _events(self, number: int) -> list[dict[str, Any]]:
        """What happened to a pull request, the newest first: who closed it, and auto-merge, stand nowhere else."""
        events: list[dict[str, Any]] = []
        with suppress(Refused):  # more than it is worth
            async with aclosing(self._http.pages(f"{self._at}/issues/{number}/timeline", {"limit": _PAGE})) as found:
                events.extend([one async for one in found])
        return events[::-1]

    async def _merged_head(self, number: int) -> str:
        """The commit that was merged: `head` of the pull request is its branch's, which may have moved since."""
        with suppress(Refused):
            found = await self._http.read(f"{self._at}/git/refs/pull/{number}/head")
            return next((one["object"]["sha"] for one in found if one["ref"] == f"refs/pull/{number}/head"), "")
        return ""

    def _conflicts(self, found: dict[str, Any]) -> bool:
        """Whether it conflicts: the API says as little as `mergeable: false` while Gitea has not looked yet, too."""
        number = int(found["number"])
        if found.get("mergeable") or found.get("draft"):
            self._unmergeable.pop(number, None)
            return False
        at = found["head"].get("sha") or "", found["base"].get("sha") or ""
        known = self._unmergeable.get(number)
        if known is None or known.at != at:
            known = self._unmergeable[number] = _Unmergeable(at, time.monotonic())
        return time.monotonic() - known.since >= self._looking


def _pushed(event: dict[str, Any]) -> list[str]:
    """The commits of a push, as its event in the timeline has them."""
    try:
        found = json.loads(event.get("body") or "{}").get("commit_ids")
    except (ValueError, AttributeError):
        found = None
    return found if isinstance(found, list) else []


def _account(found: dict[str, Any] | None) -> Account:
    """An account; the API says nothing of bots, except that the forge's own have no positive number."""
    if not found:
        return Account("")
    return Account(str(found["login"]), bot=int(found.get("id") or 0) < 0)
