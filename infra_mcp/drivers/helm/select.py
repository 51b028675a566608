"""Which releases a share of an edit is about: those whose declaration, values or chart it addresses or changes."""

from __future__ import annotations

from infra_mcp.drivers.base import Context, Share
from infra_mcp.errors import InfraError
from infra_mcp.policy.declared_releases import declared
from infra_mcp.repository.edits import Location
from infra_mcp.repository.helm.declared import Release
from infra_mcp.repository.helm.releases import inputs_of
from infra_mcp.repository.rebase import changed


def about(context: Context, share: Share, place: str) -> list[Release]:
    """The releases that a share is about, by namespace and name.

    Args:
        context: of the request.
        share: of the edit.
        place: the cluster.

    Raises:
        InfraError: `manifest-invalid`, `delivery-unsupported`: a declaration cannot be read; `not-in-repository`: no
            release is made of a file that it is about.
    """
    changes = set(changed(share.before, share.after))
    paths = {one.path for one in share.addressed} | changes
    before = {one.key: one for one in declared(context.policy, share.before, place, paths)}
    after = {one.key: one for one in declared(context.policy, share.after, place, paths)}
    if lost := sorted(before.keys() - after.keys()):
        what = f"The change takes {before[lost[0]]} out of the repository, and infra-mcp uninstalls no release."
        raise InfraError("delivery-unsupported", what, next_step="A person uninstalls it and removes its declaration.")
    files = {key: inputs_of(share.after, one, after.values()) for key, one in after.items()}
    made_of = frozenset[str]().union(*files.values(), {one.path for one in after.values()})
    if strange := sorted(path for path in paths - made_of if share.after.is_file(path)):
        step = "Declare the release: docs/helm.md shows the forms."
        raise InfraError("not-in-repository", f"No release in {place} is made of {strange[0]}.", next_step=step)
    declarations = {key for key, one in after.items() if one.path in changes and one != before.get(key)}
    found = declarations | {key for key, inputs in files.items() if not inputs.isdisjoint(paths)}
    found |= {key for key, one in after.items() if any(_is_in(where, one) for where in share.addressed)}
    return [after[key] for key in sorted(found)]


def _is_in(where: Location, release: Release) -> bool:
    """Whether a place is in the declaration of a release, or around it: one file may declare several."""
    return where.path == release.path and all(map(_may_be, where.field, release.at))


def _may_be(step: object, other: object) -> bool:
    """Whether two steps may lead to the same item: an item has a number and what identifies it."""
    return step == other or type(step) is not type(other)
