"""The infra repository as a value: one commit's files, the objects in its manifests, and the files to write on top."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from infra_mcp.clients.git import Entry
from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.hcl import source as hcl
from infra_mcp.repository.manifest import Manifest, literals
from infra_mcp.repository.nodes import Unreadable, compose, decode, values
from infra_mcp.repository.paths import SAMPLES, SUFFIXES, below, depth
from infra_mcp.repository.render import Found, Located

__all__ = ["Base", "Home", "Located", "Manifest", "NotInRepository", "Tree"]

LINK = "120000"  # the mode of a symbolic link
NAMED = 3  # files named in a message; the rest is counted
BY_HAND = "Change it by hand, where kustomize builds it from."


class NotInRepository(InfraError):  # noqa: N818 - as its code
    """No root has the object."""

    def __init__(self, ref: ObjectRef, what: str, *, next_step: str | None = None) -> None:
        super().__init__("not-in-repository", what, next_step=next_step)
        self.ref = ref


class Home(NamedTuple):
    """What policy says of the workload of one of its apps."""

    app: str
    ref: ObjectRef
    files: tuple[str, ...] = ()  # the files or folders that hold it, where policy names such

    def holds(self, path: str) -> bool:
        """Whether a file is one that policy names."""
        return any(path == file or path.startswith(f"{file}/") for file in self.files)


@dataclass(frozen=True)
class Base:
    """The files of a commit; shared by all trees built on it."""

    commit: str
    cluster: str
    roots: tuple[str, ...]
    entries: Mapping[str, Entry]  # every file and symlink of the commit, by path
    manifests: Mapping[str, Manifest]  # those under the roots, with their bytes
    # Reads the bytes of other files by blob id; None for one that is too large. Blocks; only called in a thread.
    fetch: Callable[[Sequence[str]], Mapping[str, bytes | None]] = dict.fromkeys
    plain: tuple[str, ...] = ()  # the roots of other deliveries, whose new files are no manifests
    kustomized: Mapping[str, str] = field(default_factory=dict)  # path of a manifest: the kustomization it belongs to
    homes: tuple[Home, ...] = ()
    # What readers of the tree remember of a blob or of this commit; shared by the commits of a repository.
    memo: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    _known: dict[tuple[str, str], list[str]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def links(self) -> Mapping[str, str]:
        """Every symbolic link, with its target."""
        oids = {path: entry.oid for path, entry in self.entries.items() if entry.mode == LINK}
        targets = self.fetch(list(dict.fromkeys(oids.values()))) if oids else {}
        return {path: (targets[oid] or b"").decode("utf-8", "surrogateescape") for path, oid in oids.items()}

    @cached_property
    def regular(self) -> frozenset[str]:
        """The path of every regular file."""
        return frozenset(path for path, entry in self.entries.items() if entry.mode.startswith("100"))

    def saying(self, kind: str, name: str) -> list[str]:
        """The files that could hold an object of this kind and name; they are looked through once."""
        if (kind, name) not in self._known:
            words, files = literals([kind, name]), self.manifests.items()
            self._known[kind, name] = [path for path, file in files if file.refusal or file.could_hold(words)]
        return self._known[kind, name]


class Tree:
    """Manifests by path, and objects by identity. A value: writing gives another tree.

    Objects handed out are copies; changing them changes no tree.
    """

    def __init__(self, base: Base, changed: Mapping[str, Manifest | None] | None = None) -> None:
        self._base = base
        self._changed = dict(changed or {})

    def homed(self, homes: Iterable[Home]) -> Tree:
        """The tree in which policy's workloads are the objects that their files give no namespace, or hold twice.

        Without a namespace in its file, a workload is the only object of its kind and name, if no other app of policy
        has these; or the one in the file that policy names.
        """
        return Tree(replace(self._base, homes=tuple(homes)), self._changed)

    @property
    def base(self) -> str:
        """The commit it is built on."""
        return self._base.commit

    @property
    def cluster(self) -> str:
        """The cluster its objects are for."""
        return self._base.cluster

    @property
    def changed(self) -> Mapping[str, bytes | None]:
        """New content by path, for a commit on top of the base; None for a deleted file."""
        return {path: file.data if file else None for path, file in self._changed.items()}

    @property
    def broken(self) -> Mapping[str, str]:
        """The problem of each manifest that cannot be read, by path."""
        return {path: file.problem for path, file in self._files().items() if file.problem}

    def unread(self, kind: str, name: str) -> list[str]:
        """The problems of unreadable files that contain this kind and name, in any namespace."""
        return [file.problem for file in self._saying(kind, name) if file.problem]

    def read(self, path: str) -> bytes | None:
        """The bytes of a file, or None when there is none, or it is larger than `nodes.LARGEST`."""
        return self.read_all([path])[path]

    def read_all(self, paths: Iterable[str]) -> dict[str, bytes | None]:
        """The bytes of several files, in one round trip; None where there is none, or it is too large."""
        read: dict[str, bytes | None] = {}
        unread: dict[str, str] = {}
        for path in paths:
            if path in self._changed or path in self._base.manifests:
                file = self._file(path)
                read[path] = file.data if file else None
            elif self.is_file(path):
                unread[path] = self._base.entries[path].oid
            else:
                read[path] = None
        blobs = self._base.fetch(list(unread.values())) if unread else {}
        return read | {path: blobs[oid] for path, oid in unread.items()}

    def is_file(self, path: str) -> bool:
        """Whether there is a regular file at a path."""
        return self._changed[path] is not None if path in self._changed else path in self._base.regular

    @property
    def regular(self) -> Collection[str]:
        """The path of every regular file."""
        there = {path for path, file in self._changed.items() if file}
        return self._base.regular - self._changed.keys() | there if self._changed else self._base.regular

    @property
    def memo(self) -> dict[Any, Any]:
        """What readers remember, by keys of their own that name the blob or the commit."""
        return self._base.memo

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Every file and symlink of the base commit, by path."""
        return self._base.entries

    @property
    def links(self) -> Mapping[str, str]:
        """Every symbolic link of the base commit, with its target. Blocks at the first use."""
        return self._base.links

    def documents(self, path: str) -> list[Any] | None:
        """The value of each document of a file; an HCL file is one. None where there is none, or it is too large.

        Raises:
            InfraError: `manifest-invalid`: it cannot be read.
        """
        data = self.read(path)
        try:
            if data is not None and path.endswith(hcl.SUFFIXES):
                return [hcl.read(data).value]
            return None if data is None else values(compose(decode(data)))
        except Unreadable as error:
            raise InfraError("manifest-invalid", f"{path}, line {error.line}: {error.why}.") from None

    def document(self, path: str, index: int) -> Found:
        """One document of a file.

        Raises:
            InfraError: `not-in-repository`: there is no such file or document; `manifest-invalid`: it cannot be read.
        """
        documents = self.documents(path) or []
        if not 0 <= index < len(documents):
            raise InfraError("not-in-repository", f"There is no document {index + 1} in {path}.")
        return Found(path, index, documents[index], ())

    def oid(self, path: str) -> str | None:
        """The blob id of a file at the base commit, or None."""
        entry = self._base.entries.get(path)
        return entry.oid if entry else None

    def objects_of(self, path: str) -> tuple[Located, ...]:
        """The objects of one file, in its order."""
        file = self._file(path)
        return tuple(_copy(self._at_home(one)) for one in file.objects) if file else ()

    def write(self, path: str, data: bytes | None) -> Tree:
        """The tree with other content at one path; None deletes the file.

        Raises:
            InfraError: `manifest-invalid`: it is a symlink; a new file that is no manifest under the roots; or a
                manifest's content that cannot be read as one.
        """
        there = path in self._base.entries and below(path, "")
        plain, roots = self._base.plain, self._base.roots
        is_plain = depth(path, plain) > depth(path, roots) and any(below(path, root) for root in plain)
        is_plain |= there and path not in self._base.manifests
        if not is_plain and (not path.endswith(SUFFIXES) or not any(below(path, root) for root in roots)):
            raise InfraError("manifest-invalid", f"{path!r} is no path for a manifest under the roots.")
        if path in self._base.entries and not (there and self._base.entries[path].mode.startswith("100")):
            raise InfraError("manifest-invalid", f"{path} exists and is no plain file.")
        if data == self.read(path):
            return self
        file = None if data is None else Manifest(data) if is_plain else Manifest(data, path, self.cluster)
        if file and file.problem:
            raise InfraError("manifest-invalid", file.problem)
        return Tree(self._base, {**self._changed, path: file})

    def find(self, ref: ObjectRef) -> Located | None:
        """The object with this identity (`ObjectRef.key`: the API version does not matter), or None.

        Raises:
            InfraError: `ambiguous-object`, naming both files; `manifest-invalid`, when an unreadable file mentions the
                object and its namespace, or when kustomize builds it.
        """
        found = self._lookup(ref) or self._nameless(ref)
        places = _places(found)
        if built := self._built(found):
            raise InfraError("manifest-invalid", f"{ref} in {places} is {built}", next_step=BY_HAND)
        if len(found) > 1:
            also = "".join(f" Also, {problem}" for problem in self._suspects(ref)[:NAMED])
            raise self._ambiguous(ref, f"{ref} is in {places}.{also}")
        for problem in self._suspects(ref):
            raise InfraError("manifest-invalid", f"{problem} It may be about {ref}.")
        return _copy(found[0]) if found else None

    def is_built(self, ref: ObjectRef) -> bool:
        """Whether kustomize builds an object of this kind and name, in this namespace or without one in its file."""
        found = self._lookup(ref) or self._lookup(_anywhere(ref, None))
        return bool(self._built(found))

    def require(self, ref: ObjectRef) -> Located:
        """The same as `find`, where the object must exist.

        Raises:
            NotInRepository: naming unreadable files that might hold it.
            InfraError: as `find`; `not-in-repository`, naming the files that have such an object without a namespace.
        """
        if found := self.find(ref):
            return found
        self._refuse_nameless(ref)
        broken = list(self.broken.values())
        more = f" (and {len(broken) - NAMED} more)" if len(broken) > NAMED else ""
        also = f" Files that cannot be read: {' '.join(broken[:NAMED])}{more}" if broken else ""
        raise NotInRepository(ref, f"{ref} is in none of the repository's roots.{also}")

    def objects(self, namespace: str | None = None) -> Iterator[Located]:
        """Every object of a namespace, or of all, that is applied as it is (kustomize builds the others), by path."""
        words = literals([namespace] if namespace else [])
        for path, file in sorted(self._files().items()):
            if path not in self._base.kustomized and file.could_hold(words):
                yield from (_copy(one) for one in file.objects if namespace in {None, one.ref.namespace})
        for home in self._base.homes:
            if namespace and home.ref.namespace == namespace:
                yield from (_copy(one) for one in self._homed(home.ref) if one.path not in self._base.kustomized)

    def mentioning(self, word: str) -> Iterator[Located]:
        """Every object of the files in which a word stands, in letters of any case, by path, as its file has it."""
        words = literals([word.lower()])
        for _, file in sorted(self._files().items()):
            if file.could_hold(words, any_case=True):
                yield from file.objects

    def _file(self, path: str) -> Manifest | None:
        return self._changed[path] if path in self._changed else self._base.manifests.get(path)

    def _files(self) -> dict[str, Manifest]:
        return {path: file for path, file in {**self._base.manifests, **self._changed}.items() if file}

    def _saying(self, kind: str, name: str) -> list[Manifest]:
        there = [self._base.manifests[path] for path in self._base.saying(kind, name) if path not in self._changed]
        return there + [file for file in self._changed.values() if file]

    def _candidates(self, ref: ObjectRef) -> list[Manifest]:
        words = literals([ref.namespace] if ref.namespace else [])
        return [file for file in self._saying(ref.kind, ref.name) if file.refusal or file.could_hold(words)]

    def _lookup(self, ref: ObjectRef) -> list[Located]:
        found = [one for file in self._candidates(ref) for one in file.objects if one.ref.key == ref.key]
        homes = [home for home in self._base.homes if home.ref.key == ref.key]
        return [one for one in found if any(home.holds(one.path) for home in homes)] or found

    def _nameless(self, ref: ObjectRef) -> list[Located]:
        """The objects without a namespace in their file that policy says are this one, with its namespace."""
        alike = [home for home in self._base.homes if _anywhere(home.ref, ref).key == ref.key]
        homes = [home for home in alike if home.ref.key == ref.key]
        if not homes:
            return []
        others = [home for home in alike if home.ref.key != ref.key]
        found = self._lookup(_anywhere(ref, None))
        if is_named := any(home.files for home in homes):
            found = [one for one in found if any(home.holds(one.path) for home in homes)]
        else:
            found = [one for one in found if not any(home.holds(one.path) for home in others)]
            found = [one for one in found if not any(map(SAMPLES.fullmatch, one.path.split("/")[:-1]))]
        claims = [home for home in others if any(home.holds(one.path) for one in found)]
        claims = claims or [home for home in others if not (home.files or is_named)]
        if found and claims:
            also = ", ".join(sorted(f"{home.app} ({home.ref.namespace})" for home in claims))
            what = f"{_places(found)} gives {_anywhere(ref, None)} no namespace, so it may be {ref}, or that of {also}."
            raise self._ambiguous(ref, what)
        return [replace(one, ref=_anywhere(one.ref, ref)) for one in found]

    def _homed(self, ref: ObjectRef) -> list[Located]:
        """The one object that `_nameless` finds, where no other object is that one."""
        with suppress(InfraError):
            found = [] if self._lookup(ref) else self._nameless(ref)
            return found if len(found) == 1 else []
        return []

    def _at_home(self, one: Located) -> Located:
        """An object with the namespace that policy gives it, where its file gives it none."""
        for home in self._base.homes if one.ref.namespace is None else ():
            if one.ref.key == _anywhere(home.ref, None).key:
                for other in self._homed(home.ref):
                    if (one.path, one.index, one.at) == (other.path, other.index, other.at):
                        return other
        return one

    def _ambiguous(self, ref: ObjectRef, what: str) -> InfraError:
        app = next((home.app for home in self._base.homes if home.ref.key == ref.key), "NAME")
        step = f'Say in infra.toml which file is live in {self.cluster or "the cluster"}: [apps.{app}] file = "…"'
        return InfraError("ambiguous-object", what, next_step=step)

    def _suspects(self, ref: ObjectRef) -> list[str]:
        return [file.problem for file in self._candidates(ref) if file.problem and file.may_hold(ref)]

    def _refuse_nameless(self, ref: ObjectRef) -> None:
        """Refuse to edit an object without a namespace, which may be in any; the advice says how to make it clear."""
        found = self._lookup(_anywhere(ref, None)) if ref.namespace else []
        if not found:
            return
        what = f"{ref} is in none of the roots. In {_places(found)} {found[0].ref} has no namespace"
        if built := self._built(found):
            raise InfraError("not-in-repository", f"{what} and is {built}", next_step=BY_HAND)
        step = 'Name the file that holds it in infra.toml: [apps.NAME] file = "…"'
        raise InfraError("not-in-repository", f"{what}, so it may be another object.", next_step=step)

    def _built(self, found: Iterable[Located]) -> str:
        """Which kustomizations build these objects; empty where none does."""
        by = sorted({self._base.kustomized[one.path] for one in found if one.path in self._base.kustomized})
        return f"built by {' and '.join(by)}." if by else ""


def _anywhere(ref: ObjectRef, other: ObjectRef | None) -> ObjectRef:
    """The same in the namespace of another object, or in none."""
    return ref.model_copy(update={"namespace": other.namespace if other else None})


def _places(found: Iterable[Located]) -> str:
    named = (f"{one.path} (document {one.index + 1})" if one.index else one.path for one in found)
    return " and ".join(dict.fromkeys(named))


def _copy(one: Located) -> Located:
    return replace(one, object=copy.deepcopy(one.object))
