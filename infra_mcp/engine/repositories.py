"""Where the branch is that changes are written to, in the repository beside the server or at its remote; its forge."""

import hashlib
from collections.abc import Awaitable, Callable, Hashable
from pathlib import Path
from typing import Final, TypeVar

from anyio import Lock, sleep, to_thread

from infra_mcp.clients.forge import Forge, connect, place_of
from infra_mcp.clients.git import MOST, Committer, Git, Login, Upstream, remote_of
from infra_mcp.errors import Unavailable
from infra_mcp.policy.policy import Policy
from infra_mcp.settings import Settings

T = TypeVar("T")
_FIRST, _LONGEST = 1.0, 30.0  # seconds between two tries while the remote is away
AWAY: Final = frozenset({"remote-unreachable", "forge-unreachable"})


async def once_there(call: Callable[[], Awaitable[T]], say: Callable[[str], None]) -> T:
    """Ask the remote or its forge; while that is away, say so and try again for as long as it takes."""
    pause = _FIRST
    while True:
        try:
            return await call()
        except Unavailable as away:
            if away.code not in AWAY:
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
        self._forges: dict[Hashable, Forge] = {}
        self._connecting = Lock()

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

    async def forge(self, policy: Policy) -> Forge:
        """The client of the forge that a policy names, connected once for each setting of it.

        Raises:
            InfraError: `setup-failed`: neither the policy nor the remote's address says where it is.
        """
        rules = policy.forge
        key = rules.kind, rules.url, rules.repository, rules.token_file, policy.tree.remote
        async with self._connecting:
            if key not in self._forges:
                remote = "" if rules.url and rules.repository else await to_thread.run_sync(self._address, policy)
                place = place_of(remote, rules.kind, rules.url, rules.repository)
                self._forges[key] = await connect(place, Path(rules.token_file) if rules.token_file else None)
            return self._forges[key]

    def _address(self, policy: Policy) -> str:
        return remote_of(self._settings.repo, policy.tree.remote, Login(None)).url

    async def aclose(self) -> None:
        """End the children and connections of all of them."""
        for one in (self.local, *self._upstream.values()):
            await one.aclose()
        for forge in self._forges.values():
            await forge.aclose()
