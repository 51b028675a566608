"""What an edit is made with, and the shapes that edits share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ActionModel
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import Edit, Location, PutFile, SetValue
from infra_mcp.repository.layout import place
from infra_mcp.repository.partial import differences, named_leaves
from infra_mcp.repository.render import Located, dump
from infra_mcp.repository.value import Tree

A_contra = TypeVar("A_contra", bound=ActionModel, contravariant=True)


@dataclass(frozen=True)
class Look:
    """What an edit may look at.

    Args:
        request: the request's id.
        circle: the requester's circle.
        policy: the policy in force.
        place: policy's name of the cluster that the action is about; empty where it is about none.
        tree: the repository at the head of the branch.
        live: reads one thing as it is live, as the circle may see it; None when it is not there. Only for what the
            repository cannot know.
    """

    request: str
    circle: str
    policy: Policy
    place: str
    tree: Tree
    live: Callable[[Target], Awaitable[dict[str, Any] | None]]


class EditOf(Protocol[A_contra]):
    """The edit of one action: the repository as it is to be, in one stage or in several that follow each other."""

    async def __call__(self, look: Look, action: A_contra) -> Edit | tuple[Edit, ...]:
        """Make the edit; each stage on the tree of the former."""


@dataclass(frozen=True)
class Ensured:
    """A tree in which an object says what it should, how it came to, and where that stands."""

    tree: Tree
    changes: tuple[SetValue | PutFile, ...]
    addressed: tuple[Location, ...]


def ensure(look: Look, tree: Tree, ref: ObjectRef, sets: dict[str, Any]) -> Ensured:
    """The tree in which an object says what it should: edited where it stands, or in a new file.

    Args:
        look: what the edit is made with.
        tree: where.
        ref: the object.
        sets: the fields to set; for a new object, all of it.

    Raises:
        InfraError: `ambiguous-object`, `manifest-invalid`, as finding and editing do.
    """
    located = tree.find(ref)
    if located is None:
        path = place(look.policy.tree.new, look.policy.tree.roots[0].path, sets)
        if tree.read(path) is not None:
            step = "Rename that file, or change [tree] new in infra.toml."
            what = f"{ref} belongs into {path}, and that file is there with other content."
            raise InfraError("manifest-invalid", what, next_step=step)
        return Ensured(tree.write(path, dump(sets)), (PutFile(path=path),), (Location(path=path),))
    return set_fields(tree, located, sets)


def set_fields(tree: Tree, located: Located, sets: dict[str, Any]) -> Ensured:
    """The tree in which an object's fields are set where it stands; all at once, for values that share an anchor.

    Raises:
        InfraError: `manifest-invalid`, as editing does.
    """
    changes = tuple(
        SetValue(path=located.path, document=located.index, ref=located.ref, field=path, before=before, after=after)
        for path, before, after, _ in differences(located.object, sets)
    )
    addressed = tuple(
        Location(path=located.path, document=located.index, at=located.at, field=path) for path in named_leaves(sets)
    )
    return Ensured(apply_edits(tree, changes), changes, addressed)
