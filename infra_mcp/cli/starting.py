"""Starts the server of a repository for the first client that needs one: detached, and one however many clients come.

Clients take turns by a lock. The holder starts a server and waits until it takes calls or has reported why it cannot;
the others then find the server, or get the same error. The server keeps nothing of its first client: a session of its
own, no standard input, its log in the state directory, and not the client's token.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from infra_mcp.codes import CODES
from infra_mcp.errors import InfraError
from infra_mcp.server.ownership import owned, prepared

if TYPE_CHECKING:
    from infra_mcp.cli.place import Place
    from infra_mcp.settings import Settings

LOG = "server.log"  # in the state directory
_LONGEST_LOG = 5 * 1024 * 1024  # bytes; a longer one is put aside, as the one before, when a server starts
_PATIENCE = 60.0  # seconds a server may take until it takes calls
_LAUNCHES = 3  # of servers that are gone as soon as they serve
_TRIAL = 5.0  # seconds a server may take to accept a connection
_PAUSE = 0.02  # seconds between two looks at a process that is not ours
_OPEN_FILES = 65_536  # the highest descriptor looked for


def start(where: Place | Settings) -> None:
    """Start a server unless one runs, and return when it takes calls.

    Args:
        where: the repository and its state directory.

    Raises:
        InfraError: what keeps the server from starting, the same for all clients that wait; `server-unreachable` when
            it neither starts nor fails in a minute.
    """
    state = prepared(Path(where.state_dir))
    began, deadline = time.time(), time.monotonic() + _PATIENCE
    turn = os.open(state / "run" / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        _raise_if_failed(turn, began)
        launches = 0
        while not _takes_calls(state):
            if time.monotonic() > deadline or launches == _LAUNCHES:
                raise _unreachable(state)
            if _is_owned(state):  # by a server that starts or stops, or a command that works without one
                time.sleep(_PAUSE)
                continue
            launches += 1
            try:
                _launch(str(where.repo), state, deadline)
            except InfraError as error:
                if error.code != "server-running":  # else another was quicker
                    os.ftruncate(turn, 0)  # the others that wait for this start read the error there
                    os.pwrite(turn, json.dumps(error.as_dict() | {"at": time.time()}).encode(), 0)
                    raise
    finally:
        os.close(turn)


def _takes_calls(state: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(_TRIAL)
        try:
            trial.connect(str(state / "run" / "infra.sock"))
        except OSError:
            return False
    return True


def _is_owned(state: Path) -> bool:
    try:
        with owned(state):
            return False
    except InfraError as error:
        return error.code == "server-running"


def _launch(repo: str, state: Path, deadline: float) -> None:
    """Start the server's process and wait until it reports that it serves, or why not."""
    reading, writing = os.pipe()
    log = _open_log(state)
    try:
        child = os.fork()
        if child == 0:
            _become_server(repo, state, writing, log)
    finally:
        os.close(writing)
        os.close(log)
    try:
        os.waitpid(child, 0)
        _await_report(reading, state, deadline)
    finally:
        os.close(reading)


def _become_server(repo: str, state: Path, report: int, log: int) -> NoReturn:
    """In the forked child: leave the client's session, and become the server's process."""
    try:
        os.setsid()
        if os.fork():  # so that no process has it as its child, and no terminal can become its own
            os._exit(0)
        null = os.open(os.devnull, os.O_RDONLY)
        for descriptor, place in ((null, 0), (report, 1), (log, 2)):
            os.dup2(descriptor, place)
        os.closerange(3, min(os.sysconf("SC_OPEN_MAX"), _OPEN_FILES))
        kept = {key: value for key, value in os.environ.items() if key != "INFRA_MCP_TOKEN"}
        kept["INFRA_MCP_STATE"] = str(state.absolute())  # where its clients look for it
        # -P: nothing is imported from the folder it starts in.
        module = [sys.executable, "-P", "-m", "infra_mcp.cli.main"]
        os.execve(sys.executable, [*module, "serve", "--on-demand", "--json", "--repo", repo], kept)  # noqa: S606
    finally:
        os._exit(127)


def _open_log(state: Path) -> int:
    path = state / LOG
    if path.exists() and path.stat().st_size > _LONGEST_LOG:
        path.replace(state / f"{LOG}.1")
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _await_report(reading: int, state: Path, deadline: float) -> None:
    """Read what the new server reports: where it serves or, as with every `--json`, what it failed with."""
    text = b""
    while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reading, 65_536)
        text += part
        report = _parsed(text)
        if "socket" in report:
            return
        if not part:
            if report.get("code") in CODES:
                raise InfraError.from_data(report)
            what = f"The server ended before it served; its log is {state / LOG}."
            raise InfraError("setup-failed", what, next_step="Read the end of the log, or run `infra-mcp serve`.")
    raise _unreachable(state)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        report = json.loads(text)
    except ValueError:
        report = None
    return report if isinstance(report, dict) else {}


def _unreachable(state: Path) -> InfraError:
    what = f"No server takes calls for the state directory {state}, after waiting up to {_PATIENCE:.0f} s."
    return InfraError("server-unreachable", what, next_step=f"Look into {state / LOG}, and send it again.")


def _raise_if_failed(turn: int, began: float) -> None:
    report = _parsed(os.pread(turn, 65_536, 0))
    if report.get("at", 0.0) >= began and report.get("code") in CODES:
        raise InfraError.from_data(report)
