"""The folder that a plan is made in: a workspace's files of one commit, on this machine, private, and then sealed.

What is applied is the saved plan and this folder: a plan holds no script, no module and no file that a run reads.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from infra_mcp.errors import InfraError
from infra_mcp.repository.hcl.workspace import Workspace

# Providers are held to the lock file by the program itself, at every start; the copy of the backend's configuration
# has a random name in it.
_PROVIDERS: Final = "data/providers/"
_BACKEND: Final = "data/terraform.tfstate"


class Folder:
    """A workspace's files, in a private folder that goes with this object."""

    def __init__(self, base: Path, workspace: Workspace, reads: Sequence[str]) -> None:
        """Write the files. Blocks.

        Args:
            base: where the folder is made; mode 0700.
            workspace: whose files.
            reads: what it reads besides.

        Raises:
            InfraError: `build-refused`: a link leads out, or a file is too large.
        """
        base.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = Path(tempfile.mkdtemp(prefix="run-", dir=base))  # mode 0700
        self.sockets = Path(tempfile.mkdtemp(prefix="infra-mcp-"))
        _sockets_of(self.path).symlink_to(self.sockets)  # so that the next server can remove it after a kill
        self.keep = weakref.finalize(self, remove, self.path)
        self.tree = self.path / "tree"
        self.work = self.tree / workspace.path
        inputs = workspace.inputs(reads)
        links = workspace.links(inputs)
        files = workspace.tree.read_all([name for name in inputs if name not in links])
        for name, data in files.items():
            if data is None:
                raise InfraError("build-refused", f"{name} is too large to be read.")
            entry = workspace.tree.entries.get(name)
            self._write(name, data, is_program=entry is not None and entry.mode == "100755")
        for name, target in links.items():
            place = self.tree / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)
        self.work.mkdir(parents=True, exist_ok=True)

    def _write(self, name: str, data: bytes, *, is_program: bool) -> None:
        place = self.tree / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(0o500 if is_program else 0o400)

    def contents(self) -> dict[str, str]:
        """Every file that a run reads, with a digest of what it is: those of the repository, and what `init` got."""
        found: dict[str, str] = {}
        for top in ("tree", "data"):
            for folder, folders, names in os.walk(self.path / top):
                links = [name for name in folders if (Path(folder) / name).is_symlink()]
                for name in (*names, *links):
                    place = Path(folder) / name
                    inside = place.relative_to(self.path).as_posix()
                    if not inside.startswith(_PROVIDERS):
                        found[inside] = _digest(place)
        return found

    def seal(self) -> None:
        """Take the right to write away from everything in the tree."""
        for folder, _, names in os.walk(self.tree, topdown=False):
            for name in names:
                place = Path(folder) / name
                if not place.is_symlink():
                    place.chmod(place.stat().st_mode & ~0o222)
            Path(folder).chmod(0o500)


def lasting(contents: Mapping[str, str]) -> dict[str, str]:
    """The contents that are the same each time that the folder is made."""
    return {name: what for name, what in contents.items() if name != _BACKEND and "/.git/" not in name}


def _digest(place: Path) -> str:
    """The digest of a file with whether it can be run, or a link's target."""
    if place.is_symlink():
        return f"link {os.readlink(place)}"  # noqa: PTH115 - as it stands
    runs = "x" if place.stat().st_mode & stat.S_IXUSR else ""
    with place.open("rb") as file:
        return runs + hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove the folder of a run, sealed or not, and that of its sockets."""
    sockets = _sockets_of(path)
    if sockets.is_symlink():
        shutil.rmtree(sockets.readlink(), ignore_errors=True)
        sockets.unlink(missing_ok=True)
    for folder, _, _ in os.walk(path):
        Path(folder).chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)


def _sockets_of(path: Path) -> Path:
    """The link to the folder of a run's sockets: beside the folder of the run, which the run can write."""
    return path.with_name(f"sockets-{path.name}")
