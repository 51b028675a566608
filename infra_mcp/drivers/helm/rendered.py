"""What a chart renders: its objects and hooks, and what differs each time that it is rendered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from infra_mcp.clients.helm.stored import Hook, Revision
from infra_mcp.clients.kube import Cluster
from infra_mcp.errors import InfraError
from infra_mcp.model.effect import FieldPath, show_path
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.nodes import Unreadable, compose, values
from infra_mcp.repository.partial import get_path, remove_path
from infra_mcp.repository.scalars import Json

KEEP: Final = ("helm.sh/resource-policy", "keep")
HOOK: Final = "helm.sh/hook"
_OWNER: Final = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
_MANAGED: Final = "app.kubernetes.io/managed-by", "Helm"


@dataclass(frozen=True)
class Rendered:
    """One object as a chart renders it."""

    ref: ObjectRef
    body: dict[str, Any] = field(repr=False)
    volatile: tuple[FieldPath, ...] = ()  # fields that differ each time it is rendered
    hook: Hook | None = None  # where it is a hook

    @property
    def stable(self) -> dict[str, Any]:
        """Its body without the volatile fields."""
        return without(self.body, self.volatile)

    @property
    def stays(self) -> bool:
        """Whether Helm leaves it in the cluster when it is rendered no longer."""
        about = (self.body.get("metadata") or {}).get("annotations") or {}
        return bool(about.get(KEEP[0]) == KEEP[1])


@dataclass(frozen=True)
class Rendering:
    """What a release renders."""

    objects: tuple[Rendered, ...]
    hooks: tuple[Rendered, ...]

    def hooks_of(self, *events: str) -> tuple[Rendered, ...]:
        """Its hooks of these events, in the order in which Helm runs them."""
        found = [one for one in self.hooks if one.hook is not None and not set(one.hook.events).isdisjoint(events)]
        return tuple(sorted(found, key=lambda one: (one.hook.weight if one.hook else 0, one.ref.name)))


async def rendering_of(cluster: Cluster, revision: Revision) -> Rendering:
    """The objects and hooks of a revision, stored or rendered.

    Raises:
        InfraError: `build-failed`: it is no YAML of objects; `object-invalid`: the cluster has no such kind.
    """
    what = f"release {revision.namespace}/{revision.name}"
    objects = [await _rendered(cluster, body, revision.namespace) for body in parse(revision.manifest, what)]
    bodies = [(hook, body) for hook in revision.hooks for body in parse(hook.manifest, what)]
    hooks = [await _rendered(cluster, body, revision.namespace, hook) for hook, body in bodies]
    _refuse_twice(objects, what)
    return Rendering(tuple(objects), tuple(hooks))


async def rendering_of_text(cluster: Cluster, text: str, namespace: str, what: str) -> Rendering:
    """The objects and hooks that `helm template` prints together."""
    objects, hooks = [], []
    for body in parse(text, what):
        about = (body.get("metadata") or {}).get("annotations") or {}
        if HOOK in about:
            hooks.append(await _rendered(cluster, body, namespace, _hook(body, about)))
        else:
            objects.append(await _rendered(cluster, body, namespace))
    _refuse_twice(objects, what)
    return Rendering(tuple(objects), tuple(hooks))


def parse(text: str, what: str) -> Iterator[dict[str, Any]]:
    """Every object of a manifest; those of a List one by one.

    A YAML parser tells where a document ends: `---` in a value does not end one (helm/helm#32049).

    Raises:
        InfraError: `build-failed`.
    """
    try:
        documents = values(compose(text))
    except Unreadable as error:
        raise InfraError("build-failed", f"{what} renders what is no YAML, line {error.line}: {error.why}.") from None
    for one in documents:
        if one is None:
            continue
        if not isinstance(one, dict) or not isinstance(one.get("kind"), str):
            raise InfraError("build-failed", f"{what} renders a document that is no object.")
        listed = one.get("items")
        for body in listed if one["kind"].endswith("List") and isinstance(listed, list) else [one]:
            metadata = body.get("metadata") if isinstance(body, dict) else None
            if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
                raise InfraError("build-failed", f"{what} renders an object without a name.")
            yield body


async def _rendered(cluster: Cluster, body: dict[str, Any], namespace: str, hook: Hook | None = None) -> Rendered:
    version, kind, metadata = str(body.get("apiVersion") or ""), str(body["kind"]), body["metadata"]
    named = str(metadata.get("namespace") or namespace)
    place = named if await cluster.is_namespaced(version, kind) else None
    ref = ObjectRef(cluster=cluster.name, api_version=version, kind=kind, namespace=place, name=metadata["name"])
    return Rendered(ref, body, hook=hook)


def _hook(body: Mapping[str, Any], about: Mapping[str, Any]) -> Hook:
    def listed(key: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in str(about.get(key) or "").split(",") if word.strip())

    weight = str(about.get(f"{HOOK}-weight") or "0")
    name, kind = str(body["metadata"]["name"]), str(body["kind"])
    number = int(weight) if weight.removeprefix("-").isdecimal() else 0
    return Hook(name, kind, listed(HOOK), number, listed(f"{HOOK}-delete-policy"), "")


def _refuse_twice(objects: Iterable[Rendered], what: str) -> None:
    seen: set[str] = set()
    for one in objects:
        if one.ref.key in seen:
            raise InfraError("build-failed", f"{what} renders {one.ref} twice.")
        seen.add(one.ref.key)


def owned(body: Mapping[str, Any], release: str, namespace: str) -> dict[str, Any]:
    """A body with the label and annotations that Helm adds (pkg/action/validate.go)."""
    metadata = dict(body.get("metadata") or {})
    metadata["labels"] = {**(metadata.get("labels") or {}), _MANAGED[0]: _MANAGED[1]}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), _OWNER[0]: release, _OWNER[1]: namespace}
    return {**body, "metadata": metadata}


def owner_of(live: Mapping[str, Any]) -> tuple[str, str] | None:
    """Namespace and name of the release that an object belongs to; None where it belongs to none."""
    about = (live.get("metadata") or {}).get("annotations") or {}
    return (str(about[_OWNER[1]]), str(about[_OWNER[0]])) if _OWNER[0] in about and _OWNER[1] in about else None


def with_volatile(first: Rendering, second: Rendering, what: str) -> Rendering:
    """A rendering, with the fields in which another one of the same release differs.

    They are allowed in a Secret's data, where generated passwords and certificates stand, and in the values of
    annotations, where charts put random texts and checksums to replace pods.

    Raises:
        InfraError: `build-refused`: they differ elsewhere, so what will be installed is not known.
    """
    return Rendering(
        tuple(_marked(first.objects, second.objects, what)), tuple(_marked(first.hooks, second.hooks, what))
    )


def _marked(first: Sequence[Rendered], second: Sequence[Rendered], what: str) -> Iterator[Rendered]:
    others = {(one.ref.key, _events(one)): one for one in second}
    if len(first) != len(second) or {(one.ref.key, _events(one)) for one in first} != others.keys():
        raise _unsteady(what, "its objects have other names")
    for one in first:
        paths = tuple(differing(one.body, others[one.ref.key, _events(one)].body))
        for path in paths:
            if not _may_differ(one.ref.kind, path):
                raise _unsteady(what, f"{one.ref}{show_path(path)} has another value")
        yield Rendered(one.ref, one.body, paths, one.hook)


def _events(one: Rendered) -> tuple[str, ...]:
    return one.hook.events if one.hook else ()


def _may_differ(kind: str, path: FieldPath) -> bool:
    if kind == "Secret" and path[0] in {"data", "stringData"}:
        return True
    return "annotations" in path[:-1] and path[path.index("annotations") - 1] == "metadata"


def _unsteady(what: str, why: str) -> InfraError:
    step = "Fix the value in the release's values: what is random may stand in a Secret's data and in annotations only."
    return InfraError("build-refused", f"{what} renders otherwise each time: {why}.", next_step=step)


def differing(one: Json, other: Json, path: FieldPath = ()) -> Iterator[FieldPath]:
    """Each outermost field in which two bodies differ; of a map's field that only one has, the field."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            if key in one and key in other:
                yield from differing(one[key], other[key], (*path, key))
            else:
                yield (*path, key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for step, pair in enumerate(zip(one, other, strict=True)):
            yield from differing(*pair, (*path, step))
    elif one != other:
        yield path


def without(body: dict[str, Any], paths: Iterable[FieldPath]) -> dict[str, Any]:
    """A copy of a body without some fields."""
    made = deepcopy(body)
    for path in paths:
        if get_path(made, path)[0]:
            remove_path(made, path)
    return made


def deviations(judged: Rendering, stored: Rendering) -> list[str]:
    """Where what Helm installed is not what was judged, as people write it; empty where it is the same."""
    return [*_deviations(judged.objects, stored.objects, ""), *_deviations(judged.hooks, stored.hooks, "hook ")]


def _deviations(judged: Sequence[Rendered], stored: Sequence[Rendered], what: str) -> Iterator[str]:
    mine = {(one.ref.key, _events(one)): one for one in judged}
    theirs = {(one.ref.key, _events(one)): one for one in stored}
    yield from (f"{what}{mine[key].ref} is missing" for key in sorted(mine.keys() - theirs.keys()))
    yield from (f"{what}{theirs[key].ref} was not in the plan" for key in sorted(theirs.keys() - mine.keys()))
    for key in sorted(mine.keys() & theirs.keys()):
        one, other = mine[key], theirs[key]
        for path in differing(one.stable, without(other.body, one.volatile)):
            yield f"{what}{one.ref}{show_path(path)} is another"
        if _times(one) != _times(other):
            yield f"{what}{one.ref} runs at another time"


def _times(one: Rendered) -> tuple[int, frozenset[str]] | None:
    """When a hook runs and is deleted; Helm writes its default down once it has run."""
    return (one.hook.weight, frozenset(one.hook.delete or ("before-hook-creation",))) if one.hook else None
