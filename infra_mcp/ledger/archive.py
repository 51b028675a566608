"""Some files as one plain tar (POSIX ustar), and back: nothing else is written, and nothing else is read.

Python's tarfile would follow links, long names, sparse maps and extended headers of a file that somebody else made. A
backup has none of them, so the reader here knows none: each header must be of a regular file with the expected name.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from infra_mcp.errors import InfraError

_BLOCK = tarfile.BLOCKSIZE
_END = 2 * _BLOCK  # zeros; tar itself fills the last record with more
_PIECE = 1 << 20  # bytes copied at once


def pack(target: Path, members: Mapping[str, Path]) -> None:
    """Write a new archive with mode 0600, durable when this returns.

    Args:
        target: the archive; it must not be there.
        members: names in the archive and the files they are made from, in this order.

    Raises:
        OSError: it cannot be written.
    """
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        for name, source in members.items():
            header = tarfile.TarInfo(name)
            header.mode = 0o600
            with source.open("rb") as content:
                header.size = os.fstat(content.fileno()).st_size
                # GNU writes sizes beyond 8 GiB in binary; below, it is the same as ustar.
                file.write(header.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict"))
                _copy(content, file, header.size)
            file.write(b"\0" * (-header.size % _BLOCK))
        file.write(b"\0" * _END)
        file.flush()
        os.fsync(file.fileno())


def unpack(source: Path, folder: Path, limits: Mapping[str, int]) -> None:
    """Take an archive apart into a folder, with mode 0600.

    Args:
        source: the archive.
        folder: where the members go; none of them may be there.
        limits: the names it must have, in this order, and how many bytes each may have.

    Raises:
        InfraError: `invalid-argument`, when it is anything else than such an archive.
        OSError: it cannot be read, or a member not be written.
    """
    with source.open("rb") as file:
        for name, most in limits.items():
            header = _header(file.read(_BLOCK))
            plain = header.type == tarfile.REGTYPE and not header.linkname
            if not plain or header.name != name or not 0 <= header.size <= most:
                raise _no_backup()
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as member:
                _copy(file, member, header.size)
            file.read(-header.size % _BLOCK)
        rest = file.read(tarfile.RECORDSIZE + 1)
        if not _END <= len(rest) <= tarfile.RECORDSIZE or len(rest) % _BLOCK or rest.strip(b"\0"):
            raise _no_backup()


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.TarError, ValueError):
        raise _no_backup() from None


def _copy(source: IO[bytes], file: IO[bytes], size: int) -> None:
    while size:
        piece = source.read(min(size, _PIECE))
        if not piece:
            raise _no_backup()
        file.write(piece)
        size -= len(piece)


def _no_backup() -> InfraError:
    return InfraError("invalid-argument", "The file is no backup of infra-mcp, or not a whole one.")
