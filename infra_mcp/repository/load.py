"""Reads a commit's manifests into a tree, each blob once.

A file is parsed at the first question about an object that it could hold: most files of a large repository never are.
"""

from __future__ import annotations

import posixpath
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from anyio import to_thread

from infra_mcp.clients.git import Entry, Git
from infra_mcp.repository.kustomization import is_kustomization, parse_kustomization
from infra_mcp.repository.layout import governed, patches
from infra_mcp.repository.lenient import lineage
from infra_mcp.repository.nodes import LARGEST, TOO_LARGE
from infra_mcp.repository.paths import SUFFIXES, depth, is_chart, normal
from infra_mcp.repository.value import Base, Manifest, Tree
from infra_mcp.text import one_line

T = TypeVar("T")
KEPT_BASES = 8
KEPT_BYTES = 64 * 1024 * 1024  # of manifests, over all commits


@dataclass
class _Kept:
    """The cache of one repository. Blobs and commits never change, so no entry grows stale."""

    blobs: dict[str, bytes | None] = field(default_factory=dict)  # None for one that is too large
    size: int = 0
    manifests: dict[tuple[str, str, str], Manifest] = field(default_factory=dict)  # by path, blob id and cluster
    memo: dict[Any, Any] = field(default_factory=dict)
    bases: OrderedDict[tuple[str, tuple[str, ...], tuple[str, ...], str], Base] = field(default_factory=OrderedDict)


_kept: WeakKeyDictionary[Git, _Kept] = WeakKeyDictionary()


async def load(git: Git, commit: str, roots: Sequence[str], cluster: str, plain: Sequence[str] = ()) -> Tree:
    """The tree of a commit. Objects are found in every `.yaml`, `.yml` and `.json` file under the roots.

    Charts, hidden folders and symlinks hold none. The tree refuses objects that kustomize builds. An unreadable file
    matters only to a question about an object that it mentions. The bytes of all other files are read when asked for.

    Args:
        git: the repository.
        commit: the commit.
        roots: folders of the repository with manifests; `.` is all of it.
        cluster: the name of the cluster that the objects are for.
        plain: folders of another delivery: their files hold no objects.

    Raises:
        InfraError: `git-failed`; `policy-invalid` for a root outside the repository.
    """
    below, others = tuple(normal(root) for root in roots), tuple(normal(root) for root in plain)
    kept = _kept.setdefault(git, _Kept())
    which = commit, below, others, cluster
    if which not in kept.bases:
        listed = await git.list_tree(commit, ["."])
        kept.bases[which] = await to_thread.run_sync(_base, git, kept, listed, *which)
        while len(kept.bases) > KEPT_BASES:
            kept.bases.popitem(last=False)
    kept.bases.move_to_end(which)
    # `fetch` holds the repository, which the cache must not keep alive.
    return Tree(replace(kept.bases[which], plain=others, memo=kept.memo, fetch=partial(_fetch, git, kept)))


def _fetch(git: Git, kept: _Kept, oids: Sequence[str]) -> dict[str, bytes | None]:
    """The content of these blobs; only unknown ones are read."""
    known = {oid: kept.blobs[oid] for oid in oids if oid in kept.blobs}
    missing = [oid for oid in dict.fromkeys(oids) if oid not in known]
    if not missing:
        return known
    fresh = dict.fromkeys(missing) | git.read_blobs_now(missing, LARGEST)
    size = sum(len(data or b"") for data in fresh.values())
    kept.size += size
    if kept.size > KEPT_BYTES:
        kept.manifests, kept.blobs, kept.memo, kept.size = {}, {}, {}, size
    kept.blobs.update(fresh)
    return known | fresh


def remembered(memo: dict[Any, Any], key: object, given: object, make: Callable[[], T]) -> T:
    """What was made for the last commit where it was made of the same, else what is made now.

    Args:
        memo: of a repository.
        key: names the question.
        given: everything that the answer depends on.
        make: answers.
    """
    known = memo.get(key)
    if known is None or known[0] != given:
        known = memo[key] = given, make()
    return cast("T", known[1])


def manifests_of(listed: Mapping[str, Entry], roots: Sequence[str]) -> list[str]:
    """The paths of manifests: plain files of the right suffix, in no chart and no hidden folder."""
    templates = {path.rpartition("/templates/")[0] for path in listed if "/templates/" in f"/{path}"}
    # In small letters it may also be the manifest of something called chart.
    named = [(posixpath.dirname(path), posixpath.basename(path)) for path in listed if is_chart(path)]
    charts = {folder for folder, name in named if name.startswith("Chart.") or folder in templates}

    @cache
    def is_left_out(folder: str) -> bool:
        return _is_hidden(folder, roots) or not charts.isdisjoint(lineage(folder))

    return [
        path
        for path, entry in sorted(listed.items())
        if path.endswith(SUFFIXES)
        and entry.mode.startswith("100")
        and not is_kustomization(path)
        and not posixpath.basename(path).startswith(".")
        and not is_left_out(posixpath.dirname(path))
    ]


def _base(
    git: Git,
    kept: _Kept,
    listed: Mapping[str, Entry],
    commit: str,
    roots: tuple[str, ...],
    others: tuple[str, ...],
    cluster: str,
) -> Base:
    modes = {path: entry.mode for path, entry in listed.items()}
    paths = remembered(kept.memo, ("paths", roots, others), modes, lambda: _paths(listed, roots, others))
    read = _fetch(git, kept, [listed[path].oid for path in paths])
    kustomizations = {path: read[listed[path].oid] or b"" for path in paths if is_kustomization(path)}

    def layout() -> tuple[Collection[str], Mapping[str, str]]:
        changes = patches(kustomizations)
        return changes, governed(kustomizations, [one for one in paths if one in changes or one not in kustomizations])

    said = paths, {path: parse_kustomization(data).references for path, data in kustomizations.items()}
    changes, kustomized = remembered(kept.memo, ("layout", roots, others), said, layout)
    manifests: dict[str, Manifest] = {}
    for path in paths:
        key = (path, oid := listed[path].oid, cluster)
        if path in changes:
            manifests[path] = Manifest(read[oid] or b"")
        elif path not in kustomizations:
            manifests[path] = kept.manifests[key] = kept.manifests.get(key) or _manifest(path, read[oid], cluster)
    return Base(commit=commit, cluster=cluster, roots=roots, entries=listed, manifests=manifests, kustomized=kustomized)


def _paths(listed: Mapping[str, Entry], roots: tuple[str, ...], others: tuple[str, ...]) -> list[str]:
    """Every kustomization, since one outside the roots changes objects inside of them, too, and the manifests."""
    inside = {path: entry for path, entry in listed.items() if depth(path, roots) > depth(path, others)}
    return [path for path in listed if is_kustomization(path)] + manifests_of(inside, roots)


def _manifest(path: str, data: bytes | None, cluster: str) -> Manifest:
    refusal = None
    if data is None:
        refusal = f"{one_line(path)}, line 1: {TOO_LARGE}."
    elif not path.isprintable():  # nor can it be written to, nor recorded
        refusal = f"{one_line(path)}, line 1: the path is not printable text in UTF-8."
    return Manifest(data or b"", path, cluster, refusal)


def _is_hidden(folder: str, roots: Sequence[str]) -> bool:
    root = max((root for root in roots if not root or f"{folder}/".startswith(f"{root}/")), key=len, default="")
    return any(part.startswith(".") for part in folder.removeprefix(root).split("/"))
