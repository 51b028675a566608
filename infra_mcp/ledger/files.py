"""The ledger's files: for their owner only, and watched while a server writes them."""

from __future__ import annotations

import os
from pathlib import Path


def make_private(path: Path) -> None:
    """The file with mode 0600 in a directory with mode 0700. SQLite gives its other files the mode of this one.

    Raises:
        OSError: it cannot be, or a directory is in its place.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = path.parent.stat()
    shared = folder.st_mode & 0o1000  # /tmp and the like
    if folder.st_uid == os.geteuid() and not shared:
        path.parent.chmod(0o700)
    if path.is_dir():
        raise IsADirectoryError(None, "a directory is in its place")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if path.stat().st_uid == os.geteuid() and path.stat().st_mode & 0o077:
            path.chmod(0o600)


class FileGuard:
    """A file that may only grow, and must stay the same file: SQLite would go on writing into one that was removed.

    Only `stat` is used: opening and closing the file would drop SQLite's own locks, since POSIX locks belong to a
    process and end with any of its handles.

    Args:
        path: the file; it must be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        status = path.stat()
        self._identity, self._size = (status.st_dev, status.st_ino), status.st_size

    def truncated_to(self) -> int | None:
        """The size it was cut to since the last look; None when it was not.

        Raises:
            OSError: it is gone, or another file is in its place.
        """
        status = self.path.stat()
        if (status.st_dev, status.st_ino) != self._identity:
            raise FileNotFoundError(None, "its file was replaced while the server ran")
        before, self._size = self._size, status.st_size
        return status.st_size if status.st_size < before else None
