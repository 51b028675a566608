"""All releases below a root of delivery `helm`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

from infra_mcp.errors import InfraError
from infra_mcp.repository.helm import helmfile, release_file
from infra_mcp.repository.helm.chart_files import inputs
from infra_mcp.repository.helm.declared import Release, below
from infra_mcp.repository.value import Tree


def releases(tree: Tree, root: str, about: Collection[str] | None = None) -> Iterator[Release]:
    """The releases that are declared below a root.

    Args:
        tree: the repository.
        root: the root's path.
        about: the files that a change is about: a release whose declaration cannot be read is an error only if it is
            among them; None makes every such one an error.

    Raises:
        InfraError: `manifest-invalid`, `delivery-unsupported`.
    """
    paths = list(below(tree, root))
    charts = {path.rpartition("/")[0] for path in paths if path.endswith("/Chart.yaml")}
    for path in paths:
        if any(path.startswith(f"{folder}/") for folder in charts):
            continue  # part of a chart
        try:
            if helmfile.is_helmfile(path):
                yield from helmfile.read(tree, path)
            elif release_file.is_release_file(path, root) and _declares(tree, path):
                yield release_file.read(tree, path)
        except InfraError:
            if about is None or path in about:
                raise


def inputs_of(tree: Tree, release: Release, others: Collection[Release]) -> frozenset[str]:
    """The files that decide what a release installs, beside the one that declares it.

    The values files of other releases often lie in the chart's folder; they are no input of this one, unless the chart
    reads files by itself. Files of a chart that cannot be read are left out.

    Args:
        tree: the repository.
        release: the release.
        others: every release of the repository.
    """
    if not isinstance(release.chart, str):
        return frozenset(release.value_files)
    with suppress(InfraError):
        files = inputs(tree, release.chart)
        if not any(b".Files" in (tree.read(path) or b"") for path in files if "/templates/" in f"/{path}"):
            files -= {path for one in others for path in one.value_files}
        return files.union(release.value_files)
    return frozenset(release.value_files)


def _declares(tree: Tree, path: str) -> bool:
    """Whether a file is meant as a release; one that cannot be read may be."""
    documents = tree.documents(path)
    return bool(documents) and any(map(release_file.is_release, documents or ()))
