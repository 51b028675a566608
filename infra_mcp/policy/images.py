"""The images of workloads; an app's containers are found by its image's repository. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from pydantic import JsonValue

from infra_mcp.model.effect import Change, FieldChange
from infra_mcp.model.image import Image
from infra_mcp.policy.grammar import repository


def containers_of(workload: dict[str, Any], repo: str) -> Iterator[tuple[str, str, str]]:
    """List, name and image of each container (init ones first) whose image is of the repository, in any spelling."""
    wanted = Image.parse(repo).repository
    spec = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
    for which in ("initContainers", "containers"):
        for container in spec.get(which) or []:
            image = container.get("image") if isinstance(container, dict) else None
            if isinstance(image, str) and Image.parse(image).repository == wanted:
                yield which, str(container.get("name", "")), image


def places(workload: dict[str, Any], repo: str) -> set[tuple[str, str]]:
    """List and name of each container whose image comes from the repository."""
    return {(which, name) for which, name, _ in containers_of(workload, repo)}


def version_of(image: str, template: str) -> str:
    """The version of an image: its part for the template's `{version}`, else its tag, its digest or `latest`."""
    name, _, digest = image.partition("@")
    tag = name.removeprefix(repository(name)).removeprefix(":")
    before, _, after = template.removeprefix(repository(template)).removeprefix(":").partition("{version}")
    if len(tag) > len(before) + len(after) and tag.startswith(before) and tag.endswith(after):
        return tag[len(before) : len(tag) - len(after)]
    return tag or digest or "latest"


def images_in(value: Any) -> Iterator[str]:  # noqa: ANN401 - any JSON value
    """Every value of the key `image` at any depth; empty for one that is no text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "image":
                yield inner if isinstance(inner, str) else ""
            else:
                yield from images_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from images_in(inner)


def new_images(change: Change) -> tuple[str, ...]:
    """Every image that a change would newly run, as its driver or its fields name it."""
    fields = (_images_at(field, field.after) for field in change.fields if field.has)
    return tuple(dict.fromkeys((*change.images, *chain.from_iterable(fields))))


def former_images(change: Change) -> tuple[str, ...]:
    """Every image that a change would replace or remove."""
    return tuple(chain.from_iterable(_images_at(field, field.before) for field in change.fields if field.had))


def _images_at(field: FieldChange, value: JsonValue) -> Iterator[str]:
    last = field.path[-1] if field.path else ""
    return images_in({last: value} if isinstance(last, str) else value)
