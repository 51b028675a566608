"""Compares the rights of the server's token at a Gitea or Forgejo with those that it needs.

What a token may do is the lesser of its scopes and of what its account may. Gitea names no token's scopes, so each one
is tried: by a read; or by a write that no server carries out, since it lacks what it must have. The scope is looked at
before that.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from infra_mcp.clients.forge.forge import Rights
from infra_mcp.clients.forge.http import Http
from infra_mcp.text import named

_NO_SCOPE: Final = "required scope"  # in Gitea's and Forgejo's words for a token without it
_UNREAD: Final = (
    "The token may not read the repository: it needs the scope write:repository, and its account the role Write."
)
_ADMIN: Final = (
    "The account administers the repository, so it may change and bypass the branch protection: "
    "the role Write is enough."
)
_MERGES: Final = (
    "The account may merge pull requests into {branch}: give its protection a list of those who may merge, without the "
    "account."
)


async def difference(http: Http, at: str, branch: str, *, merges: bool) -> Rights:
    """The rights that are missing, and those that are too many, in sentences.

    Args:
        http: with the server's token.
        at: the path of the repository.
        branch: the one that changes go to.
        merges: whether policy lets the server turn on auto-merge.

    Raises:
        Unavailable: `forge-unreachable`.
        InfraError: `forge-refused`: the forge refuses more than a right.
    """
    repository = await http.read_if_allowed(at)
    if repository is None:
        return Rights((_UNREAD,))
    missing, excess = await _of_the_token(http, at)
    may = repository.get("permissions") or {}
    if not may.get("push"):
        missing.append("The account may not push branches: give it the role Write in the repository.")
    if repository.get("has_pull_requests") is False:
        missing.append("The repository has pull requests turned off.")
    if may.get("admin"):
        excess.append(_ADMIN)
    found = await http.read_if_allowed(f"{at}/branches/{quote(branch, safe='')}")
    if found is None:
        missing.append(f"The repository has no branch {named(branch)} that the token may read.")
    elif may.get("push"):
        excess += _past_the_protection(found, branch)
        if merges and not found.get("user_can_merge"):
            missing.append(f"The account may not merge into {named(branch)}, so it cannot turn on auto-merge.")
        elif found.get("user_can_merge") and not merges:
            excess.append(_MERGES.format(branch=named(branch)))
    return Rights(tuple(missing), tuple(excess))


async def _of_the_token(http: Http, at: str) -> tuple[list[str], list[str]]:
    """What the token's scopes lack, and have too much."""
    missing = []
    if not await _scope(http, f"{at}/pulls"):
        missing.append("The token may not open pull requests: it needs the scope write:repository.")
    if not await _scope(http, f"{at}/issues/0/comments"):
        missing.append("The token may not comment and label pull requests: it needs the scope write:issue.")
    if await http.read_if_allowed("/user") is None:
        missing.append("The token may not read whose it is: it needs the scope read:user.")
    if await http.read_if_allowed("/admin/orgs?limit=1") is None:
        return missing, []
    return missing, ["The token administers the forge: make one of an account that does not."]


def _past_the_protection(found: dict[str, Any], branch: str) -> list[str]:
    """What the account may do to the branch that changes go to without a pull request."""
    if not found.get("protected"):
        return [f"The account may push to {named(branch)}, which is not protected: protect it, with pushes off."]
    if found.get("user_can_push"):
        return [f"The account may push to {named(branch)}: take it from the protection's list of those who may."]
    return []


async def _scope(http: Http, path: str) -> bool:
    """Whether the token's scopes allow to write there: an empty body is refused for its form after that."""
    error = await http.refusal_of_nothing(path)
    return not (error and error.status == HTTPStatus.FORBIDDEN and _NO_SCOPE in error.what)
