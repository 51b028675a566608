"""Compares the rights of the server's token at GitHub with those that it needs, as far as GitHub lets a token ask.

- "Get a repository" says in `permissions` what the account may do.
- A classic token's scopes are in the header `X-OAuth-Scopes` of every answer ("Scopes for OAuth apps"). Of a
  fine-grained token and of an app's GitHub says nothing: what it may read is tried, and that it may not open pull
  requests shows at the first one, in GitHub's words.
- "Get rules for a branch" has the rules in force, and "Get a repository ruleset" in `current_user_can_bypass` whether
  they hold for the account.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from infra_mcp.clients.forge.forge import Rights
from infra_mcp.clients.forge.http import Http, Refused
from infra_mcp.text import named

_UNREAD: Final = "The token may not read the repository: it needs the permission Contents, read and write."
_ADMIN: Final = (
    "The account administers the repository, so it may change and bypass the branch protection: "
    "the role Write is enough."
)
_READS: Final = (
    ("pulls?per_page=1&state=all", "The token may not read pull requests: it needs Pull requests, read and write."),
    (
        "commits/{branch}/check-runs?per_page=1",
        "The token may not read check runs: it needs the permission Checks, read.",
    ),
    ("commits/{branch}/statuses?per_page=1", "The token may not read commit statuses: it needs Commit statuses, read."),
)
_WORKFLOWS: Final = "The token may change workflows: it must not have the scope workflow."
_SCOPES: Final = ("repo", "public_repo")  # of a classic token: one of them is enough, and the rest too many


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
    may = repository.get("permissions") or {}
    missing, excess = [], []
    if not may.get("push"):
        missing.append("The account may not push branches: give it the role Write in the repository.")
    for path, sentence in _READS:
        if await http.read_if_allowed(f"{at}/{path.format(branch=quote(branch, safe=''))}") is None:
            missing.append(sentence)
    if merges and repository.get("allow_auto_merge") is False:
        missing.append("The repository does not offer auto-merge: allow it in its settings.")
    if may.get("admin") or may.get("maintain"):
        excess.append(_ADMIN)
    excess += _too_wide((await http.headers(at)).get("X-OAuth-Scopes", ""))
    found = await http.read_if_allowed(f"{at}/branches/{quote(branch, safe='')}")
    if found is None:
        missing.append(f"The repository has no branch {named(branch)} that the token may read.")
    elif may.get("push"):
        excess += await _past_the_rules(http, at, branch, merges=merges, protected=bool(found.get("protected")))
    return Rights(tuple(missing), tuple(excess))


async def _past_the_rules(http: Http, at: str, branch: str, *, merges: bool, protected: bool) -> list[str]:
    rules = await _listed(http, f"{at}/rules/branches/{quote(branch, safe='')}")
    reviewed = [one for one in rules if one.get("type") == "pull_request"]
    if not reviewed:
        # A branch protection rule of the older kind shows itself only to an administrator.
        if protected:
            return []
        return [f"The account may push to {named(branch)}, which is not protected: protect it with a ruleset."]
    said = []
    for number in sorted({int(one["ruleset_id"]) for one in reviewed}):
        ruleset = await http.read_if_allowed(f"{at}/rulesets/{number}") or {}
        if ruleset.get("current_user_can_bypass", "never") != "never":
            said.append(f"The account may bypass the ruleset {named(str(ruleset.get('name')))} of {named(branch)}.")
    needed = max(int((one.get("parameters") or {}).get("required_approving_review_count") or 0) for one in reviewed)
    if not merges and needed == 0:
        said.append(
            f"The account may merge what it proposed into {named(branch)}: require an approval, which GitHub takes "
            "from others only."
        )
    return said


def _too_wide(scopes: str) -> Sequence[str]:
    held = [one.strip() for one in scopes.split(",") if one.strip()]
    said = [_WORKFLOWS] if "workflow" in held else []
    rest = [one for one in held if one not in (*_SCOPES, "workflow", "repo:status", "repo_deployment", "read:user")]
    if rest:
        said.append(f"The token has scopes that nothing here needs: {', '.join(map(named, rest))}.")
    return said


async def _listed(http: Http, path: str) -> list[dict[str, Any]]:
    try:
        found = await http.read(path)
    except Refused as error:
        if error.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            return []
        raise
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
