"""Where the values of a Terraform workspace are set: the places that decide, and the values that its variables take."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from infra_mcp.actions.base import Look
from infra_mcp.errors import InfraError
from infra_mcp.model.effect import FieldPath
from infra_mcp.policy.kinds import WorkspaceRules, workspace_of
from infra_mcp.policy.terraform import SYSTEM, nested
from infra_mcp.repository.hcl.configuration import is_code
from infra_mcp.repository.hcl.source import SUFFIXES
from infra_mcp.repository.hcl.variables import Variable, at, fit
from infra_mcp.repository.hcl.workspace import VALUES, Workspace
from infra_mcp.repository.layers import Spot
from infra_mcp.repository.scalars import Json


@dataclass(frozen=True)
class Ground:
    """A workspace of policy, and its files."""

    name: str
    rules: WorkspaceRules
    workspace: Workspace

    def variable(self, name: str) -> Variable:
        """A variable whose value may stand in a file.

        Raises:
            InfraError: `not-found`: it is not declared; `invalid-argument`: it is sensitive; `no-effect`: the
                environment decides over every file.
        """
        variables, given = self.workspace.variables, f"TF_VAR_{name}"
        variable = variables.get(name)
        if variable is None:
            step = f"It declares {', '.join(sorted(variables)) or 'none'}."
            raise InfraError("not-found", f"{self.rules.path} declares no variable {name}.", next_step=step)
        step = f'It is set in the server\'s environment, and named in policy: environment = ["{given}"].'
        if variable.is_secret:
            what = f"Variable {name} is sensitive: its value belongs in no file of the repository."
            raise InfraError("invalid-argument", what, next_step=step)
        if given in self.rules.environment:
            what = f"Variable {name} of workspace {self.name} is set by {given}, which decides over every file."
            raise InfraError("no-effect", what, next_step=f"Change {given} in the server's environment.")
        return variable


def ground(look: Look, name: str) -> Ground:
    """A workspace of policy.

    Raises:
        InfraError: `not-found`; `manifest-invalid`: its files cannot be read.
    """
    rules = look.policy.workspaces.get(name)
    if rules is None:
        raise InfraError("not-found", f"There is no workspace {name}, or it is not yours.")
    apart = nested(look.policy.workspaces, name)
    return Ground(name, rules, Workspace.of(look.tree, rules.path, rules.var_files, apart))


def fitted(look: Look, sets: Sequence[tuple[Spot, Json]]) -> list[tuple[Spot, Json]]:
    """Values as they are written: of the type that a variable of a workspace has there.

    Args:
        look: the repository.
        sets: every place of one setting, and what is to stand there.

    Raises:
        InfraError: `no-effect`: no run reads a place, or something else decides over it; `not-found`,
            `invalid-argument`, `manifest-invalid`.
    """
    made: list[tuple[Spot, Json]] = []
    for spot, value in sets:
        found = _of(look, spot)
        name = _variable(found, spot) if found else None
        if found is None or name is None:
            made.append((spot, value))
            continue
        variable = found.variable(name)
        _require_deciding(found, name, spot, [one for one, _ in sets])
        inner: FieldPath = spot.field[1:] if spot.field[0] == name else spot.field[3:]
        made.append((spot, fit(at(variable, inner), value)))
    return made


def escapes_of(path: str) -> str:
    """Which escapes a text has in a file of a workspace: a key of `inert.ESCAPES`, or nothing for other formats."""
    if path.endswith(VALUES) and path.endswith(".json"):
        return "terraform-json-variables"
    return SYSTEM if is_code(path) or path.endswith(SUFFIXES) else ""


def _of(look: Look, spot: Spot) -> Ground | None:
    root = look.policy.root_of(spot.path)
    name = workspace_of(spot.path, look.policy.workspaces) if root and root.delivery == SYSTEM else None
    return ground(look, name) if name else None


def _variable(found: Ground, spot: Spot) -> str | None:
    """The variable whose value or default stands at a place; None for any other value."""
    folder = posixpath.dirname(spot.path)
    modules = [one.path for one in found.workspace.modules]
    if spot.path.endswith(VALUES):
        if spot.path in found.workspace.value_files():
            return str(spot.field[0])
        step = f"Name it in var_files of [workspaces.{found.name}], or declare the place that is read."
        raise InfraError("no-effect", f"No run of workspace {found.name} reads {spot.path}.", next_step=step)
    if not is_code(spot.path):
        return None
    if folder not in modules:
        raise InfraError("no-effect", f"{spot.path} is of no module that workspace {found.name} calls.")
    is_default = len(spot.field) > 2 and (spot.field[0], spot.field[2]) == ("variable", "default")  # noqa: PLR2004 - its place
    return str(spot.field[1]) if is_default and folder == modules[0] else None


def _require_deciding(found: Ground, name: str, spot: Spot, spots: Sequence[Spot]) -> None:
    """Refuse a place that another one masks, unless that one is set, too."""
    decides = next(reversed(found.workspace.spots(name)), spot)
    same = [one for one in spots if one.path == decides.path and one.field[:1] == decides.field]
    if decides.path != spot.path and not same:
        what = f"{spot} is masked by {decides} in workspace {found.name}: it would change nothing there."
        raise InfraError("no-effect", what, next_step=f"Declare the place in {decides.path} in infra.toml.")
