"""The file of the repository that holds a zone's records, by what policy says and the files that are there. Pure."""

from __future__ import annotations

import posixpath
from typing import Final

from infra_mcp.errors import InfraError
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.value import Tree

_PER_RECORD: Final = frozenset({"rfc2136", "external"})  # back ends whose file may begin with its first record


def file_of(policy: Policy, tree: Tree, zone: str) -> str:
    """The file that holds the records of a zone, or is to hold them.

    Raises:
        InfraError: `ambiguous-object`: several files are named after it; `place-needed`: none is, and policy has not
            one root of zones; `not-in-repository`: a zone that servers read as a file has none.
    """
    rules = policy.zones[zone]
    if rules.file is not None:
        found = [rules.file]
    else:
        found = [path for path in [*tree.entries, *tree.changed] if policy.zone_file_of(path) == zone]
    found = sorted({path for path in found if tree.is_file(path)})
    if len(found) > 1:
        step = f'Name one in infra.toml: [zones."{zone}"] file = "…"'
        raise InfraError("ambiguous-object", f"{' and '.join(found[:3])} are named after {zone}.", next_step=step)
    if found:
        return found[0]
    roots = [root.path for root in policy.tree.roots if root.delivery == "dns"]
    path = rules.file or (posixpath.join(roots[0], f"{zone}.yaml") if len(roots) == 1 else "")
    if not path:
        step = f'Name it in infra.toml: [zones."{zone}"] file = "…"'
        raise InfraError(
            "place-needed", f"infra.toml does not say which file holds the records of {zone}.", next_step=step
        )
    if rules.backend not in _PER_RECORD:
        what = f"There is no file of {zone}, and backend {rules.backend} publishes one."
        raise InfraError("not-in-repository", what, next_step=f"Commit {path} with the zone's records.")
    return path
