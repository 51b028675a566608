"""One object of a kustomize build, or of a plain file, with everything that sets its fields. Nothing is built here.

The steps are applied in the order in which kustomize applies them (kubernetes-sigs/kustomize, `kusttarget`): for each
kustomization patches, then the namespace, names, replicas and images.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from infra_mcp.model.effect import FieldPath
from infra_mcp.model.image import Image
from infra_mcp.model.pattern import matches
from infra_mcp.repository.census.json_patch import operate, tokens_of
from infra_mcp.repository.census.strategic import laid_strategically
from infra_mcp.repository.layers import Document, Source, Spot, laid
from infra_mcp.repository.lenient import as_text, mapping, maps
from infra_mcp.repository.locator.places import Place, places_of
from infra_mcp.repository.partial import get_path, positions
from infra_mcp.repository.scalars import Json

_BUILT_IN = re.compile(r"(?:[a-z]+/)?v\w+|[\w.-]+\.k8s\.io/v\w+")  # API versions with a schema that kustomize knows
_LITERAL = re.compile(r"[\w./:@-]*")  # a name of an image; anything else is a pattern of names
_SAID = frozenset({"labels", "annotations"})
_SCALED = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"})
POD_TEMPLATES: dict[str, FieldPath] = {
    "Pod": ("spec",),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    **dict.fromkeys(
        ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"),
        ("spec", "template", "spec"),
    ),
}
CONTAINERS = ("initContainers", "containers")


class Step(Protocol):
    """Something that changes an object."""

    def apply(self, value: Json) -> Json:
        """The object after it."""

    def spots(self, before: Json, at: FieldPath) -> tuple[Spot, ...]:
        """The places by which it sets a field: none for what sets only a part of a text, or holds no setting."""
        del before, at
        return ()


@dataclass(frozen=True, eq=False)
class Built:
    """An object: as its file has it, and what is laid over that."""

    base: Document
    names: frozenset[str]  # every name that it had: patches may use any of them
    steps: tuple[Step, ...] = ()
    namespace: str | None = None
    name: str = ""
    folders: tuple[str, ...] = ()  # of the kustomizations that it went through, innermost first

    @property
    def kind(self) -> str:
        """Its kind; empty where it has none."""
        return str(self.base.value.get("kind", ""))

    @property
    def own_name(self) -> str:
        """The name in its file."""
        return as_text(mapping(self.base.value, "metadata").get("name"))

    @property
    def own_namespace(self) -> str:
        """The namespace in its file; empty where it has none."""
        return as_text(mapping(self.base.value, "metadata").get("namespace"))

    @property
    def api_version(self) -> str:
        """Its API version; empty where it has none."""
        return str(self.base.value.get("apiVersion", ""))

    @property
    def group(self) -> str:
        """Its API group; empty for the core one."""
        return self.api_version.rpartition("/")[0]

    @property
    def path(self) -> str:
        """The file that holds it."""
        return self.base.path

    @cached_property
    def value(self) -> Json:
        """The object with everything applied, but for names and namespace."""
        value = self.base.value
        for step in self.steps:
            value = step.apply(value)
        return value

    def spots(self, at: FieldPath) -> tuple[Spot, ...]:
        """Every place that sets a field, lowest first."""
        found = list(self.base.spots(at))
        value = self.base.value
        for step in self.steps:
            sets = step.spots(value, at)
            value = step.apply(value)
            found = [*found, *sets] if get_path(value, at)[0] else list(sets)  # what it removes, nothing below decides
        return tuple(found)

    def image_places(self, at: FieldPath) -> tuple[Place, ...]:
        """Every place that sets the image of a container, lowest first; an entry of `images` sets only its tag."""
        found = [*places_of("image", self.base.spots(at))]
        value = self.base.value
        for step in self.steps:
            if isinstance(step, ImageEntry | ImageText):
                found += step.places(value, at)
            else:
                found += places_of("image", step.spots(value, at))
            value = step.apply(value)
            found = found if get_path(value, at)[0] else []
        return tuple(found)

    def containers(self) -> Iterator[tuple[FieldPath, dict[str, Any]]]:
        """Each container of its pods, init ones first, with the path to it."""
        at = POD_TEMPLATES.get(self.kind, ())
        for which in CONTAINERS if at else ():
            for one in maps(self.value, *map(str, at), which):
                if isinstance(one.get("name"), str):
                    yield (*at, which, {"name": one["name"]}), one


@dataclass(frozen=True)
class Patch:
    """A strategic merge patch; a JSON merge patch where the kind is no built-in one, as kustomize has it."""

    source: Source

    def apply(self, value: Json) -> Json:
        """The object with the patch laid over it."""
        by_names = bool(_BUILT_IN.fullmatch(str(value.get("apiVersion", ""))))
        body = {key: item for key, item in self.source.value.items() if key not in {"apiVersion", "kind", "metadata"}}
        said = {key: item for key, item in mapping(self.source.value, "metadata").items() if key in _SAID}
        body |= {"metadata": said} if said else {}
        return laid_strategically(value, body) if by_names else laid(value, body)

    def spots(self, before: Json, at: FieldPath) -> tuple[Spot, ...]:
        """Its place, where it sets the field."""
        sets = self.source.spots(at)
        idle = sets and sets[-1].value is not None and get_path(self.apply(before), at)[1] != sets[-1].value
        return () if idle else sets  # a directive beside it may have it passed over


@dataclass(frozen=True)
class Operations:
    """A JSON patch (RFC 6902)."""

    source: Source  # its value is the list of operations

    def apply(self, value: Json) -> Json:
        """The object with each operation done that fits it."""
        done = deepcopy(value)
        for one in self._each():
            operate(done, one)
        return done

    def spots(self, before: Json, at: FieldPath) -> tuple[Spot, ...]:
        """The value of each operation that sets the field, or something that holds it."""
        found: list[Spot] = []
        now = deepcopy(before)
        for position, one in enumerate(self._each()):
            tokens = tokens_of(str(one.get("path", "")), now)
            wanted = positions(now, at)
            operate(now, one)
            if (
                as_text(one.get("op")) in {"add", "replace"}
                and wanted is not None
                and [*map(str, wanted[: len(tokens)])] == tokens
            ):
                found += self.source.spots((position, "value", *at[len(tokens) :]))
        return tuple(found)

    def _each(self) -> Iterator[dict[str, Any]]:
        yield from (one for one in self.source.value if isinstance(one, dict))


@dataclass(frozen=True)
class ImageEntry(Step):
    """An entry of a kustomization's `images`."""

    source: Source  # the entry

    def apply(self, value: Json) -> Json:
        """The object with the image of each container that it names changed."""
        return _with_images(value, self._changed)

    def places(self, before: Json, at: FieldPath) -> tuple[Place, ...]:
        """Its tag, with its digest beside it, where it sets the version of the image at a field."""
        _, image = get_path(before, at)
        if not isinstance(image, str) or not self._fits(Image.parse(image)):
            return ()
        return (self.place,) if self.place else ()

    def _fits(self, image: Image) -> bool:
        """Whether an image has the entry's name, or fits the pattern that kustomize reads it as."""
        name = as_text(self.source.value.get("name"))
        return image.named == name or (not _LITERAL.fullmatch(name) and matches(name, image.named))

    @property
    def place(self) -> Place | None:
        """Its tag, with its digest beside it; None where it sets neither."""
        found = (self.source.spots((key,)) for key in ("newTag", "digest"))
        tag, digest = ([spot for spot in spots if as_text(spot.value)] for spots in found)
        if tag:
            return Place("tag", tag[-1], digest[-1] if digest else tag[-1].beside("digest"))
        return Place("tag", digest[-1].beside("newTag"), digest[-1]) if digest else None

    def _changed(self, reference: str) -> str:
        image, entry = Image.parse(reference), self.source.value
        if not self._fits(image):
            return reference
        tag, digest = as_text(entry.get("newTag")), as_text(entry.get("digest"))
        if not tag and not digest:
            tag, digest = image.tag, image.digest
        return str(Image(as_text(entry.get("newName")) or image.named, tag, digest))


