"""Finds every file that a build with kustomize reads, and why a build cannot be closed over one repository.

A closed build reads files of this repository alone: no remote base, no path or symbolic link that leads out, no plugin,
function or Helm. Paths are taken as kustomize takes them: an entry is cleaned as text, then links are followed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from infra_mcp.repository.kustomization import (
    NAMES,
    Kustomization,
    Reference,
    SelectorLabel,
    is_remote,
    parse_kustomization,
    parse_plugins,
)
from infra_mcp.repository.paths import is_in
from infra_mcp.text import named

MAX_FILES = 5000
MAX_STEPS = 20_000  # entries looked at: a base that several kustomizations name is loaded by each
MAX_DEPTH = 100  # kustomizations inside each other
MAX_LINKS = 40  # symbolic links on the way to one file, as Linux has it
NO_LINKS: Mapping[str, str] = MappingProxyType({})

Read = Callable[[str], bytes | None]


@dataclass(frozen=True)
class Inputs:
    """What the build of one folder reads. Where it is refused, the files are those found so far."""

    root: str
    files: tuple[str, ...]  # regular files, sorted
    links: Mapping[str, str]  # the symbolic links on the way to them, with their targets
    kustomizations: tuple[str, ...]  # sorted; they are files, too
    refused: tuple[str, ...]  # why it cannot be built closed: file, entry and reason
    selector_labels: frozenset[SelectorLabel]
    secret_files: tuple[str, ...]  # what secret generators read
    secrets: tuple[str, ...] = field(repr=False)  # and their literals
    crosses: bool  # whether a kustomization reads a file outside its own folder


def inputs(read: Read, paths: Collection[str], root: str, links: Mapping[str, str] = NO_LINKS) -> Inputs:
    """Every file that building the folder `root` reads.

    Args:
        read: the bytes of a regular file; None for one that is too large.
        paths: every regular file of the repository.
        root: a folder with a kustomization; empty for the repository's top.
        links: every symbolic link of the repository, with its target.
    """
    found = _Closure(read, paths, links)
    found.build(root)
    return Inputs(
        root=root,
        files=tuple(sorted(found.files)),
        links=found.links,
        kustomizations=tuple(sorted(found.kustomizations)),
        refused=tuple(dict.fromkeys(found.refused)),
        selector_labels=frozenset(found.labels),
        secret_files=tuple(sorted(found.secret_files)),
        secrets=tuple(dict.fromkeys(found.secrets)),
        crosses=found.crosses,
    )


class _Refused(Exception):  # noqa: N818 - collected, never seen outside
    """Why an entry is refused."""


class _TooLarge(Exception):  # noqa: N818 - ends the search, never seen outside
    """The search has met a bound."""


class _Closure:
    def __init__(self, read: Read, paths: Collection[str], links: Mapping[str, str]) -> None:
        self.read, self.paths, self.all_links = read, paths, links
        self.files: set[str] = set()
        self.links: dict[str, str] = {}
        self.kustomizations: set[str] = set()
        self.labels: set[SelectorLabel] = set()
        self.secret_files: set[str] = set()
        self.secrets: list[str] = []
        self.refused: list[str] = []
        self.crosses = False
        self.steps = 0

    def build(self, root: str) -> None:
        try:
            folder = self.resolve("", root or ".")
            self.visit(folder, [folder])
        except (_Refused, _TooLarge) as error:
            self.refused.append(f"{named(root or '.')}: {error}")

    def visit(self, folder: str, stack: list[str], home: str | None = None) -> None:
        """Load one kustomization. `home`: the folder whose plugins are configured by what it builds, if any."""
        if len(stack) > MAX_DEPTH:
            raise _TooLarge(f"more than {MAX_DEPTH} kustomizations lie inside each other")
        there = self.kustomizations_of(folder)
        if len(there) != 1:
            names = " and ".join(there)
            raise _Refused(f"{names} are in one folder" if there else "it is no file and has no kustomization")
        (path,) = there.values()
        self.add(path, folder)
        self.kustomizations.add(path)
        said = self.parse(path, parse_kustomization)
        self.labels |= {SelectorLabel(path, *label) for label in said.selector_labels}
        if home is not None and not said.is_plain:
            self.refused.append(f"{named(path)}: it changes configurations of plugins, so what they read is unknown")
        for one in said.references:
            self.follow(path, one, folder, stack, home)

    def kustomizations_of(self, folder: str) -> dict[str, str]:
        """Its kustomizations: the real path of each by its name."""
        names = {name: posixpath.join(folder, name) for name in NAMES}
        there = [name for name, path in names.items() if path in self.paths or path in self.all_links]
        real = {name: self.resolve(folder, name) for name in there}
        return {name: path for name, path in real.items() if path in self.paths}

    def parse(self, path: str, parse: Callable[[bytes], Kustomization]) -> Kustomization:
        data = self.read(path)
        if data is None:
            raise _Refused(f"{named(path)} is too large to be read")
        said = parse(data)
        self.refused += [f"{named(path)}: {why}" for why in said.refused]
        self.secrets += said.secrets
        return said

    def follow(self, path: str, one: Reference, folder: str, stack: list[str], home: str | None = None) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise _TooLarge(f"its kustomizations have more than {MAX_STEPS} entries, those of shared bases each time")
        try:
            local = self.locate(one, folder)
            if one.kind == "inline":
                return
            if local in self.paths:
                self.take(local, one, folder, stack, home)
            elif one.kind == "file":
                raise _Refused(f"there is no file {named(one.text)}")  # noqa: TRY301 - as its neighbours
            else:
                self.enter(local, one, stack, folder if one.kind == "plugin" else home)
        except _Refused as error:
            self.refused.append(f"{named(path)}: {one.entry}: {error}")

    def locate(self, one: Reference, folder: str) -> str:
        """The real path of what an entry names; inline text is checked too, since it could be taken as a path."""
        if not one.text:
            raise _Refused("it is empty")
        leaves = one.text.startswith("/") or _first(folder, one.text) == ".."
        local = "" if leaves or one.kind == "inline" else self.resolve(folder, one.text)
        is_local = local in self.paths and one.kind != "folder" and ":" not in one.text
        if is_remote(one.text) and not is_local:
            raise _Refused(f"{named(one.text)} is not in this repository, and a build fetches nothing")
        if leaves:
            raise _Refused(f"{named(one.text)} leaves the repository")
        return local

    def take(self, file: str, one: Reference, folder: str, stack: list[str], home: str | None) -> None:
        if one.kind == "folder":
            raise _Refused(f"{named(one.text)} is a file and no folder")
        self.add(file, folder)
        if one.secret:
            self.secret_files.add(file)
        if one.kind == "plugin" or home is not None:
            # What it names is taken from the folder of the kustomization that uses the plugin.
            for inner in self.parse(file, partial(parse_plugins, entry=one.entry)).references:
                self.follow(file, inner, home or folder, stack)

    def enter(self, folder: str, one: Reference, stack: list[str], home: str | None) -> None:
        above = next((other for other in stack if is_in(other, folder)), None)
        if above is not None:
            raise _Refused(f"{named(one.text)} leads back to {named(above or '.')}: a cycle")
        try:
            self.visit(folder, [*stack, folder], home)
        except _Refused as error:
            raise _Refused(f"{named(one.text)}: {error}") from None

    def add(self, path: str, folder: str) -> None:
        self.files.add(path)
        self.crosses |= not is_in(path, folder)
        if len(self.files) > MAX_FILES:
            raise _TooLarge(f"it reads more than {MAX_FILES} files")

    def resolve(self, folder: str, text: str) -> str:
        """The real path of what a text names from a folder that has no links in it."""
        rest = posixpath.normpath(posixpath.join(folder, text)).split("/")[::-1]
        real: list[str] = []
        passed = 0
        while rest:
            part = rest.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if not real:
                    raise _Refused(f"{named(text)} leaves the repository by a symbolic link")
                real.pop()
                continue
            path = "/".join([*real, part])
            target = self.all_links.get(path)
            if target is None:
                real.append(part)
                continue
            passed += 1
            if passed > MAX_LINKS:
                raise _Refused(f"{named(text)} passes more than {MAX_LINKS} symbolic links")
            if not target or target.startswith("/"):
                raise _Refused(f"{named(text)} leaves the repository by the symbolic link {named(path)}")
            self.links[path] = target
            rest += target.split("/")[::-1]
        return "/".join(real)


def _first(folder: str, text: str) -> str:
    return posixpath.normpath(posixpath.join(folder, text)).split("/")[0]
