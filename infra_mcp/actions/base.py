"""What an edit is made with, and the steps that edits share."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ActionModel
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import FIRST_LAYOUT, Policy
from infra_mcp.repository.census.apps import Census
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import Edit, FileEdit, Location, PutFile, SetValue
from infra_mcp.repository.layout import place
from infra_mcp.repository.partial import differences, leaves
from infra_mcp.repository.render import Located, dump
from infra_mcp.repository.value import Tree


@dataclass(frozen=True)
class Past:
    """A landed request, for its rollback."""

    request: str  # its id
    action: ActionModel  # for the rollback of a rollback the action that was rolled back first
    stages: tuple[tuple[FileEdit, ...], ...]  # the edits of each of its commits, in order


@dataclass(frozen=True)
class Look:
    """What an edit may look at."""

    request: str  # its id
    circle: str  # the requester's circle
    policy: Policy
    place: str  # the name in policy of the cluster that the action is about; empty where it is about none
    tree: Tree  # the repository at the head of the branch
    # Reads the live state of one target, as the circle may see it; None when it is absent. Only for what the
    # repository cannot know.
    live: Callable[[Target], Awaitable[dict[str, Any] | None]]
    past: Past | None = None  # the request that a rollback is about

    @cached_property
    def census(self) -> Census:
        """What the repository holds."""
        return census_of(self.policy, self.tree)


def census_of(policy: Policy, tree: Tree) -> Census:
    """What a repository holds; the folders that policy names count whatever they are called."""
    named = [root.path for root in policy.tree.roots if root.path != "."]
    return Census(Index(tree, named + [path for app in policy.apps.values() for path in app.paths]))


# The edit of one action: the desired repository, in one stage or in several, each on the tree of the former.
EditOf = Callable[[Look, Any], Awaitable[Edit | tuple[Edit, ...]]]


def ensure(look: Look, edit: Edit, ref: ObjectRef, sets: dict[str, Any]) -> Edit:
    """An edit that sets an object's fields, too: where the object is, or in a new file with these fields.

    Raises:
        InfraError: `ambiguous-object`, `manifest-invalid`: it cannot be found or edited; `place-needed`: no one has
            said where the files of new objects go.
    """
    located = edit.tree.find(ref)
    if located is not None:
        return set_fields(edit, located, sets)
    where = look.policy.new_file(look.place)
    if where is None:
        what = f"{ref} is not in the repository, and infra.toml does not say where the file of a new object goes."
        step = f'Add to infra.toml, for example: [tree] new = "{FIRST_LAYOUT}"'
        raise InfraError("place-needed", what, next_step=step)
    path = place(*where, sets)
    if edit.tree.read(path) is not None:
        step = "Rename that file, or change [tree] new in infra.toml."
        raise InfraError(
            "manifest-invalid", f"{ref} belongs in {path}, and that file has other content.", next_step=step
        )
    tree = edit.tree.write(path, dump(sets))
    return more(edit, tree, (PutFile(path=path),), (Location(path=path),))


def set_fields(edit: Edit, located: Located, sets: dict[str, Any]) -> Edit:
    """An edit that sets an object's fields where it is, too; all at once, for values that share an anchor.

    Raises:
        InfraError: `manifest-invalid`: it cannot be edited.
    """
    changes = tuple(
        SetValue(path=located.path, document=located.index, ref=located.ref, field=path, before=before, after=after)
        for path, before, after, _ in differences(located.object, sets)
    )
    addressed = tuple(
        Location(path=located.path, document=located.index, at=located.at, field=path) for path in leaves(sets)
    )
    return more(edit, apply_edits(edit.tree, changes), changes, addressed)


def more(edit: Edit, tree: Tree, changes: tuple[FileEdit, ...], addressed: tuple[Location, ...]) -> Edit:
    """An edit with more changes of the same commit."""
    return replace(edit, tree=tree, changes=edit.changes + changes, addressed=edit.addressed + addressed)