@dataclass(frozen=True)
class ImageText(Step):
    """An image in one text, `NAME=NEW:TAG`, as `kustomize edit set image` and Argo CD's Applications have it."""

    source: Source  # the text
    names: frozenset[str]  # of the images that it is for; others are left alone

    def apply(self, value: Json) -> Json:
        """The object with the image of each container that it names changed."""
        return _with_images(value, self._changed)

    def places(self, before: Json, at: FieldPath) -> tuple[Place, ...]:
        """Its text, where it sets the version of the image at a field."""
        _, image = get_path(before, at)
        new = Image.parse(as_text(self.source.value))
        if not isinstance(image, str) or Image.parse(image).named not in self.names or not (new.tag or new.digest):
            return ()
        return places_of("image", self.source.spots(()))

    def _changed(self, reference: str) -> str:
        image = Image.parse(reference)
        if image.named not in self.names:
            return reference
        _, renamed, rest = as_text(self.source.value).partition("=")
        new = Image.parse(rest if renamed else as_text(self.source.value))
        tag, digest = (new.tag, new.digest) if new.tag or new.digest else (image.tag, image.digest)
        return str(Image(new.named if renamed else image.named, tag, digest))


@dataclass(frozen=True)
class ReplicasEntry:
    """An entry of a kustomization's `replicas`."""

    source: Source

    def apply(self, value: Json) -> Json:
        """The object with its replicas."""
        return {**value, "spec": {**mapping(value, "spec"), "replicas": self.source.value.get("count")}}

    def spots(self, before: Json, at: FieldPath) -> tuple[Spot, ...]:
        """Its count, for the replicas of a workload."""
        del before
        return self.source.spots(("count",)) if at == ("spec", "replicas") else ()

    def fits(self, kind: str, names: Collection[str]) -> bool:
        """Whether it is for an object of this kind, which had these names."""
        return kind in _SCALED and str(self.source.value.get("name")) in names


