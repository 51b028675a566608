"""The files of a repository by what they are. A file is parsed at the first question about its content."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar, cast

from infra_mcp.clients.git import Entry
from infra_mcp.errors import InfraError
from infra_mcp.repository.census.built import Built, objects_of
from infra_mcp.repository.census.listing import Listing, listing_of
from infra_mcp.repository.kustomize import MAX_LINKS
from infra_mcp.repository.layers import Document, Source
from infra_mcp.repository.lenient import joined
from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.repository.paths import SUFFIXES
from infra_mcp.repository.value import Tree

T = TypeVar("T")
LARGEST: Final = 1 << 20  # bytes; larger files are data, dashboards for one
SMALL: Final = 4096  # bytes, of a file that holds one version
_KIND = re.compile(rb"""(?:^|[{,])[ \t]*(?:["']?kind["']?[ \t]*:)[ \t]*["']?([A-Za-z][A-Za-z0-9]*)""", re.MULTILINE)
_ENCRYPTED = re.compile(rb"""^(?:sops:|[ \t]*"sops"[ \t]*:)|\A\$ANSIBLE_VAULT|\A-----BEGIN AGE""", re.MULTILINE)
_NAMES_CHART = re.compile(rb"^chart[ \t]*:", re.MULTILINE)
_VALUES_FILES = re.compile(rb"""values[-_]?files?["']?[ \t]*:""", re.IGNORECASE)


@dataclass(frozen=True)
class _File:
    """What is remembered of a blob."""

    kinds: frozenset[str]
    encrypted: bool
    lists_values: bool = False
    names_chart: bool = False


class Index:
    """A repository's files, for the census of one tree.

    Args:
        tree: the repository.
        named: folders that policy names as roots: they are never left out.
    """

    def __init__(self, tree: Tree, named: Sequence[str] = ()) -> None:
        self.tree = tree
        self._named = tuple(root for root in named if root)
        self._found: dict[tuple[Any, ...], dict[str, list[Built]]] = {}  # objects by kinds and name

    @cached_property
    def listing(self) -> Listing:
        """The files by their names."""
        return listing_of(self.tree, self._named)

    @property
    def paths(self) -> tuple[str, ...]:
        """The path of every regular file that counts, sorted."""
        return self.listing.paths

    @property
    def charts(self) -> dict[str, str]:
        """The path of each Chart.yaml, by its folder."""
        return self.listing.charts

    @cached_property
    def charts_named(self) -> dict[str, list[str]]:
        """The folders of charts by a name of theirs: the folder's, or the one that they say."""
        found: dict[str, list[str]] = {}
        for folder, path in self.charts.items():
            for name in {posixpath.basename(folder), str(self.document(path).get("name") or "")}:
                found.setdefault(name, []).append(folder)
        return found

    @property
    def kustomizations(self) -> dict[str, str]:
        """The path of each kustomization, by its folder; also in folders that the census leaves out."""
        return self.listing.kustomizations

    @cached_property
    def roots(self) -> frozenset[str]:
        """The folders of kustomizations that count and that no other kustomization reads."""
        from infra_mcp.repository.census.composition import named_by  # noqa: PLC0415 - it reads this index

        return self.listing.kustomized.difference(*(named_by(self, folder) for folder in self.kustomizations))

    def below(self, folder: str) -> tuple[str, ...]:
        """The paths below a folder that count."""
        return self.listing.below(folder)

    def has_folder(self, folder: str) -> bool:
        """Whether a folder has files that count."""
        return not folder or bool(self.below(folder))

    @cached_property
    def _files(self) -> dict[str, _File]:
        memo = self.tree.memo
        paths = [path for path in self.paths if path.endswith(SUFFIXES)]
        unknown = {path: self._oid(path) for path in paths}
        missing = [path for path, oid in unknown.items() if ("file", oid) not in memo]
        for path, data in self.tree.read_all(missing).items():
            memo["file", unknown[path]] = _look(data)
        return {path: memo["file", oid] for path, oid in unknown.items()}

    def _oid(self, path: str) -> str:
        return self.tree.entries[path].oid

    def remembered(self, key: object, make: Callable[[], T], read: Callable[[T], Iterable[str]]) -> T:
        """What was made at a former commit, where the same files are there, with the same content of those it reads.

        It is shared: what it holds is never changed.

        Args:
            key: names it.
            make: makes it; it depends on nothing but this index and its key.
            read: the files whose content it was made of.
        """
        known = self.listing.memo.get(key)
        if known is None or known[1] != self._oids(known[0]):
            made = make()
            files = tuple(read(made))
            known = self.listing.memo[key] = files, self._oids(files), made
        return cast("T", known[2])

    def _oids(self, paths: Iterable[str]) -> list[Entry | None]:
        return list(map(self.tree.entries.get, paths))

    @cached_property
    def encrypted(self) -> tuple[str, ...]:
        """The path of each file that sops, ansible-vault or age encrypted."""
        return tuple(path for path, file in self._files.items() if file.encrypted)

    def is_encrypted(self, path: str) -> bool:
        """Whether a file that counts is encrypted."""
        return path in self._files and self._files[path].encrypted

    def saying(self, *kinds: str) -> tuple[str, ...]:
        """The paths of files with a line that says one of these kinds."""
        return tuple(sorted({path for kind in kinds for path in self._by_kind.get(kind, ())}))

    def listing_values(self) -> tuple[str, ...]:
        """The paths of files with a key that names values files."""
        return tuple(path for path, file in self._files.items() if file.lists_values)

    def naming_charts(self) -> tuple[str, ...]:
        """The paths of files with a line at their top that names a chart."""
        return tuple(path for path, file in self._files.items() if file.names_chart)

    def says_kinds(self, path: str) -> bool:
        """Whether a line of a file says a kind."""
        return path in self._files and bool(self._files[path].kinds)

    @property
    def every_kind(self) -> frozenset[str]:
        """Every kind that a line of a file says."""
        return frozenset(self._by_kind)

    @cached_property
    def _by_kind(self) -> dict[str, list[str]]:
        """The paths of the files with a line that says a kind, by the kind."""
        found: dict[str, list[str]] = {}
        for path, file in self._files.items():
            for kind in file.kinds:
                found.setdefault(kind, []).append(path)
        return found

    def of_kinds(self, kinds: Mapping[str, str]) -> Iterator[Built]:
        """Every object of these kinds, as its file has it; those of one name by path.

        Args:
            kinds: for each kind the API group that it must have.
        """
        yield from (one for found in self._of_kinds(kinds).values() for one in found)

    def named(self, kinds: Mapping[str, str], name: str) -> Sequence[Built]:
        """Those with this name, by path."""
        return self._of_kinds(kinds).get(name, ())

    def _of_kinds(self, kinds: Mapping[str, str]) -> dict[str, list[Built]]:
        """By name, in the order of the paths."""
        key = tuple(kinds.items())
        if key not in self._found:
            found = self._found[key] = {}
            for one in (one for path in self.saying(*kinds) for one in self.objects(path)):
                if one.name and kinds.get(one.kind) == one.group:
                    found.setdefault(one.name, []).append(one)
        return self._found[key]

    def documents(self, path: str) -> list[Any]:
        """The values of a file's documents; none where it cannot be read."""
        if not self.tree.is_file(path):
            return []
        key = ("documents", self._oid(path))
        if key not in self.tree.memo:
            data = self.tree.read(path)
            self.tree.memo[key] = _values(data) if data is not None else []
        found: list[Any] = self.tree.memo[key]
        return found

    def small(self, paths: Iterable[str]) -> dict[str, list[Any]]:
        """The values of small files' documents, read in one go; none of one that is large or cannot be read."""
        keys = {path: ("small", self._oid(path)) for path in paths}
        memo = self.tree.memo
        for path, data in self.tree.read_all([path for path, key in keys.items() if key not in memo]).items():
            memo[keys[path]] = _values(data) if data is not None and len(data) <= SMALL else []
        return {path: memo[key] for path, key in keys.items()}

    def unread(self, word: str) -> list[str]:
        """Why files that have a word in them cannot be read, each with its name and the line."""
        found = []
        for path, data in self.tree.read_all([path for path in self.paths if path.endswith(SUFFIXES)]).items():
            if data is not None and word.encode() in data and len(data) > LARGEST:
                found.append(f"{path}: it has more than {LARGEST} bytes.")
            elif data is not None and word.encode() in data and not self.documents(path):
                try:
                    self.tree.documents(path)
                except InfraError as error:
                    found.append(error.what)
        return found

    def real(self, path: str) -> str:
        """The path with every symbolic link on the way followed; one that leads out of the repository names no file."""
        now, links = path, self.tree.links
        for _ in range(MAX_LINKS if links else 0):
            parts = now.split("/")
            above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
            link = next((one for one in above if one in links), None)
            if link is None:
                return now
            rest = now[len(link) :].lstrip("/")
            now = joined(posixpath.dirname(link), posixpath.join(links[link], rest))
        return path if links else now

    def objects(self, path: str) -> tuple[Built, ...]:
        """The objects of a file."""

        def make() -> tuple[Built, ...]:
            return tuple(objects_of(path, self.documents(path)))

        return self.remembered(("objects", path), make, lambda _: (path,))

    def sources(self, path: str) -> list[Source]:
        """A file as a source of values: its first document; none where it cannot be read."""
        return [Document(path, 0, value) for value in self.documents(path)[:1]]

    def document(self, path: str) -> dict[str, Any]:
        """A file's first map; empty where it has none."""
        return next((one for one in self.documents(path) if isinstance(one, dict)), {})


def _look(data: bytes | None) -> _File:
    if data is None or len(data) > LARGEST:
        return _File(frozenset(), encrypted=False)
    kinds = frozenset(found.decode() for found in _KIND.findall(data))
    found = (pattern.search(data) is not None for pattern in (_ENCRYPTED, _VALUES_FILES, _NAMES_CHART))
    return _File(kinds, *found)


def _values(data: bytes) -> list[Any]:
    try:
        return values(compose(decode(data)))
    except Unreadable:
        return []
