"""Units of kustomizations over remote bases: what runs is in another repository, at the revision that stands here."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import partial
from typing import Final

from infra_mcp.model.image import Image
from infra_mcp.repository.census.built import ImageEntry
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.environments import ENVIRONMENTS
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.layers import Source
from infra_mcp.repository.lenient import as_text, mapping
from infra_mcp.repository.locator.holds import Hold

_HOLDERS: Final = frozenset({"overlays", "overlay", "environments", "envs", "clusters", "variants"})
_PARTS: Final = frozenset({"base", "kustomize", "k8s", "manifests", "deploy", "app"})


def units(index: Index, entry: Entry) -> Iterator[Unit]:
    """The kustomization of an entry, where it has remote bases."""
    made = entry.composition
    path = index.kustomizations.get(made.root)
    if path is None or not made.remote:
        return
    app = entry.names[0] if entry.names else name_of(made.root)
    space, aliases = as_text(index.document(path).get("namespace")) or None, (entry.by.rpartition("/")[2], *entry.names)
    yield Unit(app, "Kustomization", app, space, path, entry, partial(_holds, entry), aliases=aliases)


def name_of(folder: str) -> str:
    """The app that a folder is of: its last name that is no environment's, and no part of every app."""
    parts = folder.split("/")
    while len(parts) > 1:
        if parts[-2] in _HOLDERS:
            parts = parts[:-2] or parts[:1]
        elif ENVIRONMENTS.fullmatch(parts[-1]) or parts[-1] in _PARTS | _HOLDERS:
            parts.pop()
        else:
            break
    return parts[-1]


def _holds(entry: Entry) -> Iterator[Hold]:
    """The images that are set for workloads that are elsewhere, and the revision of each base."""
    running = {Image.parse(as_text(item.get("image"))).named for one in entry.objects for _, item in one.containers()}
    named: dict[str, list[Source]] = {}
    for source in entry.composition.images:
        if name := as_text(mapping(source.value).get("name")):
            before = (known for known, some in named.items() if any(_renamed(one) == name for one in some))
            named.setdefault(name if name in named else next(before, name), []).append(source)
    for name, sources in named.items():
        places = tuple(place for source in sources if (place := ImageEntry(source).place))
        last = next((new for source in reversed(sources) if (new := _renamed(source))), name)
        if last not in running:
            yield Hold("version", f"images[name={name}]", places, Image.parse(last).repository)
    for place in entry.composition.remote:
        base = posixpath.basename(as_text(place.spot.value).partition("?")[0].partition("//")[2].partition("//")[0])
        yield Hold("revision", f"the base {base.removesuffix('.git')}", (place,) if place.version else ())


def _renamed(source: Source) -> str:
    return as_text(mapping(source.value).get("newName"))
