"""The repository with other values at the places that an edit is about: a build of it shows what these decide. Pure."""

from __future__ import annotations

from collections.abc import Collection

from infra_mcp.errors import InfraError, Moved
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import Edit, Location, SetValue
from infra_mcp.repository.layers import parsed
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.scalars import Json
from infra_mcp.repository.value import Tree


def otherwise(edit: Edit, files: Collection[str]) -> Tree:
    """The repository after an edit, but with another value of the same kind at each addressed place.

    Args:
        edit: the edit.
        files: those that the build reads; places in others stay.
    """
    tree = edit.tree
    for one in edit.addressed:
        value = _value(tree, one) if one.path in files else None
        other = _unlike(value)
        if other is not None:
            change = SetValue(
                path=one.path, document=one.document, field=one.field, inside=one.inside, before=value, after=other
            )
            try:
                tree = apply_edits(tree, [change])
            except (InfraError, Moved):  # several places of one value, by an anchor: the first did it
                continue
    return tree


def _value(tree: Tree, location: Location) -> Json:
    value = get_path(tree.document(location.path, location.document).object, location.field)[1]
    return value if location.inside is None else get_path(parsed(str(value)), location.inside)[1]


def _unlike(value: Json) -> Json:
    """Another value of the same kind; None where there is none."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str) and value and "\n" not in value:
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    return None
