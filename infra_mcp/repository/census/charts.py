"""Charts that nothing in the repository delivers, with values by environment: `values.yaml` < `values-prod.yaml`."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from typing import Final

from infra_mcp.repository.census.chart import dependencies, files_of, local_chart, name_of
from infra_mcp.repository.census.entries import Entry, cluster_of
from infra_mcp.repository.census.environments import ENVIRONMENTS, is_environment
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.release import Release
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.lenient import nearest

# Where in a chart's folder the values of an environment stand.
_VALUES: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"values[-_.](?P<word>[^/]+)\.ya?ml",
        r"(?P<word>[^/]+)[-_.]values\.ya?ml",
        r"(?:values|envs?|environments?|config|deploy)/(?:values[-_.])?(?P<word>[^/]+)\.ya?ml",
        r"(?:values|envs?|environments?|config|deploy)/(?P<word>[^/]+)/values\.ya?ml",
    )
)
_FOLDER = re.compile(r"(?P<word>[^/]+)/values\.ya?ml", re.IGNORECASE)
_SECRET = re.compile(r"(?:.*[-_./])?(?:enc|secrets?|sops)(?:[-_.].*)?", re.IGNORECASE)


def entries(index: Index, read: Collection[str]) -> list[Entry]:
    """An entry for each chart that nothing else reads, and for each of its environments."""
    inner = set(_inner(index))
    folders = [
        folder
        for folder, path in index.charts.items()
        if path not in read and folder not in inner and index.document(path).get("type") != "library"
    ]
    named = {folder: dict(_values_files(index, folder)) for folder in folders}
    common = Counter(word for words in named.values() for word in words)
    found = []
    for folder, files in named.items():
        known = any(map(ENVIRONMENTS.fullmatch, files))
        kept = {word: path for word, path in files.items() if path not in read and (known or common[word] > 1)}
        environments: list[tuple[str | None, str | None]] = [*sorted(kept.items())] or [(None, None)]
        for word, path in environments:
            units = partial(_units, index, folder, path)
            mine = files_of(index, folder) | ({path} if path else set())
            cluster = cluster_of(path or folder)
            found.append(Entry("none", path or folder, "", (), mine, cluster, environment=word, parts=units))
    return found


def _inner(index: Index) -> Iterator[str]:
    """Charts that other charts are made of."""
    for folder in index.charts:
        for one in dependencies(index, folder):
            origin = str(one.value.get("repository") or "")
            if origin.startswith("file:"):
                inner = local_chart(index, folder, origin.removeprefix("file:").removeprefix("//"))
                yield from [inner] if inner is not None else []


def _values_files(index: Index, folder: str) -> Iterator[tuple[str, str]]:
    """The environments of a chart, each with the path of its values."""
    inside = f"{folder}/" if folder else ""
    for path in index.below(folder):
        rest = path.removeprefix(inside)
        if rest == "values.yaml" or index.is_encrypted(path) or _SECRET.fullmatch(rest):
            continue
        found = next((match for one in _VALUES if (match := one.fullmatch(rest))), None)
        if found is None and (match := _FOLDER.fullmatch(rest)) and ENVIRONMENTS.fullmatch(match["word"]):
            found = match
        if found and is_environment(found["word"]) and nearest(posixpath.dirname(path), index.charts) == folder:
            yield found["word"], path


def _units(index: Index, folder: str, path: str | None, entry: Entry) -> Iterator[Unit]:
    release = Release(index, folder, [path] if path else [])
    app, where, aliases = name_of(index, folder), path or index.charts[folder], (posixpath.basename(folder),)
    read = release.holds, release.replicas
    unit = Unit(app, "Chart", app, None, where, entry, *read, aliases=aliases, release=lambda: release)
    if unit.holds or unit.replicas():
        yield unit
