"""The images of workloads; an app's containers are found by its image's repository. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from pydantic import JsonValue

from infra_mcp.model.effect import Change, FieldChange
from infra_mcp.model.image import Image
from infra_mcp.policy.grammar import repository
from infra_mcp.policy.guard.kinds import delivers, kind_of

_DATA: Final = frozenset({"ConfigMap", "Secret"})
_RELEASE: Final = ("helm", "release")  # system and kind of what only gives values to a chart


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
    """Every image that a value names, at any depth; empty for one that cannot be read.

    Beside `image` these are the names that custom resources have for it (`imageName`, `initImage`, texts in `images`),
    and an image as a map: a volume's `reference`, or registry, repository, tag and digest.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "image":
                yield _image(inner)
            elif isinstance(inner, str) and (key == "imageName" or key.endswith("Image")):
                yield inner
            else:
                if key == "images" or key.endswith("Images"):
                    several = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else ()
                    yield from (one for one in several if isinstance(one, str))
                yield from images_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from images_in(inner)


def _image(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        parts = {key: value.get(key) for key in ("registry", "repository", "tag", "digest")}
        if isinstance(value.get("reference"), str):
            return str(value["reference"])
        if not isinstance(parts["repository"], str) or not all(isinstance(one, str | None) for one in parts.values()):
            return ""
        name = "/".join(filter(None, (parts["registry"], parts["repository"])))
        return name + (f":{parts['tag']}" if parts["tag"] else "") + (f"@{parts['digest']}" if parts["digest"] else "")
    return value if isinstance(value, str) else ""


def added_images(rendered: dict[str, Any], before: dict[str, Any] | None) -> tuple[str, ...]:
    """Every image of a whole object that the one before does not run. Nothing runs the data of one.

    Args:
        rendered: the object as it would be.
        before: as it is; None where it would be created.
    """
    kind = kind_of(rendered)
    if kind in _DATA:
        return ()
    # Where it cannot be read in values for a chart, the chart has the rest of it.
    known = {*images_in(before), *([""] if delivers(kind) else [])}
    return tuple(dict.fromkeys(image for image in images_in(rendered) if image not in known))


def new_images(change: Change) -> tuple[str, ...]:
    """Every image that a change would newly run, as its driver or its fields name it.

    The values of a Helm release run nothing, and may name an image in parts: what they render is a change of its own.
    """
    if (change.target.system, change.target.kind) == _RELEASE:
        return ()
    fields = (_images_at(field, field.after) for field in change.fields if field.has)
    found = () if change.target.kind in _DATA else chain.from_iterable(fields)
    return tuple(dict.fromkeys((*change.images, *found)))


def former_images(change: Change) -> tuple[str, ...]:
    """Every image that a change would replace or remove."""
    return tuple(chain.from_iterable(_images_at(field, field.before) for field in change.fields if field.had))


def _images_at(field: FieldChange, value: JsonValue) -> Iterator[str]:
    if field.path[-2:] == ("image", "reference"):  # of a volume
        return images_in({"image": value})
    last = field.path[-1] if field.path else ""
    return images_in({last: value} if isinstance(last, str) else value)
