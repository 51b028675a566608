"""The files of a repository by their names: which of them count. Remembered while no file comes, goes or is renamed."""

from __future__ import annotations

import posixpath
from bisect import bisect_left
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from infra_mcp.repository.census.environments import ENVIRONMENTS
from infra_mcp.repository.kustomization import is_kustomization
from infra_mcp.repository.lenient import lineage
from infra_mcp.repository.load import remembered
from infra_mcp.repository.paths import SAMPLES, is_chart
from infra_mcp.repository.value import Tree

_OF_MANY: Final = frozenset(
    {"apps", "applications", "components", "services", "releases", "namespaces", "environments"}
)


class Listing:
    """The paths of a commit.

    Args:
        modes: the mode of each file, by its path.
        named: folders that policy names as roots: they are never left out.
    """

    def __init__(self, modes: Mapping[str, str], named: tuple[str, ...]) -> None:
        self.modes = modes
        self.memo: dict[Any, Any] = {}  # what readers of these files made of them, with what they made it of
        self._named = {above for root in named for above in lineage(root)}

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The path of every regular file that counts, sorted: not in hidden folders, tests, samples, templates."""
        return tuple(path for path in self.regular if self.reason(posixpath.dirname(path)) is None)

    @cached_property
    def regular(self) -> tuple[str, ...]:
        """The path of every regular file whose name can be shown, sorted."""
        return tuple(sorted(path for path, mode in self.modes.items() if mode.startswith("100") and path.isprintable()))

    def reason(self, folder: str) -> str | None:
        """Why the files of a folder do not count: `tests and samples`, `parts of charts`; None where they do."""
        known, missing = self._reasons, []
        while folder not in known:
            missing.append(folder)
            folder = posixpath.dirname(folder)
        for one in reversed(missing):
            known[one] = None if one in self._named else known[posixpath.dirname(one)] or self._own_reason(one)
        return known[missing[0] if missing else folder]

    @cached_property
    def _reasons(self) -> dict[str, str | None]:
        return {"": None}

    def _own_reason(self, folder: str) -> str | None:
        above, _, last = folder.rpartition("/")
        if last in {"templates", "charts", "crds"} and above in self._all_charts:
            return "parts of charts"
        if last in {"files", "templates"} and "/roles/" in f"/{above}":  # Ansible's
            return "parts of Ansible roles"
        if not _is_left_out(last):
            return None
        # Beside a folder of an environment `test` is one, too, and in a folder of apps it is an app.
        among = above.rpartition("/")[2] in _OF_MANY
        is_one = last == "test" and (among or above in self._beside_environments)
        return None if is_one else "hidden folders" if last[0] == "." else "tests, samples and vendored files"

    @cached_property
    def _beside_environments(self) -> frozenset[str]:
        """The folders that hold the folder of an environment other than `test`."""
        split = (folder.rpartition("/") for folder in self.folders)
        return frozenset(above for above, _, name in split if ENVIRONMENTS.fullmatch(name) and not _is_left_out(name))

    @cached_property
    def _all_charts(self) -> frozenset[str]:
        return frozenset(posixpath.dirname(path) for path in self.modes if is_chart(path))

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every folder with files, without the top: that one is in every repository."""
        found: set[str] = {""}
        for path in self.modes:
            folder = posixpath.dirname(path)
            while folder not in found:
                found.add(folder)
                folder = posixpath.dirname(folder)
        return frozenset(found - {""})

    @cached_property
    def charts(self) -> dict[str, str]:
        """The path of each Chart.yaml that counts, by its folder."""
        return {posixpath.dirname(path): path for path in self.paths if is_chart(path)}

    @cached_property
    def kustomizations(self) -> dict[str, str]:
        """The path of each kustomization, by its folder; also in folders that the census leaves out."""
        return {posixpath.dirname(path): path for path in self.modes if is_kustomization(path)}

    @cached_property
    def kustomized(self) -> frozenset[str]:
        """The folders of kustomizations that count."""
        return frozenset(posixpath.dirname(path) for path in self.paths if is_kustomization(path))

    def below(self, folder: str) -> tuple[str, ...]:
        """The paths below a folder that count."""
        if not folder:
            return self.paths
        first, last = bisect_left(self.paths, f"{folder}/"), bisect_left(self.paths, f"{folder}0")  # 0 is after /
        return self.paths[first:last]


def listing_of(tree: Tree, named: tuple[str, ...]) -> Listing:
    """The listing of a tree's commit; the one of the last commit where the same files and links are there."""
    modes = {path: entry.mode for path, entry in tree.entries.items()}
    return remembered(tree.memo, "listing", (named, modes, tree.links), lambda: Listing(modes, named))


def _is_left_out(name: str) -> bool:
    """Whether the files of a folder of this name do not count; in `ci` charts have values for their tests."""
    return name == "ci" or SAMPLES.fullmatch(name) is not None
