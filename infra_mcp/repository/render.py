"""Reads the objects of a file, each with its identity, and writes a new object's file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from infra_mcp.errors import InfraError
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.nodes import Node, Unreadable, compose, decode, values
from infra_mcp.repository.partial import same
from infra_mcp.repository.scalars import Json
from infra_mcp.repository.styles import lines

# apiVersion and kind as the API server's own conventions have them.
_API_VERSION = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[a-z0-9]+")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[^\s/%\x00-\x1f\x7f]{1,253}")
_FIRST = ("apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations")


@dataclass(frozen=True)
class Found:
    """A value, and its place: file, document in the file (counted from zero), and path in the document."""

    path: str
    index: int
    object: Any
    at: tuple[str | int, ...]  # where in the document, if that is a List

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Located(Found):
    """An object, with the identity that its file gives it: no namespace where the file names none."""

    ref: ObjectRef

    def __str__(self) -> str:
        return f"{self.path}, {self.ref}"


def differing(before: Iterable[Located], after: Iterable[Located]) -> Iterator[tuple[Located | None, Located | None]]:
    """Every object that two sets have differently, before and after: the new ones in their order, then what goes."""
    old, new = ({one.ref.key: one for one in side} for side in (before, after))
    for key, one in new.items():
        was = old.get(key)
        if was is None or not same(was.object, one.object):
            yield was, one
    for key, one in old.items():
        if key not in new:
            yield one, None


def parse(data: bytes, path: str, cluster: str, malformed: list[str] | None = None) -> list[Located]:
    """Every Kubernetes object of a file, as `read` finds them.

    Args:
        data: the file's bytes.
        path: its path.
        cluster: the cluster that its objects are for.
        malformed: gets the report about each malformed object instead of an error.

    Raises:
        InfraError: `manifest-invalid`, naming file and line: not YAML, duplicate keys, tags, a byte order mark, too
            deep, too many documents or aliases, or an object with a malformed kind or name.
    """
    skipped: list[Unreadable] = []
    try:
        found = read(data, path, cluster, None if malformed is None else skipped)
    except Unreadable as error:
        raise InfraError("manifest-invalid", f"{path}, line {error.line}: {error.why}.") from None
    if malformed is not None:
        malformed += [f"{path}, line {one.line}: {one.why}." for one in skipped]
    return found


def read(
    data: bytes, path: str = "", cluster: str = "", malformed: list[Unreadable] | None = None, *, whole: bool = False
) -> list[Located]:
    """Every Kubernetes object of a file. Whether the API server would accept it is not checked.

    Documents that cannot be one object of a cluster are skipped: without `apiVersion` or `kind` (values, patches,
    notes), or with a generated name. The items of a List are objects.

    Args:
        data: the file's bytes.
        path: its path.
        cluster: the cluster that its objects are for.
        malformed: gets the error of each object with a malformed kind or name, which is then skipped.
        whole: whether nothing may be skipped: all of it becomes live.

    Raises:
        Unreadable: naming the line.
    """
    roots = compose(decode(data))
    found = []
    for index, (root, value) in enumerate(zip(roots, values(roots), strict=True)):
        items: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
        if _is_list(value):
            items = [(("items", i), item) for i, item in enumerate(value.get("items") or ())]
        for at, obj in items:
            try:
                if _is_object(root, obj):
                    found.append(Located(path, index, obj, at, _ref(obj, cluster)))
                elif whole and obj is not None:
                    _require(root, False, "an object has no apiVersion, no kind, or a generated name")
            except Unreadable as error:
                if malformed is None:
                    raise
                malformed.append(error)
    return found


def _ref(obj: dict[str, Any], cluster: str) -> ObjectRef:
    name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace") or None
    return ObjectRef(cluster=cluster, api_version=obj["apiVersion"], kind=obj["kind"], namespace=namespace, name=name)


def _is_list(value: Json) -> bool:
    """Whether it is a List as `kubectl get -o yaml` writes one."""
    named = isinstance(value, dict) and "apiVersion" in value and str(value.get("kind")).endswith("List")
    return named and isinstance(value.get("items"), list | None)


def dump(obj: dict[str, Any]) -> bytes:
    """A new file for one object: the same object gives the same bytes, whatever order its keys came in."""
    return ("\n".join(lines(_ordered(obj))) + "\n").encode()


def _ordered(value: Json) -> Json:
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if not isinstance(value, dict):
        return value
    first = [key for key in _FIRST if key in value]
    return {key: _ordered(value[key]) for key in [*first, *sorted(value.keys() - set(first))]}


def _is_object(root: Node, value: Json) -> bool:
    if not isinstance(value, dict) or not {"apiVersion", "kind"} <= value.keys():
        return False
    _require(root, _matches(_API_VERSION, value["apiVersion"]), "an object has a malformed apiVersion")
    _require(root, _matches(_KIND, value["kind"]), "an object has a malformed kind")
    metadata = value.get("metadata")
    if isinstance(metadata, dict) and "name" not in metadata and "generateName" in metadata:
        return False
    named = isinstance(metadata, dict) and _matches(_NAME, metadata.get("name"))
    _require(root, named, "an object has no metadata.name, or a malformed one")
    namespace = (metadata or {}).get("namespace")
    _require(root, not namespace or _matches(_NAMESPACE, namespace), "an object's metadata.namespace is malformed")
    return True


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _require(root: Node, holds: bool, why: str) -> None:
    if not holds:
        raise Unreadable(root.line, why)
