"""Where the servers of a zone read its zone file from: a file of this machine, or a key of a ConfigMap."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from anyio import to_thread

from infra_mcp.drivers.base import Context
from infra_mcp.drivers.dns.objects import ClusterObject
from infra_mcp.effects import effect
from infra_mcp.errors import InfraError, Moved

_MAX_BYTES: Final = 8 * 1024 * 1024


class Store(Protocol):
    """A zone file that servers read."""

    async def read(self, context: Context) -> bytes:
        """Its content.

        Raises:
            InfraError: `not-in-cluster`: there is none; `setup-failed`: it cannot be read.
        """

    async def check(self, context: Context, content: bytes) -> None:
        """Find out whether it could be replaced.

        Raises:
            InfraError: it could not.
        """

    async def write(self, context: Context, expected: bytes, content: bytes) -> None:
        """Replace it, if it is as expected; readers see the former or the new content, never a part.

        Raises:
            Moved: it has other content.
        """


@dataclass(frozen=True)
class FileStore:
    """A zone file of this machine."""

    path: Path

    async def read(self, _: Context) -> bytes:
        """See `Store.read`."""
        return await to_thread.run_sync(self._read)

    def _read(self) -> bytes:
        try:
            with open(self.path, "rb", opener=_opened) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise InfraError("setup-failed", f"{self.path} is no regular file.")
                return file.read(_MAX_BYTES)
        except FileNotFoundError:
            step = "Put the zone's file there once, as it is in the repository."
            raise InfraError("not-in-cluster", f"There is no zone file {self.path}.", next_step=step) from None
        except OSError as error:
            raise InfraError("setup-failed", f"{self.path} cannot be read: {error.strerror}.") from None

    async def check(self, _: Context, __: bytes) -> None:
        """See `Store.check`: a new file is put beside it and takes its place."""
        if not await to_thread.run_sync(os.access, self.path.parent, os.W_OK | os.X_OK):
            raise InfraError("setup-failed", f"No file can be written in {self.path.parent}.")

    @effect("dns.publish")
    async def write(self, _: Context, expected: bytes, content: bytes) -> None:
        """See `Store.write`."""
        await to_thread.run_sync(self._write, expected, content)

    def _write(self, expected: bytes, content: bytes) -> None:
        mode = stat.S_IMODE(self.path.stat().st_mode)
        try:
            with tempfile.NamedTemporaryFile(dir=self.path.parent, prefix=f".{self.path.name}.", delete=False) as file:
                try:
                    file.write(content)
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                    self._replace(Path(file.name), expected)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise InfraError("setup-failed", f"{self.path} cannot be written: {error.strerror}.") from None

    def _replace(self, new: Path, expected: bytes) -> None:
        if self._read() != expected:
            raise Moved(str(self.path))
        new.replace(self.path)


def _opened(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


@dataclass(frozen=True)
class KeyStore:
    """A key of a ConfigMap."""

    object: ClusterObject
    key: str

    async def read(self, context: Context) -> bytes:
        """See `Store.read`."""
        return self._text(await self.object.read(context)).encode()

    def _text(self, live: dict[str, Any]) -> str:
        text = (live.get("data") or {}).get(self.key)
        if not isinstance(text, str):
            what = f"{self.object.ref} has no key {self.key}."
            step = "Put the zone's file there once, as it is in the repository."
            raise InfraError("not-in-cluster", what, next_step=step)
        return text

    async def check(self, context: Context, content: bytes) -> None:
        """See `Store.check`: the API server dry-runs it."""
        await self.object.check(context, await self.object.read(context), {"data": {self.key: content.decode()}})

    async def write(self, context: Context, expected: bytes, content: bytes) -> None:
        """See `Store.write`."""
        live = await self.object.read(context)
        if self._text(live).encode() != expected:
            raise Moved(str(self.object.ref))
        await self.object.write(context, live, {"data": {self.key: content.decode()}})
