"""Which releases a share of an edit is about: those whose declaration, values or chart it addresses or changes."""

from __future__ import annotations

from infra_mcp.drivers.base import Context, Share
from infra_mcp.errors import InfraError
from infra_mcp.policy.declared_releases import declared
from infra_mcp.repository.helm.declared import Release
from infra_mcp.repository.helm.releases import files_of
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
    paths = {one.path for one in share.addressed} | set(changed(share.before, share.after))
    before = {one.key: one for one in declared(context.policy, share.before, place, paths)}
    after = {one.key: one for one in declared(context.policy, share.after, place, paths)}
    if lost := sorted(before.keys() - after.keys()):
        what = f"The change takes {before[lost[0]]} out of the repository, and infra-mcp uninstalls no release."
        raise InfraError("delivery-unsupported", what, next_step="A person uninstalls it and removes its declaration.")
    found = {key: one for key, one in after.items() if not files_of(share.after, one).isdisjoint(paths)}
    made_of = frozenset[str]().union(*(files_of(share.after, one) for one in found.values()))
    if strange := sorted(path for path in paths - made_of if share.after.is_file(path)):
        step = "Declare the release: docs/helm.md shows the forms."
        raise InfraError("not-in-repository", f"No release in {place} is made of {strange[0]}.", next_step=step)
    return [found[key] for key in sorted(found)]
