"""The commands of OpenTofu and Terraform that are used, in one prepared folder.

Nothing of this process's environment reaches them but the variables that are handed in. No value stands in a command
line: values are in files of variables with mode 0600.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from anyio import to_thread

from infra_mcp.clients import process
from infra_mcp.clients.terraform.child import MAX_OUTPUT, Command, run
from infra_mcp.clients.terraform.errors import TerraformError
from infra_mcp.clients.terraform.jail import Jail
from infra_mcp.clients.terraform.program import Program
from infra_mcp.clients.terraform.stream import Diagnostic, Stream
from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.text import named, one_line


def _ignore(_: int) -> None:
    """Ignore the process id: the default of `started`."""


_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOWHERE: Final = "http://127.0.0.1:9"  # the discard port: no proxy answers there
_PROXIES: Final = tuple(f"{scheme}_proxy" for scheme in ("http", "https", "all"))
_INIT_SECONDS: Final = 900.0  # a provider has hundreds of megabytes
_LOOK_SECONDS: Final = 300.0
_GRACE: Final = 5.0
_BY_SIGNAL: Final = 128


@dataclass(frozen=True)
class Place:
    """Where commands run and what they may use."""

    work: Path  # the folder of the root module
    own: Path  # a private folder: the home of runs, their data and their output
    sockets: Path  # a private folder with a short path: that of a socket has at most 107 bytes
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)  # of the environment
    var_files: tuple[Path, ...] = ()  # files of variables, the last one decides
    network: bool = False
    mirror: Path | None = None  # a folder of providers, instead of their registries
    cache: Path | None = None  # a folder that keeps downloaded providers
    read: tuple[Path, ...] = ()  # what runs may read beside the system's own files
    write: tuple[Path, ...] = ()  # the folders that they may write beside their own
    sealed: Path | None = None  # a folder in their own that they may only read
    seconds: float = 3600.0  # for a plan, and for an apply


@dataclass(frozen=True)
class Cli:
    """The commands, in one place."""

    program: Program
    place: Place
    jail: Jail | None
    say: Callable[[str], None] = lambda _: None
    lock_seconds: int = 20  # how long a command waits for the lock of the state

    @property
    def _waiting(self) -> str:
        return f"-lock-timeout={self.lock_seconds}s"

    def prepare(self) -> None:
        """Write the configuration of the command line itself, before the first command. Blocks."""
        own = self.place.own
        for name in ("home", "tmp", "data"):
            (own / name).mkdir(mode=0o700, exist_ok=True)
        lines = []
        if self.place.cache is not None:
            self.place.cache.mkdir(parents=True, exist_ok=True)
            lines.append(f"plugin_cache_dir = {json.dumps(str(self.place.cache))}")
        if self.place.mirror is not None:
            path = json.dumps(str(self.place.mirror))
            lines.append(f"provider_installation {{\n  filesystem_mirror {{\n    path = {path}\n  }}\n}}")
        (own / "cli.rc").write_text("\n".join([*lines, ""]), encoding="utf-8")

    async def init(self, backend_config: Sequence[Path] = ()) -> None:
        """Get modules and providers, as the lock file has them, and open the backend.

        Raises:
            TerraformError: it failed.
        """
        given = [f"-backend-config={path}" for path in backend_config]
        arguments = ("init", "-input=false", "-lockfile=readonly", "-json", *given)
        ended = await self._run(*arguments, seconds=_INIT_SECONDS)
        if ended.code:
            stream = Stream()
            for line in ended.out.splitlines():
                stream.feed(line)
            raise _failed("init", ended, stream)

    async def plan(
        self, out: Path, *, refresh_only: bool = False, lock: bool = True, started: Callable[[int], None] = _ignore
    ) -> list[Diagnostic]:
        """Make a plan and save it.

        Args:
            out: the file to save it in.
            refresh_only: whether it only compares the state with what is there.
            lock: whether it locks the state.
            started: is told the process id.

        Returns:
            Its warnings.

        Raises:
            TerraformError: it failed.
        """
        await to_thread.run_sync(partial(out.touch, mode=0o600))  # before anything is in it
        options = [f"-var-file={path}" for path in self.place.var_files]
        options += ["-refresh-only"] if refresh_only else []
        options += [self._waiting] if lock else ["-lock=false"]
        arguments = ("plan", "-input=false", "-json", f"-out={out}", *options)
        stream = await self._streamed(*arguments, started=started)
        return [one for one in stream.diagnostics if not one.is_error]

    async def show(self, plan: Path | None = None) -> dict[str, Any]:
        """A saved plan, or without one the state. Sensitive values are in it, in clear.

        Raises:
            TerraformError: it cannot be read.
        """
        ended = await self._run("show", "-json", *([str(plan)] if plan else []), seconds=_LOOK_SECONDS)
        if ended.code:
            raise _failed("show", ended)
        found: dict[str, Any] = json.loads(ended.out)
        return found

    async def state(self) -> dict[str, Any] | None:
        """The state as it is stored, with its serial number; None where there is none. Sensitive values are in it.

        Raises:
            TerraformError: it cannot be read.
        """
        ended = await self._run("state", "pull", seconds=_LOOK_SECONDS)
        if ended.code:
            raise _failed("state pull", ended)
        found: dict[str, Any] | None = json.loads(ended.out) if ended.out.strip() else None
        return found

    @effect("terraform.apply")
    async def apply(self, plan: Path, var_files: Sequence[Path], started: Callable[[int], None]) -> Stream:
        """Apply a saved plan.

        Args:
            plan: the file.
            var_files: the files of variables that are given again.
            started: is told the process id.

        Raises:
            TerraformError: it failed; what it had done by then is in the error's stream.
        """
        given = [f"-var-file={path}" for path in var_files]
        arguments = ("apply", "-input=false", "-json", self._waiting, *given, str(plan))
        return await self._streamed(*arguments, started=started)

    @effect("terraform.unlock")
    async def unlock(self, lock: str) -> None:
        """Release the lock of the state, by its id.

        Raises:
            TerraformError: it failed.
        """
        ended = await self._run("force-unlock", "-force", "--", lock, seconds=_LOOK_SECONDS)
        if ended.code:
            raise _failed("force-unlock", ended)

    async def _streamed(self, *argv: str, started: Callable[[int], None]) -> Stream:
        stream = Stream()

        def feed(line: bytes) -> None:
            if text := stream.feed(line):
                self.say(text)

        place = self.place
        command = Command(
            self._line(argv), self.program.path, place.work, self._environment(), place.own, place.seconds
        )
        code = await run(command, feed, started)
        if code:
            raise TerraformError(argv[0], _signal(code), stream)
        return stream

    async def _run(self, *argv: str, seconds: float) -> process.Ended:
        line, place = self._line(argv), self.place
        try:
            ended = await process.run(
                line, cwd=place.work, env=self._environment(), seconds=seconds, grace=_GRACE, max_output=MAX_OUTPUT
            )
        except OSError as error:
            what = f"{named(self.program.path)} cannot be started: {one_line(os.strerror(error.errno or 0))}."
            raise InfraError("setup-failed", what) from error
        if ended.timed_out or ended.overflowed:
            why = f"did not end within {seconds:g} s" if ended.timed_out else "printed too much"
            raise InfraError("run-stopped", f"{named(self.program.path)} {argv[0]} {why} and was stopped.")
        return ended

    def _line(self, argv: Sequence[str]) -> list[str]:
        place, line = self.place, [self.program.path, *argv]
        if self.jail is None:
            return line
        read = [Path(self.program.path), *place.read, *([place.mirror] if place.mirror else [])]
        write = [place.own, place.sockets, *place.write, *([place.cache] if place.cache else [])]
        sealed = [place.sealed] if place.sealed else []
        return self.jail.around(line, network=place.network, read=read, write=write, sealed=sealed, cwd=place.work)

    def _environment(self) -> dict[str, str]:
        own = self.place.own
        made = {
            "PATH": _PATH,
            "HOME": str(own / "home"),
            "TMPDIR": str(own / "tmp"),
            "PLUGIN_UNIX_SOCKET_DIR": str(self.place.sockets),
            "LC_ALL": "C.UTF-8",
            "CHECKPOINT_DISABLE": "1",
            "TF_CLI_CONFIG_FILE": str(own / "cli.rc"),
            "TF_DATA_DIR": str(own / "data"),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
        }
        if not self.place.network:
            made |= {name: _NOWHERE for proxy in _PROXIES for name in (proxy, proxy.upper())} | {"NO_PROXY": ""}
        return made | dict(self.place.variables)


def _signal(code: int) -> int:
    """An exit code; minus the signal that ended the program, also where a jail tells of it by a code above 128."""
    return _BY_SIGNAL - code if code > _BY_SIGNAL else code


def _failed(command: str, ended: process.Ended, stream: Stream | None = None) -> TerraformError:
    return TerraformError(command, _signal(ended.code), stream or Stream(), ended.err.decode("utf-8", "replace"))
