"""One owner of a state directory: a file lock that the system releases when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from infra_mcp.errors import InfraError


def prepared(state_dir: Path) -> Path:
    """Make the state directory and the socket's directory, for this user only.

    Raises:
        InfraError: `setup-failed`, when it cannot be made or belongs to someone else.
    """
    try:
        for folder in (state_dir, state_dir / "run"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if folder.stat().st_uid != os.geteuid():
                raise InfraError("setup-failed", f"The state directory {folder} belongs to another user.")
            folder.chmod(0o700)
    except OSError as error:
        what = f"The state directory {state_dir} cannot be used: {error.strerror}."
        step = "Check the path, or choose another: INFRA_MCP_STATE."
        raise InfraError("setup-failed", what, next_step=step) from None
    return state_dir


@contextlib.contextmanager
def owned(state_dir: Path) -> Iterator[None]:
    """Own the state directory while the block runs, or until the process dies in any way.

    Raises:
        InfraError: `server-running`, when another process owns it; `setup-failed`.
    """
    path = prepared(state_dir) / "lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InfraError("setup-failed", f"The lock {path} cannot be opened: {error.strerror}.") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InfraError("server-running", f"Another process owns the state directory {state_dir}.") from None
        yield
    finally:
        os.close(handle)
