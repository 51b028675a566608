"""Files that hold the version of one app in one environment, and nothing else to speak of: `image-tags/prod/web`.

They are known by their shape: small, with one version, and beside them a folder with files of the same names.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from itertools import islice
from typing import Final

from infra_mcp.repository.census.entries import Entry, cluster_of
from infra_mcp.repository.census.environments import ENVIRONMENTS
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.kustomization import is_kustomization
from infra_mcp.repository.layers import Document
from infra_mcp.repository.locator.holds import Hold, images_in_values, is_scalar
from infra_mcp.repository.locator.places import places_of
from infra_mcp.repository.scalars import Json

_SUFFIXES: Final = ("", ".yaml", ".yml", ".json")
_MOST_FILES: Final = 10_000
_MOST_KEYS: Final = 8
_DEEPEST: Final = 2
# A file of nothing but a version. A number alone may be anything.
_VERSION = re.compile(r"v?\d+(?:\.\d+)+(?:[-+.][\w.+-]*)?|v\d+|[0-9a-f]{7,40}")
_OTHERS = re.compile(
    r"(?:.*[-_.])?(?:values|chart|kustomization|readme|license|makefile|dockerfile)(?:[-_.].*)?", re.IGNORECASE
)


def entries(index: Index, read: Collection[str]) -> list[Entry]:
    """An entry for each such file that nothing else reads."""
    found = []
    for app, environment, path in _files(index, read):
        files, parts = frozenset({path}), partial(_units, index, app, path)
        found.append(Entry("none", path, "", (), files, cluster_of(path), environment=environment, parts=parts))
    return found


def _files(index: Index, read: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """App, environment and path of each file, which is `…/ENVIRONMENT/APP` or `…/APP/ENVIRONMENT`."""
    folders: dict[str, dict[str, str]] = {}
    for path in islice(_candidates(index, read), _MOST_FILES):
        folder, _, base = path.rpartition("/")
        folders.setdefault(folder, {})[posixpath.splitext(base)[0]] = path
    common = Counter((folder.rpartition("/")[0], name) for folder, names in folders.items() for name in names)
    wanted = [
        (folder, name, path)
        for folder, names in folders.items()
        for name, path in names.items()
        if common[folder.rpartition("/")[0], name] > 1
    ]
    read_now = index.small(path for _, _, path in wanted)
    for folder, name, path in wanted:
        last = folder.rpartition("/")[2]
        if _holds(path, read_now[path]):
            swapped = ENVIRONMENTS.fullmatch(name) and not ENVIRONMENTS.fullmatch(last)
            yield (last, name, path) if swapped else (name, last, path)


def _candidates(index: Index, read: Collection[str]) -> Iterator[str]:
    named = index.remembered("tags", lambda: tuple(filter(_is_named_so, index.paths)), lambda _: ())
    yield from (path for path in named if path not in read and not index.says_kinds(path))


def _is_named_so(path: str) -> bool:
    base = posixpath.basename(path)
    is_other = _OTHERS.fullmatch(base) or is_kustomization(path)
    return "/" in path and posixpath.splitext(base)[1] in _SUFFIXES and not is_other


def _units(index: Index, app: str, path: str, entry: Entry) -> Iterator[Unit]:
    documents = index.small([path])[path]
    yield Unit(app, "Tag", app, None, path, entry, partial(_holds, path, documents))


def _holds(path: str, documents: list[Json]) -> list[Hold]:
    """The version of a file; none where it holds something else, or more."""
    value = documents[0] if len(documents) == 1 else None
    source = Document(path, 0, value)
    if isinstance(value, str) and _VERSION.fullmatch(value):
        return [Hold("version", "the version", places_of("plain", source.spots(())), leads=True)]
    if not isinstance(value, dict) or not _is_small(value):
        return []
    found = list(images_in_values(source, "the file"))
    for key in ("tag", "version"):
        if not found and is_scalar(value.get(key)):
            found = [Hold("version", key, places_of("tag", source.spots((key,))))]
    return found if len(found) == 1 else []


def _is_small(value: Json, depth: int = 0) -> bool:
    if not isinstance(value, dict):
        return not isinstance(value, list)
    return len(value) <= _MOST_KEYS and depth < _DEEPEST and all(_is_small(one, depth + 1) for one in value.values())
