"""Where the values and the version of a declared release stand, and what must be written for others."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra_mcp.clients.helm.charts import Source as ChartSource
from infra_mcp.errors import InfraError
from infra_mcp.model.effect import FieldPath
from infra_mcp.repository.edits import SetValue
from infra_mcp.repository.helm.declared import Release
from infra_mcp.repository.layers import Below, Document, Source
from infra_mcp.repository.partial import get_path, set_path
from infra_mcp.repository.scalars import Json
from infra_mcp.repository.value import Tree


@dataclass
class Sets:
    """Values to write, by file: each outermost field that is not there yet with all that it gets."""

    tree: Tree
    places: list[tuple[str, FieldPath]] = field(default_factory=list)  # all of them, changed or not
    _wanted: dict[str, dict[str, Any]] = field(default_factory=dict)
    _paths: dict[str, list[tuple[FieldPath, Json]]] = field(default_factory=dict)

    def add(self, path: str, place: FieldPath, value: Json) -> None:
        """Set a field of a file's only document; None removes it."""
        self.places.append((path, place))
        self._paths.setdefault(path, []).append((place, value))

    def changes(self) -> list[SetValue]:
        """The changes, in the order of the files; none where everything is as wanted."""
        return [change for path, wanted in self._paths.items() for change in self._of(path, wanted)]

    def _of(self, path: str, wanted: list[tuple[FieldPath, Json]]) -> list[SetValue]:
        document: Any = self.tree.document(path, 0).object
        document = {} if document is None else document
        new: dict[FieldPath, Any] = {}  # the outermost field that is not there -> what is in it
        found = []
        for place, value in wanted:
            there, before = get_path(document, place)
            if there or value is None:
                if there and before != value:
                    found.append(SetValue(path=path, field=place, before=before, after=value))
                continue
            top = next(place[:end] for end in range(1, len(place) + 1) if not get_path(document, place[:end])[0])
            if top == place:
                new[top] = value
            else:
                holder = new.setdefault(top, {})
                if not isinstance(holder, dict):
                    raise InfraError("invalid-argument", "values: one of them is inside another.")
                set_path(holder, place[len(top) :], value)
        return found + [SetValue(path=path, field=top, before=None, after=value) for top, value in new.items()]


def set_version(sets: Sets, release: Release, version: str) -> None:
    """Set the version of a release's chart.

    Raises:
        InfraError: `invalid-argument`: the chart is in this repository, and has its version in its Chart.yaml.
    """
    if isinstance(release.chart, str):
        what = f"{release} is of the chart in {release.chart or '.'}, whose version is that in its Chart.yaml."
        raise InfraError("invalid-argument", what, next_step="Leave the version out.")
    sets.add(release.path, (*release.at, "version"), version)


def set_values(sets: Sets, release: Release, values: Mapping[FieldPath, Json], others: Collection[Release]) -> None:
    """Set values of a release where they are decided for it alone.

    A value that a file sets is set there, unless the file is another release's, too; any other one is set in the values
    that stand in the release itself, which are over all files.

    Args:
        sets: takes the values.
        release: the release.
        values: by their places in its values; None removes one.
        others: the other releases of the repository.

    Raises:
        InfraError: `shared-place`: it has only values files, and each is another release's, too.
    """
    for place, value in values.items():
        path, prefix = _place(sets.tree, release, place, others)
        there = get_path(sets.tree.document(path, 0).object, (*prefix, *place))
        sets.add(
            path,
            (*prefix, *place),
            _like(there[1], value) if there[0] else typed(sets.tree, release.chart, place, value),
        )


def _place(tree: Tree, release: Release, place: FieldPath, others: Collection[Release]) -> tuple[str, FieldPath]:
    """The file in which a value is set, and where in it the values stand."""
    shared = {path for one in others for path in one.value_files}
    inline = _inline(release)
    for source, path, prefix in reversed(_sources(tree, release)):
        if source.spots(place) and (path == release.path or path not in shared):
            return path, prefix
        if source.spots(place):
            break  # a file of several releases decides: it is set over it
    if inline is not None:
        return release.path, inline
    own = [path for path in release.value_files if path not in shared]
    if own:
        return own[-1], ()
    what = f"The values of {release} stand in files that other releases have, too: {', '.join(release.value_files)}."
    raise InfraError("shared-place", what)


def _inline(release: Release) -> FieldPath | None:
    """Where the values of the release itself stand, or go; None where its file has no place for them."""
    if not release.at:
        return ("values",) if release.path not in release.value_files else None
    maps = [number for number, one in enumerate(release.layers) if isinstance(one, dict)]
    last = len(release.layers) - 1
    if maps and maps[-1] == last:
        return (*release.at, "values", last)
    return None


def _sources(tree: Tree, release: Release) -> list[tuple[Source, str, FieldPath]]:
    """Each layer of values as a source, with its file and where in it the values stand; lowest first."""
    found: list[tuple[Source, str, FieldPath]] = []
    for number, one in enumerate(release.layers):
        if isinstance(one, str):
            value = (tree.documents(one) or [None])[0]
            found.append((Document(one, 0, value), one, ()))
        else:
            prefix: FieldPath = (*release.at, "values", number) if release.at else ("values",)
            about = Document(release.path, 0, tree.document(release.path, 0).object)
            found.append((Below(about, prefix), release.path, prefix))
    return found


def typed(tree: Tree, chart: ChartSource | str, place: FieldPath, value: Json) -> Json:
    """A value that stands nowhere yet, a text as the chart's own value is: "false" would be true in its templates.

    Args:
        tree: the repository.
        chart: of a release; of one from elsewhere the values are not known here.
        place: in its values.
        value: as it came.
    """
    path = posixpath.join(chart, "values.yaml") if isinstance(chart, str) else ""
    defaults = (tree.documents(path) or [None])[0] if path and tree.is_file(path) else None
    return _like(get_path(defaults, place)[1], value)


def _like(now: Json, value: Json) -> Json:
    """A text as what stands there is: a number, or true and false; a command line gives only texts."""
    if not isinstance(value, str) or isinstance(now, str):
        return value
    if isinstance(now, bool):
        return {"true": True, "false": False}.get(value, value)
    if isinstance(now, int) and value.removeprefix("-").isdecimal() and value.isascii():
        return int(value)
    return value
