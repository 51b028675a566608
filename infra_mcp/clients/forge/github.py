"""GitHub, and GitHub Enterprise Server, as their REST API is documented, version 2022-11-28.

GraphQL is asked for two things that REST does not have: auto-merge, and the account of an app's token. The tests run it
against a stand-in that answers as the documentation says (tests/github_stand_in.py), never against GitHub.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

from infra_mcp.clients.forge.forge import Account, Check, Deployment, Proposal, Review, Rights
from infra_mcp.clients.forge.github_rights import difference
from infra_mcp.clients.forge.http import Api, Refused
from infra_mcp.clients.forge.limits import parsed_time
from infra_mcp.clients.forge.repository import Repository
from infra_mcp.errors import Unavailable
from infra_mcp.text import one_line, quoted

_PAGE: Final = "100"
_HEADERS: Final = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_ENTERPRISE: Final = "/v3"  # of Enterprise Server's REST API; its GraphQL is beside it
_SAYS: Final = ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")  # the reviews that have, or had, a say
_WAYS: Final = (("allow_merge_commit", "MERGE"), ("allow_squash_merge", "SQUASH"), ("allow_rebase_merge", "REBASE"))
_AUTO_MERGE: Final = (
    "mutation($input: EnablePullRequestAutoMergeInput!) "
    "{ enablePullRequestAutoMerge(input: $input) { pullRequest { number } } }"
)
_VIEWER: Final = "query { viewer { login } }"
_State = Literal["pending", "success", "failure"]
_STATES: dict[str, _State] = {"success": "success", "pending": "pending", "queued": "pending", "in_progress": "pending"}


class GitHub(Repository):
    """One repository at GitHub.

    Args:
        url: the API's address, without a slash at the end.
        repository: `owner/name`.
        token_file: holds the server's token.
    """

    def __init__(self, url: str, repository: str, token_file: Path | None) -> None:
        host = urlsplit(url).netloc
        shown = one_line(f"{host.removeprefix('api.')}/{repository}")
        self._rest = _ENTERPRISE if url.endswith(_ENTERPRISE) else ""
        self._owner = repository.partition("/")[0]
        api = Api(url.removesuffix(_ENTERPRISE), token_file, "Bearer", _HEADERS, shown)
        super().__init__(api, f"{self._rest}/repos/{quote(repository)}")

    async def account(self) -> Account:
        """Whose the server's token is; "Get the authenticated user" answers 403 to an app's token."""
        try:
            return _account(await self._http.read(f"{self._rest}/user"))
        except Refused as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
        found = await self._graphql(_VIEWER, {})
        return Account(str(found["viewer"]["login"]), bot=True)

    async def rights(self, branch: str, *, merges: bool) -> Rights:
        """What the token may not and should, and what it may and should not."""
        return await difference(self._http, self._at, branch, merges=merges)

    async def propose(self, branch: str, base: str, title: str, body: str, labels: Sequence[str] = ()) -> Proposal:
        """Open a pull request of a branch; the one that is open already, if there is one."""
        found = await self._newest(branch, "open")
        if found is None:
            text = {"head": branch, "base": base, "title": title, "body": body}
            try:
                found = await self._http.write("POST", f"{self._at}/pulls", text)
            except Refused as error:
                # 422: "A pull request already exists for owner:branch."
                if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                    raise
                if (found := await self._newest(branch, "open")) is None:
                    raise
        number = int(found["number"])
        if labels:
            with suppress(Refused):  # people's way to sort them; a pull request counts without
                await self._http.write("POST", f"{self._at}/issues/{number}/labels", {"labels": list(labels)})
        return await self.proposal(number)

    async def merge_when_ready(self, proposal: Proposal) -> None:
        """Have the forge merge it as soon as its own rules allow, in a way that the repository allows.

        GitHub refuses it where the repository does not offer auto-merge, and where nothing is to be waited for.
        """
        pull, repository = await self._pull(proposal.number), await self._http.read(self._at)
        if pull.get("auto_merge"):
            return
        given: dict[str, str] = {"pullRequestId": pull["node_id"], "expectedHeadOid": proposal.head}
        given |= next(({"mergeMethod": way} for key, way in _WAYS if repository.get(key)), {})
        await self._graphql(_AUTO_MERGE, {"input": given})

    async def reviews(self, number: int) -> tuple[Review, ...]:
        """The last word of each reviewer; dismissed ones are left out. GitHub lists them in the order of time."""
        last: dict[str, dict[str, Any]] = {}
        async with aclosing(self._http.pages(f"{self._at}/pulls/{number}/reviews", {"per_page": _PAGE})) as found:
            async for one in found:
                if one.get("user") and one.get("state") in _SAYS:
                    last[one["user"]["login"]] = one
        return tuple(
            Review(_account(one["user"]), one["state"] == "APPROVED", one.get("commit_id") or "")
            for one in last.values()
            if one["state"] != "DISMISSED"
        )

    async def authors(self, proposal: Proposal) -> frozenset[str] | None:
        """The accounts that pushed to its branch, and those that GitHub takes for a commit's author, by its address.

        GitHub lists the first 250 commits of a pull request.
        """
        known, found = False, set[str]()
        params = {"ref": f"refs/heads/{proposal.branch}", "per_page": _PAGE}
        async with aclosing(self._http.pages(f"{self._at}/activity", params)) as pushes:
            async for one in pushes:
                # The filter is left out of account where it is not understood; who deleted the branch wrote nothing.
                if one.get("ref") == params["ref"] and one.get("activity_type") != "branch_deletion":
                    known = known or one.get("after") == proposal.head
                    found.add(_account(one.get("actor")).name)
        async with aclosing(
            self._http.pages(f"{self._at}/pulls/{proposal.number}/commits", {"per_page": _PAGE})
        ) as commits:
            async for one in commits:
                found |= {_account(one.get(role)).name for role in ("author", "committer")}
        return frozenset(found - {""}) if known else None

    async def checks(self, commit: str) -> tuple[Check, ...]:
        """The newest check run by each name and app, and the newest commit status by each name and account."""
        found: list[Check] = []
        at, most = f"{self._at}/commits/{quote(commit)}", {"per_page": _PAGE}
        async with aclosing(self._http.pages(f"{at}/check-runs", most, within="check_runs")) as runs:
            found += [_check_run(one) async for one in runs]
        async with aclosing(self._http.pages(f"{at}/statuses", most)) as statuses:
            found += [_status(one) async for one in statuses]
        newest: dict[tuple[str, str], Check] = {}
        for one in found:
            key = one.name, one.by
            if key not in newest or one.set_at > newest[key].set_at:  # of two at once the first: newest come first
                newest[key] = one
        return tuple(newest.values())

    async def deployments(self, commit: str) -> tuple[Deployment, ...]:
        """The deployments of a commit, each with its newest state that is not `inactive`.

        GitHub sets a deployment inactive when a later one to its environment succeeds: it was live all the same.
        """
        found = []
        async with aclosing(self._http.pages(f"{self._at}/deployments", {"sha": commit, "per_page": _PAGE})) as made:
            async for one in made:
                at = f"{self._at}/deployments/{int(one['id'])}/statuses"
                async with aclosing(self._http.pages(at, {"per_page": _PAGE})) as states:
                    newest = [state async for state in states if state.get("state") != "inactive"][:1]
                found.append(_deployment(one, newest[0] if newest else {}))
        return tuple(found)

    async def _newest(self, branch: str, state: str) -> dict[str, Any] | None:
        """The newest pull request of a branch of this repository; GitHub lists the newest ones first."""
        params = {"head": f"{self._owner}:{branch}", "state": state, "per_page": _PAGE}
        async with aclosing(self._http.pages(f"{self._at}/pulls", params)) as found:
            async for one in found:
                if one["head"]["ref"] == branch:  # the filter is left out of account where it is not understood
                    return dict(one)
        return None

    async def _proposal(self, found: Mapping[str, Any]) -> Proposal:
        merged = bool(found.get("merged"))
        ended = found.get("merged_by")
        if found["state"] == "closed" and not merged:
            ended = (await self._http.read(f"{self._at}/issues/{int(found['number'])}")).get("closed_by")
        return Proposal(
            number=int(found["number"]),
            url=one_line(found["html_url"], 2000),
            state="merged" if merged else "open" if found["state"] == "open" else "closed",
            branch=found["head"]["ref"],
            head=found["head"]["sha"],
            base=found["base"]["ref"],
            author=_account(found.get("user")),
            merged=(found.get("merge_commit_sha") or "") if merged else "",  # before, it is a commit that only tests
            ended_by=_account(ended) if ended else None,
            conflicts=found["state"] == "open" and found.get("mergeable") is False,  # null: it has not looked yet
            auto=bool(found.get("auto_merge")),
        )

    async def _graphql(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        body = {"query": query, "variables": variables}
        path = "/graphql"
        found = await self._http.write("POST", path, body)
        errors = found.get("errors") if isinstance(found, dict) else [{}]
        if errors:
            words = quoted("; ".join(str(one.get("message") or "no further text") for one in errors[:10]), 600)
            if any(one.get("type") == "RATE_LIMITED" for one in errors):
                raise Unavailable("forge-unreachable", f"{self.shown} asks to wait: {words}.")
            raise Refused("forge-refused", f"{self.shown} answers: {words}.")
        return dict(found["data"])


def _account(found: Mapping[str, Any] | None) -> Account:
    """An account; one that was deleted has no name."""
    return Account(str(found["login"]), bot=found.get("type") == "Bot") if found else Account("")


def _check_run(one: Mapping[str, Any]) -> Check:
    done = one.get("status") == "completed"
    said = str(one.get("conclusion") or "") if done else str(one.get("status") or "")
    # neutral, skipped, cancelled and stale are no success; what waits for a person is not at its end
    waits = not done or said == "action_required"
    output = one.get("output") or {}
    return Check(
        name=one_line(one["name"]),
        by=str((one.get("app") or {}).get("slug") or ""),
        state="pending" if waits else _STATES.get(said, "failure"),
        set_at=parsed_time(one.get("completed_at") or one.get("started_at")),
        text=one_line(output.get("title") or said),
        url=one_line(one.get("html_url") or one.get("details_url") or "", 2000),
    )


def _status(one: Mapping[str, Any]) -> Check:
    return Check(
        name=one_line(one["context"]),
        by=_account(one.get("creator")).name,
        state=_STATES.get(one["state"], "failure"),
        set_at=parsed_time(one.get("updated_at")),
        text=one_line(one.get("description") or ""),
        url=one_line(one.get("target_url") or "", 2000),
    )


def _deployment(made: Mapping[str, Any], newest: Mapping[str, Any]) -> Deployment:
    said = newest or made
    return Deployment(
        environment=one_line(newest.get("environment") or made.get("environment") or ""),
        by=_account(said.get("creator")).name,
        state=_STATES.get(newest["state"], "failure") if newest else "pending",
        set_at=parsed_time(said.get("updated_at") or said.get("created_at")),
        text=one_line(said.get("description") or ""),
        url=one_line(newest.get("log_url") or newest.get("environment_url") or "", 2000),
    )
