"""What a kustomization gives, without building it: each object with everything that sets its fields.

It is enough to find a value. What becomes live is what the build gives: it is compared before and after the edit.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

from infra_mcp.model.effect import FieldPath
from infra_mcp.model.image import Image
from infra_mcp.repository.census.built import (
    Built,
    ImageEntry,
    ImageText,
    Operations,
    Patch,
    ReplicasEntry,
    Said,
    Step,
)
from infra_mcp.repository.census.chart import files_of
from infra_mcp.repository.census.index import Index
from infra_mcp.repository.census.strategic import deletes
from infra_mcp.repository.census.targets import Own, Target, target_of
from infra_mcp.repository.kustomization import is_remote
from infra_mcp.repository.layers import Document, Inside, Source, parts
from infra_mcp.repository.lenient import as_text, items, joined, mapping, maps, texts
from infra_mcp.repository.locator.places import Place, places_of
from infra_mcp.repository.paths import SUFFIXES

_DEEPEST = 30
_MOST_VISITS = 2_000  # kustomizations of one composition; one that is named twice counts twice
_MOST_OBJECTS = 10_000  # of one composition
_NOT_READ = ("replacements", "vars", "transformers")  # what may set fields, too


@dataclass(frozen=True)
class Inflated:
    """A chart that a kustomization renders: an entry of `helmCharts`, or a HelmChartInflationGenerator."""

    folder: str  # the kustomization's
    source: Source
    namespace: str | None
    chart: str | None  # the folder of the chart, where it lies in the repository

    @property
    def files(self) -> list[str]:
        """The paths of its values files."""
        value = mapping(self.source.value)
        named = [value.get("valuesFile"), *items(value, "additionalValuesFiles")]
        return [joined(self.folder, one) for one in named if isinstance(one, str) and one]


@dataclass(eq=False)
class Composition:
    """The objects of one kustomization and of all that it reads."""

    root: str  # its folder
    objects: list[Built] = field(default_factory=list)
    files: set[str] = field(default_factory=set)  # every file that was read for it
    remote: list[Place] = field(default_factory=list)  # remote bases, with the revision that is pinned
    images: list[Source] = field(default_factory=list)  # entries of `images`, of the base first
    charts: list[Inflated] = field(default_factory=list)  # charts that the build renders
    generated: dict[str, dict[str, Source]] = field(default_factory=dict)  # ConfigMaps: their values, by key
    unread: list[str] = field(default_factory=list)  # what may set fields and is not understood

    @cached_property
    def kinds(self) -> frozenset[str]:
        """The kinds of its objects, once it is made."""
        return frozenset(one.kind for one in self.objects)


def compose(index: Index, root: str) -> Composition:
    """The composition of the kustomization in a folder."""

    def make() -> Composition:
        made = Composition(root)
        _Composer(index, made).kustomization(root, ())
        return made

    return index.remembered(("composition", root), make, lambda made: made.files)


def loose(index: Index, folder: str) -> Composition:
    """The composition of a folder without a kustomization: all manifests below it, as Flux and Argo CD read it."""

    def make() -> Composition:
        made = Composition(folder)
        composer = _Composer(index, made)
        built = index.listing.kustomizations

        @cache
        def is_built(inner: str) -> bool:
            return inner in built or (inner != folder and is_built(posixpath.dirname(inner)))

        inside = f"{folder}/" if folder else ""
        outermost = (one for one in built if one.startswith(inside) and one != folder)
        roots = sorted(one for one in outermost if not is_built(posixpath.dirname(one)))
        for path in index.below(folder):
            if path.endswith(SUFFIXES) and not is_built(posixpath.dirname(path)):
                made.files.add(path)
                made.objects += index.objects(path)
        for one in roots:
            made.objects += composer.kustomization(one, ("",))
        return made

    return index.remembered(("loose", folder), make, lambda made: made.files)


def named_by(index: Index, folder: str) -> frozenset[str]:
    """The folders that a kustomization builds upon."""
    path = index.kustomizations[folder]

    def make() -> frozenset[str]:
        value = index.document(path)
        named = [one for key in ("resources", "bases", "components") for one in texts(value, key)]
        return frozenset(index.real(joined(folder, one)) for one in named if not _is_remote(one))

    return index.remembered(("named", folder), make, lambda _: (path,))


def over(source: Source, built: list[Built], renamed: Mapping[str, str] | None = None) -> list[Built]:
    """Objects with what a deliverer lays over them that has the keys of a kustomization.

    Args:
        source: a Flux Kustomization's spec, or `kustomize` of an Application's source.
        built: the objects.
        renamed: the images that got another name before, by the name that an override has.
    """
    if not isinstance(source.value, dict):
        return built
    patches = list(_patches(source, None))
    return _transformed(source, list(_patched(built, patches)), renamed or {})


class _Composer:
    def __init__(self, index: Index, made: Composition) -> None:
        self.index, self.made = index, made
        self.visits, self.size = 0, 0

    def kustomization(self, folder: str, above: tuple[str, ...], given: list[Built] | None = None) -> list[Built]:
        """The objects of one kustomization; a component's are those of the one that names it, changed."""
        path = self.index.kustomizations.get(folder)
        if path is None or folder in above or len(above) > _DEEPEST:
            self.made.unread.append(f"{folder or '.'} has no kustomization, or is built by itself")
            return given or []
        self.visits += 1
        if self.visits > _MOST_VISITS or self.size > _MOST_OBJECTS:
            self.made.unread.append(f"{path}, since {self.made.root or '.'} builds from more than can be read")
            return given or []
        self.made.files.add(path)
        value = self.index.document(path)
        source = Document(path, 0, value)
        objects = list(given or [])
        for key in ("resources", "bases"):
            for entry in texts(value, key):
                objects += self._resource(source, (key, {"=": entry}), folder, entry, (*above, folder))
        for key in ("configMapGenerator", "secretGenerator"):
            self._generators(source, key, folder)
        self._charts(source, folder)
        for entry in texts(value, "components"):
            if not _is_remote(entry):
                objects = self.kustomization(self.index.real(joined(folder, entry)), (*above, folder), objects)
        self.made.unread += [f"{key} in {path}" for key in _NOT_READ if items(value, key)]
        self.made.images += parts(source, ("images",), "name")
        patches = list(_patches(source, self, folder))
        objects = _transformed(source, list(_patched(objects, patches)))
        objects = [replace(one, folders=(*one.folders, folder)) for one in objects]
        if not above:
            self.made.objects = objects
        return objects

    def _resource(
        self, source: Document, at: FieldPath, folder: str, entry: str, above: tuple[str, ...]
    ) -> list[Built]:
        if _is_remote(entry) and not self.index.tree.is_file(self.index.real(joined(folder, entry))):
            self.made.remote += places_of("url", source.spots(at))
            return []
        path = self.index.real(joined(folder, entry))
        if path in self.index.kustomizations or path == "":
            return self.kustomization(path, above)
        self.made.files.add(path)
        found = list(self.index.objects(path))
        self.size += len(found)
        return found

    def read(self, folder: str, path: str) -> Iterator[Document]:
        """The documents of a file that a kustomization names; it belongs to the composition from then on."""
        real = self.index.real(joined(folder, path))
        self.made.files.add(real)
        yield from (Document(real, number, value) for number, value in enumerate(self.index.documents(real)))

    def _charts(self, source: Document, folder: str) -> None:
        found: list[Source] = [*parts(source, ("helmCharts",), "name")]
        for path in texts(source.value, "generators"):
            read = self.read(folder, path) if "\n" not in path else ()
            found += [one for one in read if mapping(one.value).get("kind") == "HelmChartInflationGenerator"]
        spots = source.spots(("helmGlobals", "chartHome"))
        home = str(spots[0].value) if spots else "charts"
        space = as_text(source.value.get("namespace")) or None
        for one in found:
            about = mapping(one.value)
            path = self.index.real(joined(folder, f"{home}/{about.get('name')}"))
            chart = path if not about.get("repo") and path in self.index.charts else None
            made = Inflated(folder, one, space, chart)
            self.made.charts.append(made)
            self.made.files.update(path for path in made.files if self.index.tree.is_file(path))
            self.made.files |= files_of(self.index, chart)

    def _generators(self, source: Document, key: str, folder: str) -> None:
        for entry in maps(source.value, key):
            keys: dict[str, Source] = {}
            for one in texts(entry, "files"):
                name, _, path = one.rpartition("=")
                for document in self.read(folder, path):
                    keys.setdefault(name or posixpath.basename(path), document)
            for one in texts(entry, "envs") or [as_text(entry.get("env"))]:
                self.made.files |= {self.index.real(joined(folder, one))} if one else set()
            self.made.generated.setdefault(str(entry.get("name")), {}).update(keys)


