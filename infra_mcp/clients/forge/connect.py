"""From what policy says of a forge to a client of it. Nothing is asked of the forge yet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from anyio import to_thread

from infra_mcp.clients.forge.forge import Forge
from infra_mcp.errors import InfraError

Kind = Literal["gitea", "github"]
_GITHUB: Final = "github.com"
_GITHUB_API: Final = "https://api.github.com"
_SSH = re.compile(r"(?:[^@/:]+@)?([^@/:]+):(?!//)(.+)")  # git's short form: user@host:path


@dataclass(frozen=True)
class Place:
    """A repository at a forge."""

    kind: Kind
    url: str  # of Gitea the forge's own address, of GitHub its API's; without a slash at the end
    repository: str  # owner/name


def place_of(remote: str, kind: Kind | None = None, url: str | None = None, repository: str | None = None) -> Place:
    """Where the forge's API and the repository are.

    Args:
        remote: the address of git's remote, which says what the others leave out.
        kind: of the forge; only github.com is known by its name.
        url: of the forge: of Gitea its own address, of GitHub its API's.
        repository: `owner/name`.

    Raises:
        InfraError: `setup-failed`: the remote's address does not say what policy leaves out.
    """
    host, port, scheme, path = _parts(remote)
    if kind is None and host != _GITHUB:
        raise _missing("kind", 'of the forge, "gitea" (Forgejo, too) or "github"')
    kind = kind or "github"
    words = path.strip("/").removesuffix(".git").split("/")
    repository = repository or "/".join(words[-2:])
    if not re.fullmatch(r"[^/\s]+/[^/\s]+", repository):
        raise _missing("repository", '= "owner/name"')
    if url is None and kind == "github":
        if host != _GITHUB:
            raise _missing("url", 'of its API, such as "https://github.example/api/v3"')
        url = _GITHUB_API
    elif url is None:
        if scheme not in ("http", "https"):
            raise _missing("url", 'of the forge, such as "https://git.example"')
        below = "/".join(words[:-2])
        url = f"{scheme}://{host}{port}" + (f"/{below}" if below else "")
    return Place(kind, url.rstrip("/"), repository)


def host_of(remote: str) -> str:
    """The host of a remote's address; empty where it names none."""
    return _parts(remote)[0]


async def connect(place: Place, token_file: Path | None) -> Forge:
    """A client of the forge.

    Args:
        place: of the repository.
        token_file: holds the server's token.
    """
    return await to_thread.run_sync(_client, place, token_file)  # the import of aiohttp takes a moment


def _client(place: Place, token_file: Path | None) -> Forge:
    if place.kind == "gitea":
        from infra_mcp.clients.forge.gitea import Gitea  # noqa: PLC0415 - see above

        return Gitea(place.url, place.repository, token_file)
    from infra_mcp.clients.forge.github import GitHub  # noqa: PLC0415 - see above

    return GitHub(place.url, place.repository, token_file)


def _parts(remote: str) -> tuple[str, str, str, str]:
    """Host, port with its colon, scheme and path of a remote's address."""
    if found := _SSH.fullmatch(remote):
        return found[1].lower(), "", "ssh", found[2]
    parts = urlsplit(remote)
    try:
        port = parts.port
    except ValueError:
        port = None
    return (parts.hostname or "").lower(), f":{port}" if port else "", parts.scheme, parts.path


def _missing(key: str, what: str) -> InfraError:
    step = f"An operator adds {key} to [forge] of infra.toml."
    said = f"[forge] does not name {key} {what}, and the remote's address does not say it."
    return InfraError("setup-failed", said, next_step=step)
