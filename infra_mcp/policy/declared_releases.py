"""The Helm releases that a repository declares for a cluster, by the roots and apps of policy. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator

from infra_mcp.errors import InfraError
from infra_mcp.policy.policy import Policy
from infra_mcp.repository.helm.declared import Release, made
from infra_mcp.repository.helm.releases import releases
from infra_mcp.repository.value import Tree
from infra_mcp.text import named

_CHART = "Chart.yaml"


def roots(policy: Policy, place: str) -> list[str]:
    """The paths of the roots that Helm delivers to a cluster."""
    return [one.path for one in policy.tree.roots if one.delivery == "helm" and one.cluster in (None, place)]


def declared(policy: Policy, tree: Tree, place: str, paths: Collection[str] | None = None) -> Iterator[Release]:
    """Every release that the repository declares for a cluster.

    Args:
        policy: its roots of delivery `helm`, and its apps that are charts with values by environment.
        tree: the repository.
        place: the cluster.
        paths: see `releases`.
    """
    for root in roots(policy, place):
        yield from releases(tree, root, paths)
    yield from _charts(policy, tree, place)


def _charts(policy: Policy, tree: Tree, place: str) -> Iterator[Release]:
    """Charts of the repository whose values, by environment, an app of policy names: one release for each of them."""
    for app, rules in policy.apps.items():
        for name, its in rules.environments.items():
            files = [path for path in its.paths if tree.is_file(path)]
            root = policy.root_of(files[0]) if files else None
            folder = _chart_above(tree, files[0]) if files else None
            if root is None or root.delivery != "helm" or folder is None or (its.cluster or place) != place:
                continue
            if its.namespace is None:
                what = f"infra.toml names no namespace for {app} in {named(name)}, whose chart is {folder or '.'}."
                raise InfraError("namespace-needed", what)
            layers = tuple(path for path in files if posixpath.basename(path) not in {_CHART, "values.yaml"})
            yield made(tree, files[0], its.namespace, app, folder, layers=layers)


def _chart_above(tree: Tree, path: str) -> str | None:
    """The folder of the chart that a file is in; None where it is in none."""
    folder = posixpath.dirname(path)
    while not tree.is_file(posixpath.join(folder, _CHART)):
        if not folder:
            return None
        folder = posixpath.dirname(folder)
    return folder
