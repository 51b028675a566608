"""A stand-in for GitHub, which cannot be had here: the smallest server that answers as its REST documentation says.

Each answer names the page of GitHub's documentation that it was written from, version 2022-11-28 of the API. It shows
that the client asks and reads as documented, and nothing of GitHub beyond that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from scripted_http import Answer, Asked, scripted

__all__ = ["GitHubStandIn", "person"]

TOKEN = "made-up-github-token-0123456789"
NOON = "2026-01-02T12:00:00Z"


def person(login: str, kind: str = "User") -> dict[str, Any]:
    """A "simple user", as in every answer with an account; `type` is User, Bot or Organization."""
    return {"login": login, "id": abs(hash(login)) % 10**6, "type": kind}


@dataclass
class GitHubStandIn:
    """One repository, and whose the token is.

    Args:
        below: what the paths of the API begin with: `/api/v3` at GitHub Enterprise Server.
        scopes: of a classic token; None for a fine-grained one, or an app's.
        app: whether the token is an app's.
        refuses: paths that the token may not read, as patterns.
    """

    below: str = ""
    bot: dict[str, Any] = field(default_factory=lambda: person("infra-bot"))
    scopes: str | None = None
    app: bool = False
    refuses: str = r"(?!)"
    repository: dict[str, Any] = field(
        default_factory=lambda: {
            "permissions": {"admin": False, "maintain": False, "push": True, "triage": True, "pull": True},
            "allow_merge_commit": False,
            "allow_squash_merge": True,
            "allow_rebase_merge": True,
            "allow_auto_merge": True,
        }
    )
    protected: bool = True
    rules: list[dict[str, Any]] = field(default_factory=list)
    rulesets: dict[int, dict[str, Any]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)  # of the branches that were pushed
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    closed_by: dict[int, dict[str, Any]] = field(default_factory=dict)
    labels: dict[int, list[str]] = field(default_factory=dict)
    comments: dict[int, list[str]] = field(default_factory=dict)
    reviews: list[dict[str, Any]] = field(default_factory=list)
    activity: list[dict[str, Any]] = field(default_factory=list)
    commits: list[dict[str, Any]] = field(default_factory=list)  # of the pull request
    check_runs: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    states: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    limited: list[Answer] = field(default_factory=list)  # given first, whatever is asked
    graphql_errors: list[dict[str, Any]] = field(default_factory=list)
    seen: list[Asked] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def up(self) -> Iterator[str]:
        """Answer until the block ends; gives the API's address."""
        with scripted(self.answer) as (url, self.seen):
            self.url = url
            yield url + self.below

    def answer(self, asked: Asked) -> Answer:
        """The answer to a request.

        "Getting started with the REST API": a User-Agent is required, 403 without one; the token goes in
        `Authorization: Bearer`; "Troubleshooting the REST API": 401 "Bad credentials" for a wrong one, 404 for what a
        token may not know of.
        """
        if self.limited:
            return self.limited.pop(0)
        if not asked.headers.get("User-Agent") or asked.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _said(401, "Bad credentials") if asked.headers.get("User-Agent") else _said(403, "Request forbidden")
        parts = urlsplit(asked.path)
        if parts.path == self.below.removesuffix("/v3") + "/graphql":
            return self._graphql(asked)
        path = unquote(parts.path.removeprefix(self.below))
        if re.search(self.refuses, path):
            return _said(403, "Resource not accessible by personal access token")
        query = {name: value[0] for name, value in parse_qs(parts.query).items()}
        at = path.removeprefix("/repos/acme/infra") if path.startswith("/repos/acme/infra") else f"!{path}"
        for pattern, method, serve in self._routes():
            if asked.method == method and (found := re.fullmatch(pattern, at)):
                return serve(asked, query, *found.groups())
        return _said(404, "Not Found")

    def _routes(self) -> list[tuple[str, str, Any]]:
        return [
            (r"!/user", "GET", self._user),
            (r"", "GET", self._repository),
            (r"/branches/(.+)", "GET", self._branch),
            (r"/rules/branches/(.+)", "GET", lambda _, query, __: self._page(self.rules, query)),
            (r"/rulesets/(\d+)", "GET", lambda _, __, number: Answer(self.rulesets[int(number)])),
            (r"/pulls", "GET", self._list),
            (r"/pulls", "POST", self._create),
            (r"/pulls/(\d+)", "GET", self._get),
            (r"/pulls/(\d+)", "PATCH", self._update),
            (r"/pulls/\d+/reviews", "GET", lambda _, query: self._page(self.reviews, query)),
            (r"/pulls/\d+/commits", "GET", lambda _, query: self._page(self.commits[:250], query)),
            (r"/activity", "GET", self._activity),
            (r"/issues/(\d+)", "GET", self._issue),
            (r"/issues/(\d+)/labels", "POST", self._label),
            (r"/issues/(\d+)/comments", "POST", self._comment),
            (r"/commits/(.+)/check-runs", "GET", self._runs),
            (r"/commits/.+/statuses", "GET", lambda _, query: self._page(self.statuses, query)),
            (r"/deployments", "GET", self._deployments),
            (r"/deployments/(\d+)/statuses", "GET", lambda _, query, one: self._page(self.states[int(one)], query)),
        ]

    def _page(self, items: list[Any], query: dict[str, str], within: str = "") -> Answer:
        """Of "Using pagination in the REST API": `per_page` 30 and at most 100, `page` from 1, links in the header.

        A link to the next page may name the repository by its number.
        """
        size, page = min(int(query.get("per_page", 30)), 100), int(query.get("page", 1))
        shown = items[(page - 1) * size : page * size]
        rest = query | {"page": str(page + 1)}
        more = {"Link": f'<{self.url}/repositories/1/x?{urlencode(rest)}>; rel="next"'} if items[page * size :] else {}
        return Answer({"total_count": len(items), within: shown} if within else shown, headers=more)

    def _activity(self, _: Asked, query: dict[str, str]) -> Answer:
        """Of "REST API endpoints for repositories", List repository activities: filtered by `ref`.

        Each has `before`, `after`, `ref`, `activity_type` (push, force_push, branch_creation, branch_deletion,
        pr_merge, merge_queue_merge) and `actor`, who may be null. For the commits: "REST API endpoints for pull
        requests", List commits on a pull request: a maximum of 250; `author` and `committer` are accounts, or null.
        """
        return self._page([one for one in self.activity if one["ref"] == query.get("ref", one["ref"])], query)

    def _user(self, *_: Any) -> Answer:
        """Of "REST API endpoints for users", Get the authenticated user: works with no installation token of an app.

        "Troubleshooting the REST API", Resource not accessible.
        """
        return _said(403, "Resource not accessible by integration") if self.app else Answer(self.bot)

    def _repository(self, *_: Any) -> Answer:
        """Of "REST API endpoints for repositories", Get a repository.

        "Scopes for OAuth apps": the header `X-OAuth-Scopes` lists the scopes that a classic token has.
        """
        return Answer(self.repository, headers={} if self.scopes is None else {"X-OAuth-Scopes": self.scopes})

    def _branch(self, _: Asked, __: dict[str, str], name: str) -> Answer:
        """Of "REST API endpoints for branches", Get a branch."""
        return Answer({"name": name, "protected": self.protected}) if name == "main" else _said(404, "Branch not found")

    def _list(self, _: Asked, query: dict[str, str]) -> Answer:
        """Of "REST API endpoints for pull requests", List pull requests: newest first; `head` is `owner:branch`."""
        state, head = query.get("state", "open"), query.get("head", "").removeprefix("acme:")
        found = [
            one for one in self.pulls.values() if state in ("all", one["state"]) and head in ("", one["head"]["ref"])
        ]
        kept = ("merged", "merged_by", "mergeable")  # only in the answer for one pull request
        return self._page([{key: one[key] for key in one if key not in kept} for one in found[::-1]], query)

    def _create(self, asked: Asked, _: dict[str, str]) -> Answer:
        """Of "REST API endpoints for pull requests", Create a pull request: 201, or 422 "Validation Failed"."""
        given = asked.body
        if any(one["state"] == "open" and one["head"]["ref"] == given["head"] for one in self.pulls.values()):
            return _invalid(f"A pull request already exists for acme:{given['head']}.")
        if given["head"] not in self.heads:
            return Answer(
                {
                    "message": "Validation Failed",
                    "errors": [{"resource": "PullRequest", "field": "head", "code": "invalid"}],
                },
                422,
            )
        return Answer(self.open(given["head"], self.bot, given["title"], given["body"]), 201)

    def open(self, branch: str, by: dict[str, Any], title: str = "", body: str = "") -> dict[str, Any]:
        """A pull request that somebody opened: `mergeable` is null until a job in the background has looked."""
        number = len(self.pulls) + 1
        self.pulls[number] = {
            "number": number,
            "node_id": f"PR_{number}",
            "html_url": f"https://github.example/acme/infra/pull/{number}",
            "state": "open",
            "title": title,
            "body": body,
            "user": by,
            "head": {"ref": branch, "sha": self.heads[branch]},
            "base": {"ref": "main", "sha": "b" * 40},
            "merge_commit_sha": "e" * 40,  # before a merge, of the test merge commit
            "merged": False,
            "merged_by": None,
            "mergeable": None,
            "auto_merge": None,
        }
        return self.pulls[number]

    def merge(self, number: int, commit: str, by: dict[str, Any]) -> None:
        """Of "REST API endpoints for pull requests", Get a pull request: `merge_commit_sha` is what was made."""
        self.pulls[number] |= {"state": "closed", "merged": True, "merged_by": by, "merge_commit_sha": commit}

    def close(self, number: int, by: dict[str, Any]) -> None:
        """Somebody closes a pull request."""
        self.pulls[number]["state"] = "closed"
        self.closed_by[number] = by

    def _get(self, _: Asked, __: dict[str, str], number: str) -> Answer:
        """Of "REST API endpoints for pull requests", Get a pull request."""
        return Answer(self.pulls[int(number)]) if int(number) in self.pulls else _said(404, "Not Found")

    def _update(self, asked: Asked, _: dict[str, str], number: str) -> Answer:
        """Of "REST API endpoints for pull requests", Update a pull request."""
        if asked.body.get("state") == "closed" and self.pulls[int(number)]["state"] == "open":
            self.closed_by[int(number)] = self.bot
        self.pulls[int(number)] |= asked.body
        return Answer(self.pulls[int(number)])

    def _issue(self, _: Asked, __: dict[str, str], number: str) -> Answer:
        """Of "REST API endpoints for issues", Get an issue: every pull request is one, and `closed_by` is only here."""
        return Answer({"number": int(number), "closed_by": self.closed_by.get(int(number))})

    def _label(self, asked: Asked, _: dict[str, str], number: str) -> Answer:
        """Of "REST API endpoints for labels", Add labels to an issue: those that are not there are made."""
        self.labels.setdefault(int(number), []).extend(asked.body["labels"])
        return Answer([{"name": one} for one in self.labels[int(number)]])

    def _comment(self, asked: Asked, _: dict[str, str], number: str) -> Answer:
        """Of "REST API endpoints for issue comments", Create an issue comment: 201."""
        self.comments.setdefault(int(number), []).append(asked.body["body"])
        return Answer({"id": 1, "body": asked.body["body"]}, 201)

    def _runs(self, _: Asked, query: dict[str, str], commit: str) -> Answer:
        """Of "REST API endpoints for check runs", List check runs for a Git reference."""
        return self._page([one for one in self.check_runs if one["head_sha"] == commit], query, "check_runs")

    def _deployments(self, _: Asked, query: dict[str, str]) -> Answer:
        """Of "REST API endpoints for deployments", List deployments: `sha` filters. Statuses come newest first."""
        return self._page([one for one in self.deployments if one["sha"] == query["sha"]], query)

    def _graphql(self, asked: Asked) -> Answer:
        """Of "Mutations", enablePullRequestAutoMerge; "Queries", viewer. "Forming calls": errors have 200."""
        if self.graphql_errors:
            return Answer({"data": None, "errors": self.graphql_errors})
        if "viewer" in asked.body["query"]:
            return Answer({"data": {"viewer": {"login": "infra-mcp[bot]"}}})
        given = asked.body["variables"]["input"]
        pull = next(one for one in self.pulls.values() if one["node_id"] == given["pullRequestId"])
        if given["expectedHeadOid"] != pull["head"]["sha"]:
            return Answer({"data": None, "errors": [{"type": "UNPROCESSABLE", "message": "Head sha didn't match"}]})
        pull["auto_merge"] = {"merge_method": given.get("mergeMethod", "MERGE").lower(), "enabled_by": self.bot}
        return Answer({"data": {"enablePullRequestAutoMerge": {"pullRequest": {"number": pull["number"]}}}})


def _said(status: int, message: str) -> Answer:
    return Answer(
        {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status)}, status
    )


def _invalid(message: str) -> Answer:
    """Of "Troubleshooting the REST API", Validation Failed."""
    errors = [{"resource": "PullRequest", "code": "custom", "message": message}]
    return Answer({"message": "Validation Failed", "errors": errors, "status": "422"}, 422)
