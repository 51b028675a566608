"""What people do at a repository of the tests' Gitea, through its API: never with the product's own client."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from gitea import GiteaServer

__all__ = ["Account", "GiteaRefusedError", "Repository"]


class GiteaRefusedError(Exception):
    """An answer that is no success: its status, and Gitea's words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{status}: {words}")
        self.status = status


@dataclass(frozen=True)
class Account:
    """An account at the forge, with a token for everything that it may do."""

    name: str
    token: str = field(repr=False)


@dataclass(frozen=True)
class Repository:
    """A repository at the forge, and what people do with it. Each `by` is an account, and the owner where left out."""

    server: GiteaServer
    owner: Account
    name: str

    @property
    def full_name(self) -> str:
        """As policy names it: `owner/name`."""
        return f"{self.owner.name}/{self.name}"

    @property
    def url(self) -> str:
        """As git takes it, without a login."""
        return f"{self.server.url}/{self.full_name}.git"

    def url_for(self, account: Account) -> str:
        """As git takes it, with an account's token: for what people do."""
        return self.url.replace("http://", f"http://{account.name}:{account.token}@")

    def call(self, method: str, path: str, body: Any = None, *, by: Account | str = "") -> Any:
        """Ask the API about the repository; the path begins below it."""
        return self.server.call(method, f"/repos/{self.full_name}{path}", body, by=by or self.owner)

    def head(self, branch: str = "main") -> str:
        """The commit that a branch is at."""
        return str(self.call("GET", f"/branches/{quote(branch, '')}")["commit"]["id"])

    def commit(
        self, files: Mapping[str, str | None], *, branch: str = "main", message: str = "", by: Account | str = ""
    ) -> str:
        """Commit files on a branch, which is made from `main` where it is not there; None removes one.

        Returns:
            The commit.
        """
        changes = []
        here = branch if self.has(branch) else "main"
        for path, text in files.items():
            known = self._blob(path, here)
            change = {"path": path, "operation": "create" if known is None else "update"}
            change |= {"sha": known} if known else {}
            content = base64.b64encode((text or "").encode()).decode()
            changes.append(change | ({"operation": "delete"} if text is None else {"content": content}))
        body = {"files": changes, "message": message or f"Change {', '.join(files)}", "branch": here}
        if here != branch:
            body["new_branch"] = branch
        return str(self.call("POST", "/contents", body, by=by)["commit"]["sha"])

    def has(self, branch: str) -> bool:
        """Whether there is such a branch."""
        try:
            self.head(branch)
        except GiteaRefusedError:
            return False
        return True

    def read(self, path: str, ref: str = "main") -> str:
        """A file's text at a branch or commit."""
        found = self.call("GET", f"/contents/{quote(path)}?ref={quote(ref, '')}")
        return base64.b64decode(found["content"]).decode()

    def _blob(self, path: str, ref: str) -> str | None:
        try:
            return str(self.call("GET", f"/contents/{quote(path)}?ref={quote(ref, '')}")["sha"])
        except GiteaRefusedError:
            return None

    def delete_branch(self, branch: str, *, by: Account | str = "") -> None:
        self.call("DELETE", f"/branches/{quote(branch, '')}", by=by)

    def protect(self, branch: str = "main", **rules: Any) -> None:
        """Protect a branch: it takes no push. `rules` are more of the API's keys, such as `required_approvals=1`."""
        body = {"rule_name": branch, "enable_push": False, **rules}
        known = {one["rule_name"] for one in self.call("GET", "/branch_protections")}
        if branch in known:
            self.call("PATCH", f"/branch_protections/{quote(branch, '')}", body)
        else:
            self.call("POST", "/branch_protections", body)

    def webhook(self, url: str, secret: str, *events: str) -> int:
        """Have the forge tell an address of its events, signed with a secret; gives the hook's number."""
        config = {"url": url, "content_type": "json", "secret": secret}
        events = events or ("push", "pull_request", "release", "status")
        body = {"type": "gitea", "active": True, "config": config, "events": list(events)}
        return int(self.call("POST", "/hooks", body)["id"])

    def status(
        self, commit: str, context: str, state: str = "success", text: str = "", *, by: Account | str = ""
    ) -> None:
        """Set a commit status: pending, success, error, failure or warning."""
        body = {"context": context, "state": state, "description": text, "target_url": f"{self.server.url}/log"}
        self.call("POST", f"/statuses/{commit}", body, by=by)

    def pull(self, number: int) -> Any:
        """A pull request as the API has it, once Gitea has looked whether it can be merged."""
        return self.call("GET", f"/pulls/{number}")

    def pulls(self, state: str = "all") -> Any:
        """All pull requests, the newest one first."""
        return self.call("GET", f"/pulls?state={state}&sort=newest&limit=50")

    def propose(self, branch: str, title: str = "", body: str = "", *, by: Account | str = "") -> int:
        """Open a pull request of a branch to `main`; gives its number."""
        text = {"head": branch, "base": "main", "title": title or f"Propose {branch}", "body": body}
        return int(self.call("POST", "/pulls", text, by=by)["number"])

    def merge(self, number: int, how: str = "merge", *, by: Account | str = "", title: str = "") -> str:
        """Merge a pull request, as soon as Gitea knows that it can be.

        Args:
            number: of the pull request.
            how: merge, squash, rebase, rebase-merge or fast-forward-only.
            by: who does it.
            title: of the commit, where the way makes one.

        Returns:
            The commit that `main` is at then.
        """
        self.server.wait(lambda: self.pull(number)["mergeable"])
        body = {"Do": how} | ({"MergeTitleField": title} if title else {})

        def merged() -> bool | GiteaRefusedError:
            try:
                self.call("POST", f"/pulls/{number}/merge", body, by=by)
            except GiteaRefusedError as error:
                # It looks whether the pull request can be merged once more: 405 with these words, or 500.
                return False if error.status >= 500 or "try again" in str(error).lower() else error
            return True

        if isinstance(done := self.server.wait(merged), GiteaRefusedError):
            raise done
        return self.head()

    def close(self, number: int, *, by: Account | str = "") -> None:
        self.call("PATCH", f"/pulls/{number}", {"state": "closed"}, by=by)

    def comment(self, number: int, text: str, *, by: Account | str = "") -> None:
        self.call("POST", f"/issues/{number}/comments", {"body": text}, by=by)

    def comments(self, number: int) -> list[str]:
        """The texts of the comments below a pull request or issue."""
        return [one["body"] for one in self.call("GET", f"/issues/{number}/comments")]

    def review(self, number: int, event: str = "APPROVED", text: str = "", *, by: Account | str = "") -> int:
        """Review a pull request: APPROVED, REQUEST_CHANGES or COMMENT; gives the review's number."""
        made = self.call("POST", f"/pulls/{number}/reviews", {"event": event, "body": text or "seen"}, by=by)
        return int(made["id"])
