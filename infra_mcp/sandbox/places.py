"""Where one sandbox has its files: a folder of its own, mode 0700, with a note about its state."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass

from infra_mcp.errors import InfraError
from infra_mcp.settings import sandbox_home

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Note:
    """The stored state of a sandbox."""

    state: str  # `starting` until callers need wait for nothing more, then `ready`
    bin_dir: str  # its binaries
    port: int  # the API server's


class Place:
    """The paths of the sandbox called `name`.

    Raises:
        InfraError: `invalid-argument`, when the name is not lower-case letters, digits and hyphens, at most 40.
    """

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            what = "A sandbox's name is lower-case letters, digits and hyphens, at most 40."
            raise InfraError("invalid-argument", what)
        self.name = name
        self.context = f"kwok-{name}"  # in the kubeconfig
        self.folder = sandbox_home().resolve() / name  # resolved, since its processes are known by this path
        self.lock = self.folder.with_name(f".{name}.lock")  # beside the folder, which `down` removes
        self.kubeconfig = self.folder / "kubeconfig"  # mode 0600
        self.config = self.folder / "config.yaml"  # for kwokctl
        self.work = self.folder / "kwok"  # where kwokctl works
        self.cluster = self.work / "clusters" / name
        self.logs = self.cluster / "logs"

    @classmethod
    def all(cls) -> list[Place]:
        """Every sandbox's place, by name."""
        home = sandbox_home().resolve()
        names = sorted(path.name for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
        return [cls(name) for name in names if _NAME.fullmatch(name)]

    def read(self) -> Note | None:
        """The note; None when there is none, or it cannot be read."""
        try:
            return Note(**json.loads((self.folder / "sandbox.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, note: Note) -> None:
        """Write the note, completely or not at all."""
        temporary = self.folder / ".sandbox.json"
        temporary.write_text(json.dumps(asdict(note)) + "\n", "utf-8")
        os.replace(temporary, self.folder / "sandbox.json")  # noqa: PTH105 - the word says that it replaces
