"""Files that hold one credential of the server, which no other user of the machine may read."""

from __future__ import annotations

import shlex
from pathlib import Path

from infra_mcp.errors import InfraError


def require_private(path: Path) -> None:
    """Raise `setup-failed` where the file is not there, or others may read it."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        step = "Put the credential there, or correct the setting that names the file."
        raise InfraError("setup-failed", f"{path} cannot be read: {error.strerror}.", next_step=step) from error
    if mode & 0o077:
        step = f"chmod 600 {shlex.quote(str(path))}"
        raise InfraError("setup-failed", f"{path} holds a credential and others may read it.", next_step=step)


def read_token(path: Path) -> str:
    """The one token in a file.

    Raises:
        InfraError: `setup-failed`: it cannot be read, others may read it, or it holds something else.
    """
    require_private(path)
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise InfraError("setup-failed", f"{path} cannot be read as text.") from error
    if not text or not text.isprintable() or " " in text:
        raise InfraError("setup-failed", f"{path} does not hold one token.")
    return text
