"""Change set: the edit of each step, in a stage of its own, on what the steps before it leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from infra_mcp.actions.base import EditOf, Look
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.change_set import ChangeSet
from infra_mcp.repository.edits import Edit
from infra_mcp.repository.value import NotInRepository


async def edit(edits: Mapping[str, EditOf], look: Look, action: ChangeSet) -> tuple[Edit, ...]:
    """Make the edit of every step.

    Raises:
        InfraError: what the edit of a step ends in, with the step's name.
    """
    made: list[Edit] = []
    for step in action.steps:
        seen = replace(look, tree=made[-1].tree) if made else look
        try:
            found = await edits[step.action](seen, step.change)
        except NotInRepository:
            raise  # the engine finds out who owns it
        except InfraError as error:
            raise error.of_step(step.name) from error
        if isinstance(found, tuple):
            if len(found) != 1:
                raise InfraError("invalid-argument", f"Step {step.name} is more than one commit: ask for it alone.")
            found = found[0]
        made.append(found)
    return tuple(made)
