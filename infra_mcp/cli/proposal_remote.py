"""The remote of a checkout, and the forge that its address shows, for a first infra.toml."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra_mcp.clients.forge.connect import Kind, Place, host_of, place_of
from infra_mcp.errors import InfraError
from infra_mcp.policy.sections import ForgeRules

_NAME: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]{0,99}")
_GITHUB: Final = "github.com"


@dataclass(frozen=True)
class Remote:
    """A remote of a checkout."""

    name: str
    place: Place | None  # the repository at a forge, as far as the address shows it; without any login


def remote_of(repo: Path, git: Callable[..., bytes]) -> Remote | None:
    """The remote that a checkout was cloned from; None where there is none, or several and none of them is `origin`.

    Args:
        repo: the top of the checkout.
        git: runs git there, and returns what it printed; nothing where it failed.
    """
    names = git(repo, "remote").decode("utf-8", "replace").split()
    name = "origin" if "origin" in names else names[0] if len(names) == 1 else ""
    if not _NAME.fullmatch(name):
        return None
    return Remote(name, _place(git(repo, "remote", "get-url", name).decode("utf-8", "replace").strip()))


def _place(address: str) -> Place | None:
    host = host_of(address)
    if not host:
        return None  # a folder
    kind: Kind = "github" if host == _GITHUB else "gitea"
    url = None if kind == "github" or address.startswith(("http://", "https://")) else f"https://{host}"
    try:
        place = place_of(address, kind, url)
        ForgeRules(kind=place.kind, url=place.url, repository=place.repository)
    except (InfraError, ValueError):
        return None
    return place
