"""Helm's commands through pyhelm3, run by our own `run`.

pyhelm3 knows the commands, and what differs between Helm 3 and 4; how a process is started is ours: an argument list
and no shell, its standard input closed or our bytes, its own session, an environment of our own, Helm's folders in a
private one (no plugins, no repositories, no login of the user), the credential in a kubeconfig of mode 0600 and never
in an argument, bounds for time and output, and the lines of its standard error as progress.

Importing this module imports pyhelm3: see the package.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import semver
from pyhelm3.command import Command as _Command

from infra_mcp.clients import process
from infra_mcp.clients.helm.failure import HelmError
from infra_mcp.clients.helm.folder import Folder
from infra_mcp.clients.helm.naming import require_names
from infra_mcp.effects import effect
from infra_mcp.errors import InfraError
from infra_mcp.text import named, one_line

SECONDS: Final = 60.0  # for a command that neither waits nor writes
GRACE: Final = 15.0  # seconds that a command gets, once it is to stop, to record the end of its release
MAX_OUTPUT: Final = 64 * 1024 * 1024  # bytes; a release may hold a megabyte of objects, and its chart
MAX_ERRORS: Final = 1024 * 1024  # bytes; Helm 4 writes the logs of failed hooks there
MAX_MEMORY: Final = 2 * 1024 * 1024 * 1024  # bytes of data; Go collects its garbage before that


class Command(_Command):  # type: ignore[misc]  # pyhelm3 has no types
    """Runs commands of one Helm in one private folder.

    Args:
        folder: the private folder, with the program in it.
        version: the program's.
        say: gets the lines of Helm's standard error, which the caller masks before it shows them.
    """

    def __init__(
        self, folder: Folder, version: semver.VersionInfo, *, say: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(executable=os.fspath(folder.program), unpack_directory=os.fspath(folder.path))
        self.folder = folder
        self.version = version
        self._say = say
        self.flags: tuple[str, ...] = ()
        self.seconds = SECONDS
        self.keep_open: tuple[int, ...] = ()

    def client_version(self) -> semver.VersionInfo:
        """The program's version, which is known."""
        return self.version

    @property
    def is_helm_4(self) -> bool:
        """Whether it applies on the server's side, and has the flags for it."""
        return bool(self.version.major >= 4)  # noqa: PLR2004 - the version

    def also(self, *flags: str, seconds: float | None = None, keep_open: Sequence[int] | None = None) -> Command:
        """The same, with more flags than pyhelm3 knows, and another time limit.

        Args:
            flags: each with its value in one text (`--name=value`), before the others.
            seconds: how long a command may take; as before where it is not given.
            keep_open: descriptors of ours that stay open in it; the same.
        """
        made = copy.copy(self)
        made.flags = (*self.flags, *flags)
        made.seconds = self.seconds if seconds is None else seconds
        made.keep_open = self.keep_open if keep_open is None else tuple(keep_open)
        return made

    async def run(self, command: Sequence[Any], input: bytes | None = None) -> bytes:  # noqa: A002 - pyhelm3's name
        """Run one command; returns its standard output.

        Raises:
            HelmError: it failed, or was stopped.
            InfraError: `setup-failed`: Helm cannot be started.
        """
        verb, *rest = (str(one) for one in command)
        argv = [os.fspath(self.folder.program), verb, *self.flags, *rest]
        try:
            ended = await process.run(
                argv,
                cwd=self.folder.path,
                env=self.folder.environment,
                seconds=self.seconds,
                given=input,
                on_line=self._say,
                grace=GRACE,
                max_output=MAX_OUTPUT,
                max_errors=MAX_ERRORS,
                max_memory=MAX_MEMORY,
                keep_open=(*self.keep_open, self.folder.lock),
            )
        except OSError as error:
            what = f"{named(argv[0])} cannot be started: {one_line(os.strerror(error.errno or 0))}."
            raise InfraError("setup-failed", what) from error
        text = ended.err.decode("utf-8", "replace")
        if ended.timed_out:
            raise HelmError(ended.code, text, f"helm {verb} did not end within {self.seconds:g} s and was stopped")
        if ended.overflowed:
            raise HelmError(ended.code, text, f"helm {verb} printed too much and was stopped")
        if ended.code:
            raise HelmError(ended.code, text)
        return ended.out

    async def preview(
        self, name: str, chart: Path, *, namespace: str, force: bool = False, replace: bool = False
    ) -> dict[str, Any]:
        """What `upgrade` would do, as Helm answers it with access to the cluster: `lookup` works. Writes nothing."""
        command = self.also("--dry-run=server")
        return await command._release(  # noqa: SLF001 - its own copy
            name, chart, namespace=namespace, force=force, replace=replace, wait=False
        )

    @effect("helm.upgrade")
    async def upgrade(
        self,
        name: str,
        chart: Path,
        *,
        namespace: str,
        force: bool = False,
        replace: bool = False,
        wait: bool = False,
    ) -> dict[str, Any]:
        """Install or upgrade a release; CRDs of the chart's folder `crds` are left to an admin.

        Args:
            name: the release's.
            chart: the chart's folder.
            namespace: the release's.
            force: whether fields of other managers may be taken over.
            replace: whether to install again what never was deployed.
            wait: whether Helm itself waits until the objects are ready, before its post hooks.

        Returns:
            The release as Helm prints it. It holds Secrets.
        """
        return await self._release(name, chart, namespace=namespace, force=force, replace=replace, wait=wait)

    async def _release(
        self, name: str, chart: Path, *, namespace: str, force: bool, replace: bool, wait: bool
    ) -> dict[str, Any]:
        require_names(name, namespace)
        if replace:
            return await self._install(name, chart, namespace, wait=wait)
        options: dict[str, Any] = {"namespace": namespace, "create_namespace": False, "skip_crds": True, "wait": wait}
        if self.is_helm_4:
            options |= {"server_side": "true", "force_conflicts": force}
        found: dict[str, Any] = await self.install_or_upgrade(name, chart, {}, timeout=self._timeout, **options)
        return found

    async def _install(self, name: str, chart: Path, namespace: str, *, wait: bool) -> dict[str, Any]:
        """Install over a release whose install failed, so that its install hooks run: pyhelm3 has only upgrades."""
        command = ["install", name, chart, "--replace", "--skip-crds", "--output", "json"]
        command += ["--namespace", namespace, "--timeout", self._timeout]
        command += ["--wait", "--wait-for-jobs"] if wait else []
        out = await self.run(command)
        found: dict[str, Any] = json.loads(out[out.index(b"{") :])
        return found

    @effect("helm.rollback")
    async def roll_back(self, name: str, revision: int, *, namespace: str, force: bool = False) -> None:
        """Bring a release back to a former revision, as a new one.

        Args:
            name: the release's.
            revision: the former one.
            namespace: the release's.
            force: whether fields of other managers may be taken over.
        """
        require_names(name, namespace)
        command = self.also("--force-conflicts") if force and self.is_helm_4 else self
        await command.rollback(name, revision, namespace=namespace, timeout=self._timeout)

    async def render(self, name: str, chart: Path, *, namespace: str) -> str:
        """The manifests of an install as `helm template` prints them, hooks among them."""
        require_names(name, namespace)
        return (await self.run(["template", name, chart, "--skip-crds", "--namespace", namespace])).decode(
            "utf-8", "replace"
        )

    @property
    def _timeout(self) -> str:
        return f"{max(1, int(self.seconds))}s"
