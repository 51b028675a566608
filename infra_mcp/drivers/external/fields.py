"""The fields of a workload in which a change shows: their new values, and where they stand in an object. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from infra_mcp.drivers.base import Share
from infra_mcp.model.image import Image
from infra_mcp.model.names import Frozen
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.edits import SetValue
from infra_mcp.repository.partial import same_quantity
from infra_mcp.repository.scalars import Json

_CHART: Final = 'metadata.labels["helm.sh/chart"]'  # by convention NAME-VERSION (Helm, "Labels and Annotations")
_MAX: Final = 100  # values that are looked for


class Wanted(Frozen):
    """A value that a change brings: in one field of the workload as built, or in whatever field shows it."""

    value: str | int | float | bool
    at: str = ""  # the field; empty where the rendering is not known
    key: str = ""  # then the last key of the place that the edit sets: `replicas`


def wanted(share: Share, ref: ObjectRef) -> tuple[Wanted, ...]:
    """The values that a share brings to a workload: those of its build, or else those that the edit sets."""
    for build in share.builds:
        old, new = (
            next((one.object for one in side if _is(one.ref, ref)), None) for side in (build.before, build.after)
        )
        if new is not None:
            former = dict(fields(old or {}))
            return tuple(Wanted(value=v, at=at) for at, v in fields(new) if at not in former or former[at] != v)[:_MAX]
    found: dict[str, Wanted] = {}
    for key, value in _set(share):
        found.setdefault(f"{type(value).__name__}:{value}", Wanted(value=value, key=key))
    return tuple(found.values())[:_MAX]


def _is(built: ObjectRef, ref: ObjectRef) -> bool:
    """Whether a built object is a live one; who delivers it may set its namespace."""
    return (built.group, built.kind, built.name) == (ref.group, ref.kind, ref.name) and built.namespace in {
        None,
        ref.namespace,
    }


def version_of(share: Share) -> str:
    """The version that the edit sets, without its digest; empty where it sets none: an instance may only be changed."""
    version = share.instance.version.partition("@")[0] if share.instance else ""
    return version if any(version in str(value) for _, value in _set(share)) else ""


def _set(share: Share) -> Iterator[tuple[str, str | int | float | bool]]:
    """The plain values that the edit sets, each with the last key of its place."""
    for one in share.changes:
        if isinstance(one, SetValue) and one.after is not None:
            field = one.inside if one.inside is not None else one.field
            last = next((step for step in reversed(field) if isinstance(step, str)), "")
            yield from ((at.rpartition(".")[2] or last, value) for at, value in _leaves(one.after, ""))


def fields(workload: dict[str, Any]) -> Iterator[tuple[str, str | int | float | bool]]:
    """The plain values of what a workload asks for, each with its field: labels, and the whole spec."""
    labels = (workload.get("metadata") or {}).get("labels") or {}
    yield from _leaves({"labels": labels}, "metadata")
    yield from _leaves(workload.get("spec") or {}, "spec")


def showing(workload: dict[str, Any], values: Sequence[Wanted]) -> frozenset[str]:
    """The fields of a workload that have one of the values."""
    return frozenset(at for at, live in fields(workload) if any(_shows(at, live, one) for one in values))


def shows(workload: dict[str, Any], values: Sequence[Wanted], had: Iterable[str]) -> bool:
    """Whether a workload has the values in fields that did not have them before.

    What a build gives must be there in every field. Where no build is known, one field that shows one value is enough:
    a tag and a digest that are set together stand in one image.
    """
    found = showing(workload, values)
    if values and values[0].at:
        return {one.at for one in values} <= found
    return bool(found - set(had))


def holds_already(values: Sequence[Wanted], had: Iterable[str]) -> bool:
    """Whether a workload has the values already: all that a build gives, or one where it is to be expected.

    A number stands in many fields by chance; so of those only the one that is called as the edit's place counts.
    """
    found = set(had)
    if values and values[0].at:
        return {one.at for one in values} <= found
    keys = {one.key for one in values}
    return any(at.endswith(".image") or at == _CHART or at.rpartition(".")[2] in keys for at in found)


def _shows(at: str, live: str | float | bool, one: Wanted) -> bool:
    if one.at:
        return at == one.at and _equal(at, live, one.value)
    if isinstance(one.value, str) and isinstance(live, str):
        if at.endswith(".image"):
            return _is_image(Image.parse(live), one.value) or live == one.value
        if at == _CHART:
            return live.endswith(f"-{one.value}")
    return _equal(at, live, one.value)


def _is_image(image: Image, value: str) -> bool:
    """Whether an image has a tag, with a leading v or without, a digest, or both as `tag@digest`."""
    tag, _, digest = value.rpartition("@") if "@" in value else (value, "", "")
    if value.startswith("sha256:"):
        return image.digest == value
    if tag and image.tag.removeprefix("v") != tag.removeprefix("v"):
        return False
    return not digest or image.digest == digest


def _equal(at: str, live: str | float | bool, value: str | float | bool) -> bool:
    if isinstance(live, bool) or isinstance(value, bool):
        return live is value
    return str(live) == str(value) or same_quantity(tuple(at.split(".")), live, value)


def _leaves(value: Json, at: str) -> Iterator[tuple[str, str | int | float | bool]]:
    """Every plain value below one, with its field; an item of a list by its name, where all have one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{at}.{key}" if key.replace("-", "").isalnum() else f'{at}["{key}"]')
    elif isinstance(value, list):
        named = all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in value)
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{at}[{inner['name'] if named else number}]")
    elif value is not None:
        yield at, value
