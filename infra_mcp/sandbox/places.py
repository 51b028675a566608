"""Where one sandbox has its things: a folder of its own, mode 0700, with a note of what it is; nothing elsewhere."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from infra_mcp.errors import InfraError
from infra_mcp.settings import sandbox_home

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")


@dataclass(frozen=True)
class Note:
    """What is written down about a sandbox.

    Args:
        state: `starting` until callers need wait for nothing more, then `ready`.
        bin_dir: its binaries.
        port: the API server's.
    """

    state: str
    bin_dir: str
    port: int


@dataclass(frozen=True)
class Place:
    """The paths of the sandbox called `name`."""

    name: str
    folder: Path

    @classmethod
    def of(cls, name: str) -> Place:
        """The place for `name`.

        Raises:
            InfraError: `invalid-argument`, when the name is not letters, digits and hyphens, at most 40.
        """
        if not _NAME.fullmatch(name):
            what = "A sandbox's name is lower-case letters, digits and hyphens, at most 40."
            raise InfraError("invalid-argument", what)
        # resolved, since its processes are known by this path
        return cls(name, sandbox_home().resolve() / name)

    @classmethod
    def all(cls) -> list[Place]:
        """Every place there is, by name."""
        home = sandbox_home().resolve()
        names = sorted(path.name for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
        return [cls(name, home / name) for name in names if _NAME.fullmatch(name)]

    @property
    def lock(self) -> Path:
        """The lock file of `up` and `down`, beside the folder that `down` removes."""
        return self.folder.with_name(f".{self.name}.lock")

    @property
    def context(self) -> str:
        """The context's name in the kubeconfig."""
        return f"kwok-{self.name}"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig, mode 0600."""
        return self.folder / "kubeconfig"

    @property
    def config(self) -> Path:
        """The configuration for kwokctl."""
        return self.folder / "config.yaml"

    @property
    def work(self) -> Path:
        """The folder that kwokctl works in."""
        return self.folder / "kwok"

    @property
    def cluster(self) -> Path:
        """The cluster's folder in it."""
        return self.work / "clusters" / self.name

    @property
    def logs(self) -> Path:
        """The components' logs."""
        return self.cluster / "logs"

    def read(self) -> Note | None:
        """The note; None when there is none, or none that can be read."""
        try:
            return Note(**json.loads((self.folder / "sandbox.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, note: Note) -> None:
        """Write the note, whole or not at all."""
        temporary = self.folder / ".sandbox.json"
        temporary.write_text(json.dumps(asdict(note)) + "\n", "utf-8")
        os.replace(temporary, self.folder / "sandbox.json")  # noqa: PTH105 - the word says that it replaces