@dataclass(frozen=True)
class Said(Step):
    """Labels and annotations that a kustomization gives to its objects: targets of patches select by them."""

    metadata: dict[str, dict[str, Any]]

    def apply(self, value: Json) -> Json:
        """The object with them."""
        return laid(value, {"metadata": self.metadata})


def objects_of(path: str, documents: Iterable[Json]) -> Iterator[Built]:
    """The objects of a file's documents; those in a List, too."""
    for number, value in enumerate(documents):
        if not isinstance(value, dict):
            continue
        items = value.get("items") if str(value.get("kind")).endswith("List") else None
        for position, one in enumerate(items) if isinstance(items, list) else [(None, value)]:
            metadata = mapping(one, "metadata")
            if metadata and one.get("kind"):
                at: FieldPath = () if position is None else ("items", position)
                name, namespace = as_text(metadata.get("name")), as_text(metadata.get("namespace")) or None
                yield Built(Document(path, number, one, at), frozenset({name}), namespace=namespace, name=name)


def _with_images(value: Json, change: Callable[[str], str], *, in_list: bool = False) -> Json:
    """A value with the images of all containers changed: kustomize changes them in custom resources, too."""
    if isinstance(value, list):
        return [_with_images(item, change, in_list=in_list) for item in value]
    if not isinstance(value, dict):
        return value
    done = {key: _with_images(item, change, in_list=key in CONTAINERS) for key, item in value.items()}
    if in_list and isinstance(value.get("image"), str):
        done["image"] = change(value["image"])
    return done
