"""Shuts a run off from the network, from other processes and from this user's files, with bubblewrap where it is there.

Planning runs code: providers, and data sources that are programs. Source: bwrap(1).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread

from infra_mcp.text import one_line

_TRY_SECONDS: Final = 10.0
_REASON: Final = 200  # characters
# What every jail has: a view of the system that cannot be written, with processes, temporary files, the sockets of
# other programs and the home folder left out.
_BASE: Final = (
    *("--unshare-pid", "--unshare-ipc", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
    *("--tmpfs", "/tmp", "--tmpfs", "/run", "--ro-bind-try", "/run/systemd/resolve", "/run/systemd/resolve"),  # noqa: S108
)


@dataclass(frozen=True)
class Jail:
    """A way to run a program shut off."""

    bwrap: str  # the executable
    hidden: tuple[Path, ...]  # folders and files that runs must not see

    def around(
        self,
        argv: Sequence[str],
        *,
        network: bool,
        cwd: Path,
        read: Sequence[Path] = (),
        write: Sequence[Path] = (),
        sealed: Sequence[Path] = (),
    ) -> list[str]:
        """The command line that runs a command shut off.

        Args:
            argv: the command.
            network: whether it may use the network.
            cwd: where it runs.
            read: what it may read although it is hidden.
            write: the folders that it may write.
            sealed: folders in those that it may only read.
        """
        made = [self.bwrap, *_BASE, *([] if network else ["--unshare-net"])]
        for path in self.hidden:
            made += ["--tmpfs", str(path)] if path.is_dir() else ["--ro-bind", os.devnull, str(path)]
        for kind, paths in (("--ro-bind", read), ("--bind", write), ("--ro-bind", sealed)):
            for path in paths:
                made += [kind, str(path), str(path)]
        return [*made, "--chdir", str(cwd), "--", *argv]


async def find_jail(hidden: Sequence[Path]) -> Jail | str:
    """The jail of this machine, or why there is none.

    Args:
        hidden: folders and files that runs must not see; those that do not exist are left out.
    """
    path = await to_thread.run_sync(shutil.which, "bwrap")
    if path is None:
        return "bubblewrap is not installed"
    there = [one for one in hidden if one.exists()]
    jail = Jail(path, tuple(there))
    argv = jail.around(["true"], network=False, cwd=Path("/"))
    try:
        with anyio.fail_after(_TRY_SECONDS):
            done = await anyio.run_process(argv, stdin=subprocess.DEVNULL, check=False, start_new_session=True)
    except (OSError, TimeoutError):
        return "bubblewrap does not run"
    why = one_line(done.stderr.decode("utf-8", "replace"), _REASON)
    return f"bubblewrap does not run: {why}" if done.returncode else jail
