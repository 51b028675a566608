"""Real server processes for tests, up in a tenth of a second: forked from one process that has done the imports.

A server started here is a process of its own with its own loop, locks and sockets. It is ended by its own pid and
nothing else, logs to a file, and dies with SIGKILL as any other does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Self

from infra_mcp.errors import InfraError
from infra_mcp.settings import Settings

__all__ = ["ServerProcess", "run_forked", "start_server"]

# What a server imports, plus what the starting test process would otherwise be imported for again.
_WARM = [
    "infra_mcp.server.process",
    "mcp.client",
    "kubernetes.aio",
    "sqlalchemy.dialects.sqlite",
    "alembic.command",
    "alembic.config",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "anyio._backends._asyncio",
    "anyio.streams.tls",
    "rich.console",  # the SDK takes it for its log where it is there
    "rich.logging",
    "pytest",
]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_WARM)

Setup = Callable[[], None]


@dataclass
class ServerProcess:
    """A running server.

    Args:
        process: the child.
        url: of the HTTP channel.
        socket: path of the unix socket.
        log: file its stdout and stderr go to.
    """

    process: ForkServerProcess
    url: str
    socket: Path
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.is_alive()

    def kill(self) -> None:
        """End it by SIGKILL, without any chance to say goodbye, and wait until it is gone."""
        self.process.kill()
        self.process.join(60)

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM); `wait` tells when it has."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def wait(self, seconds: float = 30.0) -> int | None:
        """Its exit code, or None when it still runs after that long."""
        self.process.join(seconds)
        return self.process.exitcode

    def stop(self) -> None:
        """Stop it, hard if it does not go by itself."""
        if self.alive:
            self.terminate()
            if self.wait(10.0) is None:
                self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


def start_server(
    settings: Settings,
    env: Mapping[str, str] | None = None,
    *,
    log: Path | None = None,
    setup: Setup | None = None,
    seconds: float = 60.0,
    **options: Any,
) -> ServerProcess:
    """Start a server and wait until both channels accept calls.

    Args:
        settings: where its things are.
        env: environment variables set in it.
        log: where its output goes; `server.log` in the state directory when left out. Appended to.
        setup: called in the child before it serves: an importable function, e.g. one that observes effects.
        seconds: the longest wait.
        options: more for `process.serve`, e.g. `policy_pin`.

    Raises:
        InfraError: what the server ended with before it was ready.
        TimeoutError: it neither served nor ended in time.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = log or settings.state_dir / "server.log"
    receiver, sender = _context.Pipe(duplex=False)
    sys.audit("infra_mcp.tests.server")  # conftest.py looks whether the test is marked
    process = _context.Process(target=_child, args=(settings, dict(env or {}), str(log), setup, options, sender))
    process.start()
    sender.close()
    try:
        answer = receiver.recv() if receiver.poll(seconds) else None
    except EOFError:
        process.join(5)
        raise RuntimeError(f"the server died at start ({process.exitcode}); see {log}:\n{_tail(log)}") from None
    finally:
        receiver.close()
    if answer is None:
        process.kill()
        process.join(5)
        raise TimeoutError(f"no server after {seconds} s; see {log}:\n{_tail(log)}")
    if "code" in answer:
        process.join(5)
        raise InfraError(answer["code"], answer["what"], next_step=answer["next"])
    return ServerProcess(process, answer["url"], Path(answer["socket"]), log)


def run_forked(work: Callable[..., None], *arguments: Any, log: Path, seconds: float = 60.0) -> int:
    """Call an importable function in a process of its own, and wait until that ends.

    Args:
        work: what is called.
        arguments: for it.
        log: where its output goes. Appended to.
        seconds: the longest wait.

    Returns:
        Its exit code, negative for a signal.

    Raises:
        TimeoutError: it did not end in time.
    """
    sys.audit("infra_mcp.tests.server")
    process = _context.Process(target=_call, args=(str(log), work, arguments))
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join(5)
        raise TimeoutError(f"it still ran after {seconds} s; see {log}:\n{_tail(log)}")
    return process.exitcode


def _tail(log: Path) -> str:
    with suppress(OSError):
        return log.read_text(encoding="utf-8", errors="replace")[-4000:]
    return ""


def _alone(log: str) -> None:
    os.setsid()  # a signal for the tests' terminal is none for the server
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _call(log: str, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    _alone(log)
    work(*arguments)


def _child(
    settings: Settings, env: dict[str, str], log: str, setup: Setup | None, options: dict[str, Any], ready: Connection
) -> None:
    _alone(log)
    os.environ.update(env)
    import anyio  # noqa: PLC0415 - warm in the process this was forked from

    from infra_mcp.dashboard.door import Dashboard  # noqa: PLC0415 - the same
    from infra_mcp.server.process import Serving, serve  # noqa: PLC0415 - the same

    def told(serving: Serving) -> None:
        ready.send({"url": serving.url, "socket": str(serving.socket)})
        ready.close()

    if setup is not None:
        setup()

    async def run() -> None:
        await serve(settings, ready=told, **{"dashboard": Dashboard} | options)

    try:
        anyio.run(run)
    except InfraError as error:
        sys.stderr.write(f"{error}\n")
        with suppress(OSError):
            ready.send(error.as_dict())
        sys.exit(int(error.exit))


def wait_until(true: Callable[[], bool], seconds: float = 60.0, what: str = "what was waited for") -> None:
    """Look again and again, quickly, until something is so.

    Raises:
        TimeoutError: it was not so in time.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come in {seconds} s")
        time.sleep(0.01)
