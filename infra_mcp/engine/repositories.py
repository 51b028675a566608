"""Where the branch is that changes are written to: in the repository beside the server, or at its remote."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from anyio import sleep

from infra_mcp.clients.git import MOST, Committer, Git, Login, Upstream, remote_of
from infra_mcp.errors import Unavailable
from infra_mcp.policy.policy import Policy
from infra_mcp.settings import Settings

T = TypeVar("T")
_FIRST, _LONGEST = 1.0, 30.0  # seconds between two tries while the remote is away
AWAY: Final = "remote-unreachable"


async def once_there(call: Callable[[], Awaitable[T]], say: Callable[[str], None]) -> T:
    """Ask the remote; while it is away, say so and try again for as long as it takes."""
    pause = _FIRST
    while True:
        try:
            return await call()
        except Unavailable as away:
            if away.code != AWAY:
                raise
            say(f"waiting: {away.what}")
        await sleep(pause)
        pause = min(pause * 2, _LONGEST)


def upstream(settings: Settings, name: str, login: Login, most: int = MOST) -> Upstream:
    """The remote that the checkout knows by a name, with the server's clone of it, of at most so many bytes.

    Raises:
        InfraError: `setup-failed`, when the checkout has no such remote.
    """
    remote = remote_of(settings.repo, name, login)
    clone = hashlib.sha256(remote.url.encode()).hexdigest()[:16]
    home = settings.state_dir / "clones"
    return Upstream(home / f"{clone}.git", home / f"{clone}.lock", remote, most=most)


class Repositories:
    """Opens each repository that a policy writes to, once.

    Args:
        settings: of the server: its checkout, and the folder for clones.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.local = Git(settings.repo, settings.state_dir / "git.lock")
        self._upstream: dict[tuple[str, Login, int], Upstream] = {}

    def of(self, policy: Policy) -> Git:
        """The repository that a policy writes to.

        Raises:
            InfraError: `setup-failed`, when the checkout has no such remote.
        """
        found = self.local if policy.tree.write == "local" else self._of_remote(policy)
        key = policy.tree.signing_key_file
        found.committer = Committer(policy.tree.committer, Path(key) if key else None)
        return found

    def _of_remote(self, policy: Policy) -> Git:
        rules = policy.forge
        files = (Path(one) if one else None for one in (rules.token_file, rules.key_file, rules.known_hosts))
        token_file, key_file, known_hosts = files
        login = Login(token_file, rules.user, key_file, known_hosts)
        at = policy.tree.remote, login, policy.tree.clone_mib << 20
        if at not in self._upstream:
            self._upstream[at] = upstream(self._settings, *at)
        return self._upstream[at]

    async def aclose(self) -> None:
        """End the children of all of them."""
        for one in (self.local, *self._upstream.values()):
            await one.aclose()
