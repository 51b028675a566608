"""The checkout: who can write in it, its branch, and what git would run for it."""

from __future__ import annotations

import shlex
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from infra_mcp.clients.git import Login, remote_of
from infra_mcp.doctor.finding import Finding, check, failed, risk
from infra_mcp.doctor.look import Look
from infra_mcp.errors import InfraError

_OTHERS, _GROUP = 0o002, 0o020
_STALE: Final = 600.0  # seconds after which git's lock is that of a git that has died
_LOCKS: Final = ("index.lock", "HEAD.lock", "config.lock", "packed-refs.lock")
_RUNS: Final = r"^(filter\..*\.(clean|smudge|process)|merge\..*\.driver|diff\..*\.(command|textconv))$"
_KNOWN: Final = ("git-lfs ", "git-crypt ", '"git-crypt" ')


@check("checkout.permissions")
async def permissions(look: Look) -> AsyncIterator[Finding]:
    """Only the server's user can write in the checkout and in its git folder."""
    folder = await _git_folder(look)
    places = (look.settings.repo, look.settings.policy_file, folder, folder / "config", folder / "hooks")
    modes = [path.stat().st_mode for path in places if path.exists() and not path.is_symlink()]
    fix = f"chmod -R go-w {look.repo} {shlex.quote(str(folder))}"
    if any(mode & _OTHERS for mode in modes):
        yield failed(f"Every user of this machine can write in {look.settings.repo}.", fix)
    elif any(mode & _GROUP for mode in modes):
        yield risk(f"A group of users can write in {look.settings.repo}.", fix)


@check("checkout.branch")
async def branch(look: Look) -> AsyncIterator[Finding]:
    """The branch that changes go to is in the checkout."""
    if look.policy is None or look.policy.tree.write != "local":
        return
    name = look.policy.tree.branch
    if await look.git("rev-parse", "--verify", "--quiet", f"refs/heads/{name}") is None:
        born = await look.git("rev-parse", "--verify", "--quiet", "HEAD") is not None
        made = f"git -C {look.repo} branch {shlex.quote(name)}"
        first = f"git -C {look.repo} commit --allow-empty -m 'The first commit'"
        yield failed(f"There is no branch {name}, to which policy sends changes.", made if born else first)


@check("checkout.head")
async def head(look: Look) -> AsyncIterator[Finding]:
    """The checkout is on a branch."""
    if await look.git("symbolic-ref", "--quiet", "HEAD") is None and look.policy is not None:
        what = "HEAD is detached: people's commits in this checkout are on no branch, and its files stay old."
        yield risk(what, f"git -C {look.repo} switch {shlex.quote(look.policy.tree.branch)}")


@check("checkout.clean")
async def clean(look: Look) -> AsyncIterator[Finding]:
    """No file that git knows has changes that are not committed."""
    if look.policy is not None and look.policy.tree.write != "local":
        return  # the server works in a clone of its own
    lines = (await look.git("status", "--porcelain", "--untracked-files=no") or "").splitlines()
    names = [one.split(maxsplit=1)[-1] for one in lines]
    changed = [one for one in names if one != "infra.toml"]  # `policy.committed` is about that one
    if changed:
        what = f"Not committed, so that a request about one is refused: {changed[0]}, of {len(changed)} changed."
        aside = f"git -C {look.repo} stash push -- :/ ':(top,exclude)infra.toml'"
        yield risk(f"{what} Commit them, or set them aside.", aside)


@check("checkout.locks")
async def locks(look: Look) -> AsyncIterator[Finding]:
    """No git process that died left a lock."""
    folder = await _git_folder(look)
    for path in (folder / name for name in _LOCKS):
        if path.exists() and time.time() - path.stat().st_mtime > _STALE:
            what = f"{path} is older than {_STALE / 60:g} minutes: the git that made it has died, and all others wait."
            yield failed(what, f"rm {shlex.quote(str(path))}")


@check("checkout.programs")
async def programs(look: Look) -> AsyncIterator[Finding]:
    """The repository's git settings run no program when files are checked out."""
    found = (await look.git("config", "--local", "--get-regexp", _RUNS) or "").splitlines()
    for key, _, command in (line.partition(" ") for line in found):
        if not f"{command} ".startswith(_KNOWN):
            what = f"The setting {key} of the repository runs a program when the server moves files there."
            yield risk(what, f"git -C {look.repo} config --local --unset-all {shlex.quote(key)}")


@check("git.credentials")
async def credentials(look: Look) -> AsyncIterator[Finding]:
    """No address of a remote carries a password."""
    found = (await look.git("config", "--get-regexp", r"^remote\..*\.(push)?url$") or "").splitlines()
    for key, _, url in (line.partition(" ") for line in found):
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not (parts.password or parts.username):
            continue
        host = parts.netloc.rpartition("@")[2]
        bare = parts._replace(netloc=host).geturl()
        what = f"{key} carries a login for {host}: every process that may read the repository has it."
        yield failed(what, f"git -C {look.repo} config {shlex.quote(key)} {shlex.quote(bare)}")


@check("git.remote")
async def remote(look: Look) -> AsyncIterator[Finding]:
    """The remote that policy names is there."""
    if look.policy is None or look.policy.tree.write == "local":
        return
    name = look.policy.tree.remote
    try:
        remote_of(look.settings.repo, name, Login())
    except InfraError as error:
        others = (await look.git("remote") or "").split()
        fix = f"git -C {look.repo} remote add {shlex.quote(name)} URL"
        if len(others) == 1:
            fix = f"git -C {look.repo} remote rename {shlex.quote(others[0])} {shlex.quote(name)}"
        yield failed(error.what, fix)


async def _git_folder(look: Look) -> Path:
    return Path(
        await look.git("rev-parse", "--path-format=absolute", "--git-common-dir") or look.settings.repo / ".git"
    )
