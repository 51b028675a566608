"""The files of a chart of this repository, as of one tree: with what it links to and what it is made of by `file://`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Final

from infra_mcp.clients.helm import archive
from infra_mcp.errors import InfraError
from infra_mcp.repository.helm.declared import below
from infra_mcp.repository.lenient import joined
from infra_mcp.repository.value import Tree
from infra_mcp.text import named

_MAX_LINKS: Final = 40  # on the way to one file
_FILE: Final = "file://"


def chart_files(tree: Tree, folder: str, depth: int = archive.MAX_DEPTH) -> dict[str, bytes]:
    """The files of a chart, by path below its folder.

    Raises:
        InfraError: `chart-unavailable`: a link leads out of the repository, a file is too large, a chart that it is
            made of is not there.
    """
    files = _read(tree, dict(_paths(tree, folder)), folder)
    what = f"The chart in {folder or '.'}"
    for one in archive.dependencies(files, what):
        origin, name = str(one.get("repository") or ""), str(one.get("name") or "")
        if not origin.startswith(_FILE):
            continue
        inner = joined(folder, origin.removeprefix(_FILE))
        if not depth or inner.startswith("..") or not tree.is_file(posixpath.join(inner, "Chart.yaml")):
            raise InfraError(
                "chart-unavailable", f"{what} needs {named(origin)}, where no chart of this repository is."
            )
        if not any(path.startswith(f"charts/{name}/") for path in files):
            files |= {f"charts/{name}/{path}": data for path, data in chart_files(tree, inner, depth - 1).items()}
    return files


def inputs(tree: Tree, folder: str) -> frozenset[str]:
    """Every file of the repository that a chart is made of.

    Raises:
        InfraError: as `chart_files`.
    """
    found = {real for _, real in _paths(tree, folder)}
    files = _read(tree, {path: real for path, real in _paths(tree, folder) if path in _ABOUT}, folder)
    for one in archive.dependencies(files, f"The chart in {folder or '.'}"):
        origin = str(one.get("repository") or "")
        inner = joined(folder, origin.removeprefix(_FILE)) if origin.startswith(_FILE) else ".."
        if not inner.startswith("..") and inner != folder:
            found |= inputs(tree, inner)
    return frozenset(found)


_ABOUT: Final = frozenset({"Chart.yaml", "requirements.yaml"})


def _read(tree: Tree, paths: dict[str, str], folder: str) -> dict[str, bytes]:
    found = tree.read_all(set(paths.values()))
    files = {}
    for path, real in paths.items():
        data = found[real]
        if data is None:
            raise InfraError("chart-unavailable", f"The chart in {folder or '.'}: {named(path)} cannot be read.")
        files[path] = data
    return files


def _paths(tree: Tree, folder: str) -> Iterator[tuple[str, str]]:
    """Each path in a chart, and the path of the repository that its bytes are at."""
    inside = f"{folder}/" if folder else ""
    for path in below(tree, folder):
        yield path.removeprefix(inside), path
    for link in sorted(path for path in tree.links if path.startswith(inside)):
        target = _followed(tree, link)
        if tree.is_file(target):
            yield link.removeprefix(inside), target
        elif hits := list(below(tree, target)):
            yield from ((f"{link}{path.removeprefix(target)}".removeprefix(inside), path) for path in hits)
        else:
            what = f"The chart in {folder or '.'}: the link {named(link.removeprefix(inside))} leads to no file of this"
            raise InfraError("chart-unavailable", f"{what} repository.")


def _followed(tree: Tree, path: str) -> str:
    """Where a link leads in the repository; a path that is no file where it leads out, or round and round."""
    for _ in range(_MAX_LINKS):
        parts = path.split("/")
        above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        link = next((one for one in above if one in tree.links), None)
        if link is None:
            return path
        path = joined(posixpath.dirname(link), posixpath.join(tree.links[link], path[len(link) :].lstrip("/")))
        if path.startswith(("..", "/")) or not path:
            break
    return "../"
