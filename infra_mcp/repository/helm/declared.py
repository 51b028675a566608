"""A release as a repository declares it, whatever the form: chart, version, values, and the files it is made of."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from infra_mcp.clients.helm.charts import Source
from infra_mcp.clients.helm.naming import require_names
from infra_mcp.errors import InfraError
from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.lenient import joined
from infra_mcp.repository.paths import SUFFIXES
from infra_mcp.repository.value import Tree
from infra_mcp.text import named

OCI: Final = "oci://"
YAML: Final = tuple(suffix for suffix in SUFFIXES if suffix != ".json")


@dataclass(frozen=True)
class Release:
    """A declared release."""

    namespace: str
    name: str
    path: str  # the file that declares it
    chart: Source | str  # in a repository of charts, or the folder of this repository that holds it
    layers: tuple[str | dict[str, Any], ...] = field(repr=False)  # values, lowest first: files by path, or maps
    wait: bool = False  # whether Helm is to wait until objects are ready, before its post hooks
    at: FieldPath = ()  # where in its file it stands

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from other releases of a cluster."""
        return self.namespace, self.name

    @property
    def value_files(self) -> tuple[str, ...]:
        """The paths of its values files."""
        return tuple(one for one in self.layers if isinstance(one, str))

    def __str__(self) -> str:
        """As people write it."""
        return f"release {self.namespace}/{self.name}"


def made(tree: Tree, path: str, namespace: str, name: str, chart: Source | str, **more: Any) -> Release:  # noqa: ANN401 - of `Release`
    """A release whose names, chart and values files are checked.

    Raises:
        InfraError: `manifest-invalid`, with the file.
    """
    try:
        require_names(name, namespace)
        if isinstance(chart, Source):
            chart.require_plain()
    except InfraError as error:
        raise InfraError("manifest-invalid", f"{path}: {error.what}", next_step=error.next_step) from error
    found = Release(namespace, name, path, chart, **more)
    for one in found.value_files:
        if not tree.is_file(one):
            raise InfraError("manifest-invalid", f"{path} names the values file {named(one)}, which is not there.")
    if isinstance(chart, str) and not tree.is_file(posixpath.join(chart, "Chart.yaml")):
        raise InfraError("manifest-invalid", f"{path} names the chart {named(chart)}, which has no Chart.yaml.")
    return found


def chart_of(path: str, chart: str, repository: str, version: str, digest: str = "") -> Source | str:
    """The chart that a file names.

    Args:
        path: the file, for messages and relative paths.
        chart: a name, `oci://…` with the chart's name at its end, or a path that begins with a dot.
        repository: where a name is to be found; empty for the others.
        version: of a chart that is not in this repository.
        digest: of its archive, where it is pinned.

    Raises:
        InfraError: `manifest-invalid`.
    """
    if chart.startswith("."):
        folder = joined(posixpath.dirname(path), chart)
        if folder.startswith(("..", "/")):
            raise InfraError("manifest-invalid", f"{path}: the chart {named(chart)} is not in this repository.")
        if repository or digest:
            what = f"{path}: a chart of this repository has neither repository nor digest."
            raise InfraError("manifest-invalid", what)
        return folder
    if chart.startswith(OCI):
        repository, _, chart = chart.rpartition("/")
    if not repository:
        step = "Name the repository: repository: https://…, chart: oci://…/NAME, or a path: chart: ./NAME."
        raise InfraError("manifest-invalid", f"{path} does not say where chart {named(chart)} is.", next_step=step)
    return Source(repository.rstrip("/"), chart, version, digest)


def below(tree: Tree, root: str) -> Iterator[str]:
    """The path of every regular file below a root, also of those that are changed, sorted."""
    inside = f"{root}/" if root not in ("", ".") else ""
    paths = {path for path in tree.entries if path.startswith(inside)} | set(tree.changed)
    yield from (path for path in sorted(paths) if path.startswith(inside) and tree.is_file(path))
