"""Units of Kubernetes objects that name images themselves: workloads, and custom resources of operators."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from infra_mcp.model.image import Image
from infra_mcp.model.location import show_field
from infra_mcp.repository.census.built import POD_TEMPLATES, Built
from infra_mcp.repository.census.entries import Entry
from infra_mcp.repository.census.unit import Unit
from infra_mcp.repository.layers import Below
from infra_mcp.repository.locator.holds import Hold, images_in_values

# Groups whose objects deliver others, or hold no image that people deploy.
_NOT_OURS = ("toolkit.fluxcd.io", "argoproj.io", "kustomize.config.k8s.io", "infra-mcp.dev")


def units(entry: Entry) -> Iterator[Unit]:
    """The workloads and custom resources of an entry."""
    for one in entry.objects:
        app = str((one.base.value.get("metadata") or {}).get("name") or "")
        group = one.api_version.rpartition("/")[0]
        make = partial(
            Unit,
            app,
            one.kind,
            one.name,
            one.namespace,
            one.base.path,
            entry,
            folders=one.folders,
            aliases=(entry.by.rpartition("/")[2], *entry.names),
        )
        if one.kind in POD_TEMPLATES and app:
            yield make(partial(_containers, one), replicas=partial(one.spots, ("spec", "replicas")))
        elif app and "." in group and not group.endswith(("k8s.io", *_NOT_OURS)):
            unit = make(partial(_resource, one), replicas=partial(one.spots, ("spec", "replicas")))
            if unit.holds:
                yield unit


def _containers(one: Built) -> Iterator[Hold]:
    containers = list(one.containers())
    running = [item for at, item in containers if at[-2] == "containers"]
    for at, item in containers:
        places = one.image_places((*at, "image"))
        main = len(running) == 1 or item["name"] in one.names
        if places:
            label = show_field(at[-2:])
            yield Hold(
                "version", label, places, Image.parse(item["image"]).repository, leads=at[-2] == "containers" and main
            )


def _resource(one: Built) -> Iterator[Hold]:
    yield from images_in_values(Below(one, ("spec",)), "spec")
