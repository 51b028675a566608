"""A Terraform workspace in the repository: which of its files a run reads, and where its variables stand. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from infra_mcp.errors import InfraError
from infra_mcp.repository.hcl.configuration import LOCK_FILE, Fact, Module, is_code, locked, modules
from infra_mcp.repository.hcl.variables import Variable
from infra_mcp.repository.layers import Spot
from infra_mcp.repository.lenient import joined
from infra_mcp.repository.paths import depth, is_in
from infra_mcp.repository.value import LINK, Tree

_LEFT_OUT: Final = re.compile(r"(?:^|/)(?:\.terraform|\.terragrunt-cache|\.git)/|\.tfstate(?:\.[\w.-]+)?$|\.tfplan$")
_AUTO: Final = (".auto.tfvars", ".auto.tfvars.json")
VALUES: Final = (".tfvars", ".tfvars.json")  # the files of variables


@dataclass(frozen=True)
class Workspace:
    """The files of a workspace at one commit."""

    path: str  # the folder of its root module
    tree: Tree
    modules: tuple[Module, ...]  # the root module first
    var_files: tuple[str, ...]  # that policy names
    apart: tuple[str, ...] = ()  # the folders below it that are other workspaces

    @classmethod
    def of(cls, tree: Tree, path: str, var_files: Sequence[str] = (), apart: Sequence[str] = ()) -> Workspace:
        """Read a workspace.

        Args:
            tree: the repository.
            path: the folder of its root module.
            var_files: the files of variables that policy names.
            apart: the folders below it that are other workspaces.

        Raises:
            InfraError: `manifest-invalid`: a file cannot be read; there is no configuration, or a module is missing.
        """
        folders: dict[str, list[str]] = {}
        for name in {*tree.entries, *tree.changed}:
            if is_code(name):
                folders.setdefault(posixpath.dirname(name), []).append(name)

        def code(folder: str) -> dict[str, bytes]:
            return {name: data for name, data in tree.read_all(folders.get(folder, [])).items() if data is not None}

        found = tuple(modules(_normal(path), code))
        return cls(path, tree, found, tuple(map(_normal, var_files)), tuple(map(_normal, apart)))

    @property
    def variables(self) -> dict[str, Variable]:
        """The variables of its root module."""
        return dict(self.modules[0].variables)

    @property
    def facts(self) -> list[Fact]:
        """What policy must allow, of all its modules of this repository, its backend and its locked providers."""
        found = [fact for one in self.modules for fact in one.facts]
        if not any(one.rule == "backend" for one in found):
            found.append(Fact("backend", self.path, "local"))
        lock = posixpath.join(_normal(self.path), LOCK_FILE)
        found += [Fact("provider", LOCK_FILE, address) for address in locked(self.tree.read(lock))]
        return found

    def inputs(self, reads: Iterable[str] = ()) -> list[str]:
        """Every file and link that a run can see: of its folders, and what policy names besides."""
        wanted = [*(one.path for one in self.modules), *self.var_files, *map(_normal, reads)]
        every = (name for name in {*self.tree.entries, *self.tree.changed} if not _LEFT_OUT.search(name))
        return sorted(name for name in every if depth(name, wanted) > depth(name, self.apart))

    @property
    def tells_time(self) -> bool:
        """Whether it asks for the time of the plan, which has seconds."""
        code = {*self.tree.entries, *self.tree.changed}
        paths = [name for name in code if is_code(name) and any(is_in(name, one.path) for one in self.modules)]
        return any(b"plantimestamp" in (data or b"") for data in self.tree.read_all(paths).values())

    def value_files(self) -> list[str]:
        """The files of variables that exist, in Terraform's order: a later one decides."""
        folder = _normal(self.path)
        there = {name for name in {*self.tree.entries, *self.tree.changed} if posixpath.dirname(name) == folder}
        named = [posixpath.join(folder, name) for name in ("terraform.tfvars", "terraform.tfvars.json")]
        auto = sorted(name for name in there if name.endswith(_AUTO))
        return [name for name in (*named, *auto, *self.var_files) if self.tree.is_file(name)]

    def spots(self, variable: str) -> list[Spot]:
        """Every place that sets a variable, lowest first: the last one decides.

        Raises:
            InfraError: `manifest-invalid`: a file cannot be read.
        """
        found = []
        for name in self.value_files():
            documents = self.tree.documents(name) or [None]
            if isinstance(documents[0], dict) and variable in documents[0]:
                found.append(Spot(name, 0, (variable,), documents[0][variable]))
        return found

    def place(self, variable: str) -> Spot:
        """Where a variable is set, or would be: the place that decides, or else the file that decides over others."""
        if found := self.spots(variable):
            return found[-1]
        files = self.value_files()
        default = posixpath.join(_normal(self.path), "terraform.tfvars")
        return Spot(self.var_files[-1] if self.var_files else files[-1] if files else default, 0, (variable,), None)

    def links(self, inputs: Sequence[str]) -> dict[str, str]:
        """The symbolic links among these files, with their targets.

        Raises:
            InfraError: `build-refused`: a link leads outside of what a run sees.
        """
        found = {}
        for name in inputs:
            entry = self.tree.entries.get(name)
            if entry is None or entry.mode != LINK or name in self.tree.changed:
                continue
            target = self.tree.links[name]
            end = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            if target.startswith("/") or not any(is_in(one, end) for one in inputs):
                raise InfraError("build-refused", f"The link {name} leads to what the workspace does not read.")
            found[name] = target
        return found


def _normal(path: str) -> str:
    return joined("", path)
