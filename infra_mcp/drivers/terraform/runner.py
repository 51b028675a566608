"""Prepares the runs of one workspace: what they are handed, where they run, and whose lock is in their way."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from anyio import to_thread
from pydantic import JsonValue

from infra_mcp.clients.terraform import Cli, Jail, Place, Program, TerraformError, find_jail, find_program
from infra_mcp.drivers.base import Setup
from infra_mcp.drivers.terraform.effect import Reader
from infra_mcp.drivers.terraform.folder import Folder
from infra_mcp.drivers.terraform.runs import Runs
from infra_mcp.errors import InfraError
from infra_mcp.model.digest import keyed
from infra_mcp.policy.grammar import seconds
from infra_mcp.policy.kinds import WorkspaceRules
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.terraform import nested
from infra_mcp.repository.hcl.source import read
from infra_mcp.repository.hcl.variables import Variable, fit
from infra_mcp.repository.hcl.workspace import Workspace
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.value import Tree
from infra_mcp.settings import cache_home, given_variables

T = TypeVar("T")
_VARIABLE: Final = "TF_VAR_"


@dataclass(frozen=True)
class Prepared:
    """A folder in which commands can run, and what they may be told."""

    folder: Folder
    cli: Cli
    reader: Reader
    apply_files: tuple[Path, ...]  # the files of variables that an apply is given again
    notes: tuple[str, ...]  # for the reader of a plan
    tells_time: bool = False  # whether a plan holds the second in which it was made

    @property
    def program(self) -> Program:
        """What runs."""
        return self.cli.program


@dataclass
class Runner:
    """Prepares and starts the runs of one workspace."""

    name: str
    rules: WorkspaceRules
    setup: Setup = field(repr=False)
    key: bytes = field(repr=False)
    runs: Runs
    last: Prepared | None = None  # where the state can be read, once there was a plan
    unwritten: set[tuple[str, int]] = field(default_factory=set)  # states on which an apply was refused
    _jail: Jail | str = ""

    @property
    def where(self) -> str:
        """The workspace, for people."""
        return f"workspace {self.name} ({self.rules.path})"

    def read(self, policy: Policy, tree: Tree) -> Workspace:
        """The workspace as a tree has it. Blocks.

        Raises:
            InfraError: `manifest-invalid`.
        """
        return Workspace.of(tree, self.rules.path, self.rules.var_files, nested(policy.workspaces, self.name))

    async def prepare(self, workspace: Workspace, say: Callable[[str], None]) -> Prepared:
        """Write a workspace's files into a folder, and get what they need.

        Raises:
            InfraError: `setup-failed`: there is no program; `build-refused`: a file or link; `plan-failed`: `init`
                failed; `invalid-argument`: the environment holds a value that a variable does not take.
        """
        program = await find_program(self.rules.program)
        if not self._jail:
            self._jail = await find_jail(self._hidden)
        folder = await to_thread.run_sync(Folder, self.runs.base, workspace, self.rules.reads)
        given = given_variables(self.rules.environment)
        for value in given.values():
            self.setup.masker.learn(value)
        written, again = await to_thread.run_sync(self._value_files, folder, workspace.variables, given)
        var_files = (*(folder.tree / name for name in workspace.var_files), *written)
        place = Place(
            work=folder.work,
            own=folder.path,
            sockets=folder.sockets,
            variables={name: value for name, value in given.items() if not name.startswith(_VARIABLE)},
            var_files=var_files,
            network=self.rules.network,
            mirror=Path(self.rules.mirror) if self.rules.mirror else None,
            cache=cache_home() / "terraform" / "providers" if self.rules.network else None,
            read=(Path.home(),) if "HOME" in given else (),
            write=tuple(_local_state(workspace, self.rules.backend_config)),
            seconds=seconds(self.rules.timeout),
        )
        jail = self._jail if isinstance(self._jail, Jail) else None
        cli = Cli(program, place, jail, say)
        await to_thread.run_sync(cli.prepare)
        configs = [folder.tree / name for name in self.rules.backend_config]
        await self.told(partial(cli.init, configs))
        reader = Reader(lambda data: keyed(self.key, data), given.values())
        notes = tuple(self._notes(program, given))
        tells_time = await to_thread.run_sync(lambda: workspace.tells_time)
        # OpenTofu compares the values that an apply finds with those of the plan. Terraform before 1.10 takes none, and
        # later ones need only those that no plan keeps.
        apply_files = var_files if program.name == "OpenTofu" else again
        self.last = Prepared(folder, cli, reader, apply_files, notes, tells_time)
        return self.last

    async def told(self, command: Callable[[], Awaitable[T]]) -> T:
        """Run a command; its failure becomes an error of the product.

        Raises:
            InfraError: `plan-failed`, `workspace-locked`.
        """
        try:
            return await command()
        except TerraformError as error:
            raise error.translate(self.where, self.setup.masker.mask) from error

    async def locking(
        self, prepared: Prepared, command: Callable[[Cli, Callable[[int], None]], Awaitable[T]], *, is_apply: bool
    ) -> T:
        """Run a command that locks the state. A lock that a killed run of ours left is released, once.

        Args:
            prepared: where.
            command: gets the commands, and what is to be told the process id.
            is_apply: whether it writes.

        Raises:
            TerraformError: it failed.
        """
        folder, cli = prepared.folder.path, prepared.cli
        left = await to_thread.run_sync(self.runs.left)
        try:
            with self.runs.noted(folder, is_apply=is_apply) as started:
                # A lock that a killed run left goes by itself never.
                done = await command(replace(cli, lock_seconds=0) if left else cli, started)
        except TerraformError as error:
            if error.lock is None:
                raise
            if await to_thread.run_sync(self.runs.owns, error.lock):
                cli.say(f"releasing the lock {error.lock.id}, which a run left that was killed")
                await cli.unlock(error.lock.id)
            elif not left:
                raise
            with self.runs.noted(folder, is_apply=is_apply) as started:
                done = await command(cli, started)
        await to_thread.run_sync(self.runs.forget)
        return done

    @property
    def _hidden(self) -> Sequence[Path]:
        """What no run may see: this user's files, the server's own, and the credentials of clusters."""
        configs = str(self.setup.kubeconfig).split(":")
        return (Path.home(), self.setup.state.absolute(), *(Path(one).expanduser().absolute() for one in configs))

    def _notes(self, program: Program, given: Mapping[str, str]) -> list[str]:
        network = "may use the network" if self.rules.network else "have no network"
        if isinstance(self._jail, Jail):
            notes = [f"runs of {program} are shut off by bubblewrap and {network}"]
        else:
            rest = "" if self.rules.network else " and from the network"
            notes = [f"runs of {program} are not shut off from this user's files{rest}: {self._jail}"]
        missing = [name for name in self.rules.environment if name not in given]
        return notes + ([f"not set in the server's environment: {', '.join(missing)}"] if missing else [])

    def _value_files(
        self, folder: Folder, variables: Mapping[str, Variable], given: Mapping[str, str]
    ) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """Files with the variables that come from the environment, mode 0600: all, and those that no plan keeps."""
        values: dict[str, JsonValue] = {}
        for name, text in given.items():
            variable = variables.get(name.removeprefix(_VARIABLE)) if name.startswith(_VARIABLE) else None
            if variable is not None:
                values[variable.name] = fit(variable, _written(text))
        if not values:
            return (), ()
        path = _private(folder.path / "given.tfvars.json", values)
        again = {name: value for name, value in values.items() if variables[name].is_ephemeral}
        return (path,), (_private(folder.path / "again.tfvars.json", again),) if again else ()


def _written(text: str) -> JsonValue:
    """The value of a variable of the environment: a list or an object as HCL has it, else the text."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        found: JsonValue = read(f"x = {text}\n".encode()).value["x"]
    except Unreadable:
        return text
    return found


def _private(path: Path, values: Mapping[str, JsonValue]) -> Path:
    path.touch(mode=0o600)
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def _local_state(workspace: Workspace, configs: Sequence[str]) -> list[Path]:
    """The folder of a state in a file of this machine.

    Raises:
        InfraError: `plan-failed`: the file would be in the folder of the run, and lost with it.
    """
    kind, arguments = workspace.modules[0].backend or ("local", {})
    if kind != "local":
        return []
    for name in configs:
        arguments = {**arguments, **(workspace.tree.documents(name) or [{}])[0]}
    path = arguments.get("path")
    if not isinstance(path, str) or not path.startswith("/") or "${" in path:
        what = f"The state of {workspace.path} would be a file in the folder of one run, and lost with it."
        step = "Name a backend for it, such as s3, or local with an absolute path."
        raise InfraError("plan-failed", what, next_step=step)
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    return [folder]