def _patched(objects: Iterable[Built], patches: Sequence[tuple[Target | Own, Step]]) -> Iterator[Built]:
    """Objects with their patches; without those that one deletes."""
    for one in objects:
        steps = [step for target, step in patches if target.fits(one)]
        if not any(isinstance(step, Patch) and deletes(step.source.value) for step in steps):
            yield replace(one, steps=(*one.steps, *steps))


def _patches(source: Source, composer: _Composer | None, folder: str = "") -> Iterator[tuple[Target | Own, Step]]:
    """Each patch of a kustomization with its target, in the order in which they are applied."""
    for key in ("patchesStrategicMerge", "patches", "patchesJson6902"):
        for position, entry in enumerate(items(source.value, key)):
            given = entry if isinstance(entry, dict) else {"path": entry}
            path, target = given.get("path"), mapping(given, "target")
            if isinstance(path, str) and "\n" in path:
                yield from _patch(Inside(source, (key, position)), target)
            elif isinstance(path, str) and composer:
                for document in composer.read(folder, path):
                    yield from _patch(document, target)
            elif isinstance(given.get("patch"), str):
                yield from _patch(Inside(source, (key, position, "patch")), target)


def _patch(source: Source, target: dict[str, Any]) -> Iterator[tuple[Target | Own, Step]]:
    value = source.value
    if isinstance(value, list):
        yield target_of(target, value), Operations(source)
    elif isinstance(value, dict):
        yield target_of(target, value), Patch(source)


