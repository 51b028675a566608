"""Finds the versions in Helm values, in pods and in custom resources: images, in every form that people write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from infra_mcp.model.effect import FieldPath
from infra_mcp.model.image import Image
from infra_mcp.model.location import show_field
from infra_mcp.repository.layers import Source, Spot
from infra_mcp.repository.locator.places import Place, places_of
from infra_mcp.repository.scalars import Json

_TAG_KEY = re.compile(r"(?:image[-_]?)tag|.*image[-_]?tag", re.IGNORECASE)
_IMAGE_KEY = re.compile(r".*image(?:name)?", re.IGNORECASE)
_DIGESTS = ("digest", "sha")
_LEADING = frozenset({"image", "imagename", "imagetag", "image_tag", "image-tag", "tag"})

Setting = Literal["version", "chart", "revision", "app-version"]


@dataclass(frozen=True)
class Hold:
    """A version in a unit, with every place that sets it, lowest first: the last one decides."""

    setting: Setting
    label: str  # where in the unit, for people: `values.image`, `containers[web]`
    places: tuple[Place, ...]
    image: str = ""  # the image's repository in full; empty where it is not known or the version is no image's
    leads: bool = False  # whether it is the main one by convention
    note: str = ""  # what a reader of a plan that sets it should know
    automation: str = ""  # what writes it by itself, where that is not said at the place

    @property
    def decides(self) -> Place:
        """The place that decides."""
        return self.places[-1]

    @property
    def version(self) -> str:
        """The version in effect."""
        return self.decides.version


def images_in_values(source: Source, label: str = "values") -> Iterator[Hold]:
    """Every image that values name: a map of repository and tag, a whole reference, or a tag alone."""
    yield from _walk(source, source.value, (), label)


def _walk(source: Source, value: Json, path: FieldPath, label: str) -> Iterator[Hold]:
    for step, item in steps(value):
        yield from _walk(source, item, (*path, step), label)
    if not isinstance(value, dict):
        return
    last = path[-1] if path and isinstance(path[-1], str) else ""
    if is_scalar(value.get("tag")) and (isinstance(value.get("repository"), str) or _IMAGE_KEY.fullmatch(last)):
        yield _tagged(source, value, path, "tag", label)
    for key, item in value.items():
        if _TAG_KEY.fullmatch(key) and is_scalar(item):
            yield _tagged(source, value, path, key, label)
        elif _IMAGE_KEY.fullmatch(key) and isinstance(item, str):
            yield from _referenced(source, value, path, key, label)


def _tagged(source: Source, value: dict[str, Any], path: FieldPath, key: str, label: str) -> Hold:
    named = value.get("repository") or value.get(re.sub(r"[-_]?tag$", "", key, flags=re.IGNORECASE) or "image")
    if named is None and "/" in str(value.get("name")):
        named = value["name"]
    registry = value.get("registry")
    image = ""
    if isinstance(named, str):
        image = Image.parse(f"{registry}/{named}" if isinstance(registry, str) and registry else named).repository
    beside = next((name for name in _DIGESTS if key == "tag" and is_scalar(value.get(name))), None)
    digests = source.spots((*path, beside)) if beside else ()
    places = tuple(Place("tag", spot, _beside(spot, digests)) for spot in source.spots((*path, key)))
    return Hold("version", f"{label}.{show_field(path)}" if path else f"{label}.{key}", places, image, leads(path, key))


def _beside(spot: Spot, digests: tuple[Spot, ...]) -> Spot | None:
    """The digest that is set where the tag is; what decides over all of them, where none is."""
    near = [one for one in digests if (one.path, one.document) == (spot.path, spot.document)]
    return near[-1] if near else digests[-1] if digests else None


def _referenced(source: Source, value: dict[str, Any], path: FieldPath, key: str, label: str) -> Iterator[Hold]:
    image = Image.parse(value[key])
    if not (image.tag or image.digest):
        return  # without a version, or with one in a key of its own
    if not re.search(r"[/:]", value[key]) or re.search(r"\s", value[key]):
        return
    places = places_of("image", source.spots((*path, key)))
    yield Hold("version", f"{label}.{show_field((*path, key))}", places, image.repository, leads(path, key))


def leads(path: FieldPath, key: str) -> bool:
    """Whether this is where charts keep the image of the app itself: at the top, or of the main container."""
    names = [step for step in path if isinstance(step, str)]
    return len(names) < 2 and [*names, key][0].lower() in _LEADING  # noqa: PLR2004 - `image.tag`


def steps(value: Json) -> Iterator[tuple[Any, Json]]:
    """The steps to what a value holds: keys of a map; items of a list by their names, else by their position."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        names = [item.get("name") if isinstance(item, dict) else None for item in value]
        named = None not in names and len({str(name) for name in names}) == len(names)
        for position, item in enumerate(value):
            yield ({"name": names[position]} if named else position), item


def is_scalar(value: Json) -> bool:
    """Whether a value is one text or number."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)
