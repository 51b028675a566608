"""A Repowire daemon on this machine: what it could do in the infra repository without us.

Source: Repowire 0.17, `config/spawn.py`: it spawns agents below every folder of `daemon.spawn.allowed_paths`, for
all who reach its port; it is one list for all peers and circles.
"""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import yaml

from infra_mcp.doctor.finding import Finding, check, empty, failed
from infra_mcp.doctor.look import Look, resolved


@check("mesh.spawn")
async def spawn(look: Look) -> AsyncIterator[Finding]:
    """No Repowire daemon may spawn agents in the infra repository."""
    path, config = _config(look)
    if config is None:
        yield empty("There is no Repowire daemon of this user.")
        return
    rules = _section(_section(config, "daemon"), "spawn")
    repo, state = look.settings.repo.resolve(), look.settings.state_dir.resolve()
    if not (rules.get("commands") or rules.get("allowed_commands")):
        return  # spawning is off
    for one in rules.get("allowed_paths") or ():
        root = resolved(str(one))
        for ours in (repo, state):
            if ours == root or ours.is_relative_to(root) or root.is_relative_to(ours):
                what = f"Repowire may spawn agents in {one}, which covers {ours}: any peer of it could work there."
                yield failed(what, f"sed -i {_removing(str(one))} {shlex.quote(str(path))}")
                break


@check("mesh.config")
async def config_file(look: Look) -> AsyncIterator[Finding]:
    """Only this user can read the Repowire daemon's token."""
    path, config = _config(look)
    if config is None or not _section(config, "daemon").get("auth_token"):
        yield empty("There is no Repowire daemon with a token.")
    elif path.stat().st_mode & 0o077:
        yield failed(f"Others can read {path}, which holds the mesh's token.", f"chmod 600 {shlex.quote(str(path))}")


def _config(look: Look) -> tuple[Path, dict[str, Any] | None]:
    path = Path(look.given("HOME") or "/") / ".repowire" / "config.yaml"
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return path, None
    return path, found if isinstance(found, dict) else None


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _removing(entry: str) -> str:
    """The sed script that removes a list's line with this entry, quoted or not."""
    literal = "".join(f"\\{one}" if one in r"\.*[]^$#" else one for one in entry)
    return shlex.quote(rf"\#^[[:space:]]*-[[:space:]]*[\"']\{{0,1\}}{literal}[\"']\{{0,1\}}[[:space:]]*$#d")