def _transformed(source: Source, objects: list[Built], renamed: Mapping[str, str] | None = None) -> list[Built]:
    about = mapping(source.value)
    counts = [ReplicasEntry(one) for one in parts(source, ("replicas",), "name") if isinstance(one.value, dict)]
    images = parts(source, ("images",), "name")
    tags: list[Step] = [ImageEntry(one) for one in images if isinstance(one.value, dict)]
    tags += [
        ImageText(one, frozenset({name, (renamed or {}).get(name, name)}))
        for one in images
        if isinstance(one.value, str) and (name := Image.parse(one.value).named.partition("=")[0])
    ]
    said = [Said(found)] if (found := _said(about)) else []
    prefix, suffix, *spaces = (
        as_text(about.get(key)) for key in ("namePrefix", "nameSuffix", "namespace", "targetNamespace")
    )
    space = next(filter(None, spaces), None)
    done = []
    for one in objects:
        steps = (*one.steps, *said, *(step for step in counts if step.fits(one.kind, one.names)), *tags)
        name = f"{prefix}{one.name}{suffix}"
        names = one.names if name in one.names else one.names | {name}
        done.append(replace(one, steps=steps, name=name, names=names, namespace=space or one.namespace))
    return done


def _said(value: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The labels and annotations that a kustomization gives to its objects."""
    pairs = [mapping(one, "pairs") for one in maps(value, "labels")]
    given = {
        "labels": [*pairs, mapping(value, "commonLabels")],
        "annotations": [mapping(value, "commonAnnotations")],
    }
    merged = {key: {name: text for one in found for name, text in one.items()} for key, found in given.items()}
    return {key: found for key, found in merged.items() if found}


def _is_remote(entry: str) -> bool:
    return is_remote(entry) or ("//" in entry and "?ref=" in entry)
