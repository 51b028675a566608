"""Terraform apply: sets variables of a workspace where they stand, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from anyio import to_thread
from pydantic import JsonValue

from infra_mcp.actions.base import Look, more
from infra_mcp.actions.workspaces import Ground, ground
from infra_mcp.model.actions.terraform_apply import TerraformApply
from infra_mcp.policy.grammar import seconds
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import Edit, Goal, Location, PutFile, SetValue
from infra_mcp.repository.hcl.configuration import is_code
from infra_mcp.repository.hcl.variables import fit, templated
from infra_mcp.repository.hcl.workspace import Workspace
from infra_mcp.repository.hcl.write import written
from infra_mcp.repository.layers import Spot
from infra_mcp.repository.partial import same
from infra_mcp.repository.value import Tree

_NAMED = 4  # variables named in a commit's subject


async def edit(look: Look, action: TerraformApply) -> Edit:
    """Set each variable in the file of values that decides, all of them in one commit.

    Raises:
        InfraError: `not-found`: there is no such workspace or variable; `invalid-argument`: a value does not fit, or is
            one that no file may hold; `no-effect`: the environment decides; `manifest-invalid`: a file cannot be read
            or edited.
    """
    return await to_thread.run_sync(_edit, look, action)


def _edit(look: Look, action: TerraformApply) -> Edit:
    found = ground(look, action.workspace)
    workspace = found.workspace
    names = sorted(action.variables)
    shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    title = f"Apply workspace {action.workspace}" + (f": {shown}" if shown else "")
    goal = Goal(title=title, subject=action.workspace, on_failure="hold", timeout=seconds(found.rules.timeout))
    code = next(path for path in sorted({*look.tree.entries, *look.tree.changed}) if _is_root(workspace, path))
    made = Edit(look.tree, goal, addressed=(Location(path=code),))
    wanted = [(workspace.place(name), _value(found, name, action.variables[name])) for name in names]
    notes = [
        f"{spot} is masked by {place} and stays at {spot.value!r}."
        for place, _ in wanted
        for spot in workspace.spots(str(place.field[0]))[:-1]
    ]
    return replace(_with(made, wanted), notes=tuple(notes))


def _is_root(workspace: Workspace, path: str) -> bool:
    folder = workspace.modules[0].path
    return is_code(path) and path.rpartition("/")[0] == folder


def _value(found: Ground, name: str, value: JsonValue) -> JsonValue:
    """A value as it is written.

    Raises:
        InfraError: `not-found`, `invalid-argument`, `no-effect`.
    """
    made: JsonValue = fit(found.variable(name), value)
    return made if found.workspace.place(name).path.endswith(".json") else templated(made)


def _with(made: Edit, wanted: list[tuple[Spot, JsonValue]]) -> Edit:
    """The edit with these values set; a file that is not there is made with all of its values."""
    tree = made.tree
    new: dict[str, list[tuple[str, JsonValue]]] = {}
    changes: list[SetValue] = []
    for spot, value in wanted:
        if not tree.is_file(spot.path):
            new.setdefault(spot.path, []).append((str(spot.field[0]), value))
        elif not same(spot.value, value):
            changes.append(SetValue(path=spot.path, field=spot.field, before=spot.value, after=value))
    addressed = tuple(Location(path=spot.path, field=spot.field) for spot, _ in wanted)
    made = more(made, apply_edits(tree, changes), tuple(changes), addressed)
    for path, values in new.items():
        made = more(made, _new_file(made.tree, path, values), (PutFile(path=path),), ())
    return made


def _new_file(tree: Tree, path: str, values: list[tuple[str, JsonValue]]) -> Tree:
    width = max(len(name) for name, _ in values)
    lines = "".join(f"{name.ljust(width)} = {written(value)}\n" for name, value in values)
    return tree.write(path, lines.encode())
