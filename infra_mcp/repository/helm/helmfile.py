"""The releases of a plain helmfile: one that reads without running templates, environments or hooks of helmfile.

What only helmfile itself can carry out is refused by the name of its key, so that nothing is left out unsaid (the form:
helmfile.readthedocs.io, configuration).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from infra_mcp.errors import InfraError
from infra_mcp.repository.helm.declared import OCI, Release, chart_of, made
from infra_mcp.repository.lenient import as_text, items, joined, mapping, maps, name_steps
from infra_mcp.repository.value import Tree
from infra_mcp.text import named

_NAME: Final = re.compile(r"helmfile(\.ya?ml)|helmfile[^/]*\.ya?ml", re.IGNORECASE)
# Of a helmfile and of its releases: what is read, and what changes nothing of what is installed.
_TOP: Final = frozenset({"repositories", "releases", "helmDefaults", "commonLabels", "helmBinary"})
_DEFAULTS: Final = frozenset({"wait", "waitForJobs", "timeout", "atomic", "cleanupOnFail", "historyMax", "verify"})
_RELEASE: Final = frozenset({"name", "namespace", "chart", "version", "values", "labels", "wait", "installed"})
_IDLE: Final = frozenset({"timeout", "atomic", "cleanupOnFail", "historyMax", "waitForJobs", "missingFileHandler"})


def is_helmfile(path: str) -> bool:
    """Whether a file has the name of a helmfile."""
    return _NAME.fullmatch(posixpath.basename(path)) is not None


def read(tree: Tree, path: str) -> Iterator[Release]:
    """The releases of a helmfile.

    Raises:
        InfraError: `manifest-invalid`; `delivery-unsupported`: only helmfile can carry it out.
    """
    data = tree.read(path) or b""
    if b"{{" in data:
        raise _only_helmfile(path, "it has templates")
    documents = [one for one in tree.documents(path) or () if one is not None]
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise InfraError("manifest-invalid", f"{path} is no helmfile: it is not one map.")
    about = documents[0]
    _require(path, about, _TOP, "it")
    defaults = mapping(about, "helmDefaults")
    _require(path, defaults, _DEFAULTS, "helmDefaults")
    sources = {str(one.get("name")): one for one in maps(about, "repositories")}
    listed = items(about, "releases")
    for step, one in zip(name_steps(listed, "name"), listed, strict=True):
        if not isinstance(one, dict) or not one.get("name"):
            raise InfraError("manifest-invalid", f"{path} has a release without a name.")
        _require(path, one, _RELEASE | _IDLE, f"release {named(str(one['name']))}")
        if one.get("installed") is not False:
            wait = bool(one.get("wait", defaults.get("wait")))
            yield replace(_release(tree, path, one, sources, wait=wait), at=("releases", step))


def _release(tree: Tree, path: str, one: dict[str, Any], sources: dict[str, dict[str, Any]], *, wait: bool) -> Release:
    name, chart = as_text(one["name"]), as_text(one.get("chart"))
    namespace, version = as_text(one.get("namespace")), as_text(one.get("version"))
    if not namespace:
        raise _only_helmfile(path, f"release {named(name)} has no namespace: the context of a kubeconfig decides")
    layers: list[str | dict[str, Any]] = []
    for value in items(one, "values"):
        if not isinstance(value, str | dict) or (isinstance(value, str) and not value.endswith((".yaml", ".yml"))):
            raise _only_helmfile(path, f"release {named(name)} has values that are no file and no map")
        layers.append(joined(posixpath.dirname(path), value) if isinstance(value, str) else value)
    if tree.is_file(joined(posixpath.dirname(path), f"{chart}/Chart.yaml")):
        chart = f"./{chart.removeprefix('./')}" if not chart.startswith("../") else chart
    if not chart.startswith((".", OCI)):
        alias, _, own = chart.partition("/")
        source = sources.get(alias)
        if source is None or not own:
            raise InfraError("manifest-invalid", f"{path}: chart {named(chart)} is of no repository that it lists.")
        url = as_text(source.get("url"))
        if source.get("oci"):
            url = f"{OCI}{url.removeprefix(OCI)}"
        where = chart_of(path, own, url, version)
    else:
        where = chart_of(path, chart, "", version)
    return made(tree, path, namespace, name, where, layers=tuple(layers), wait=wait)


def _require(path: str, value: dict[str, Any], known: frozenset[str], what: str) -> None:
    if strange := sorted(str(key) for key, item in value.items() if key not in known and item not in (None, [], {})):
        raise _only_helmfile(path, f"{what} has {named(strange[0])}")


def _only_helmfile(path: str, why: str) -> InfraError:
    step = "Keep its delivery external, or declare the release in a file of its own: docs/helm.md."
    return InfraError("delivery-unsupported", f"{path} can only be carried out by helmfile: {why}.", next_step=step)
