"""Units of Kubernetes objects that name images themselves: workloads, and custom resources of operators."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from infra_mcp.model.image import Image
from infra_mcp.model.location import parse_field, show_field
from infra_mcp.repository.census.built import POD_TEMPLATES, Built, ImageEntry
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.layers import Below
from infra_mcp.repository.lenient import as_text, mapping
from infra_mcp.repository.locator.holds import Hold, images_in_values
from infra_mcp.repository.locator.places import places_of

# Groups whose objects deliver others, or hold no image that people deploy.
_NOT_OURS = ("toolkit.fluxcd.io", "argoproj.io", "kustomize.config.k8s.io", "infra-mcp.dev")
_VERSION = re.compile(r"v?\d+(?:\.\d+)+[\w.+-]*")


def units(entry: Entry) -> Iterator[Unit]:
    """The workloads and custom resources of an entry."""
    aliases = (entry.by.rpartition("/")[2], *entry.names)
    for one in entry.objects:
        app, has_pods = one.own_name, one.kind in POD_TEMPLATES
        if app and (has_pods or ("." in one.group and not one.group.endswith(("k8s.io", *_NOT_OURS)))):
            find = partial(_containers if has_pods else _resource, one)
            replicas = partial(one.spots, ("spec", "replicas"))
            place = one.kind, one.name, one.namespace, one.path
            unit = Unit(app, *place, entry, find, replicas, built=one, aliases=aliases)
            if has_pods or unit.holds:
                yield unit


def _containers(one: Built) -> Iterator[Hold]:
    containers = list(one.containers())
    running = [item for at, item in containers if at[-2] == "containers"]
    for at, item in containers:
        places = one.image_places((*at, "image"))
        main = len(running) == 1 or item["name"] in one.names
        if places:
            label = show_field(at[-2:])
            repository = Image.parse(as_text(item.get("image"))).repository
            note = _unmatched(one, repository, {place.spot.key for place in places})
            yield Hold("version", label, places, repository, leads=at[-2] == "containers" and main, note=note)


def _unmatched(one: Built, repository: str, used: set[Any]) -> str:
    """The entries of `images` that have the name of an image that they do not find, since another one renamed it."""
    entries = [step.place for step in one.steps if isinstance(step, ImageEntry) and _of_image(step) == repository]
    idle = [str(place.spot) for place in entries if place]
    idle = [] if any(place.spot.key in used for place in entries if place) else idle
    return f"{', '.join(idle)} finds no image of that name, and stays as it is." if idle else ""


def _of_image(entry: ImageEntry) -> str:
    return Image.parse(as_text(mapping(entry.source.value).get("name"))).repository


def _resource(one: Built) -> Iterator[Hold]:
    """The versions of a custom resource: images, and `spec.version`, which goes along with an image that says the same.

    Entries of `images` reach containers only: one with another image's name is idle, and is named.
    """
    found = list(images_in_values(Below(one, ("spec",)), "spec"))
    for hold in found:
        at = parse_field(hold.label)
        if hold.decides.form == "image" and not {"containers", "initContainers"}.isdisjoint(map(str, at)):
            yield replace(hold, places=one.image_places(at))
        else:
            yield replace(hold, note=_idle(one, hold))
    places = places_of("plain", one.spots(("spec", "version")))
    if places and _VERSION.fullmatch(places[-1].version):
        yield Hold("app-version" if found else "version", "spec.version", places)


def _idle(one: Built, hold: Hold) -> str:
    """The entries of `images` that name the image of a custom resource, which they do not reach."""
    entries = [step.place for step in one.steps if isinstance(step, ImageEntry) and _names(step, hold)]
    places = [str(place.spot) for place in entries if place]
    if not places:
        return ""
    return (
        f"{', '.join(places)} does not reach the image of a {one.kind}, and stays as it is: `images` sets containers."
    )


def _names(entry: ImageEntry, hold: Hold) -> bool:
    name = mapping(entry.source.value).get("name")
    return hold.decides.form == "image" and name == Image.parse(as_text(hold.decides.spot.value)).named
