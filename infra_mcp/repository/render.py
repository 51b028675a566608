"""From bytes to the objects they stand for, each with its identity; and from a new object to bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from infra_mcp.errors import InfraError
from infra_mcp.model.plan import ObjectRef
from infra_mcp.repository.nodes import Node, Unreadable, compose, decode, values
from infra_mcp.repository.styles import lines

__all__ = ["Document", "Located", "dump", "located", "parse", "read"]

# apiVersion and kind as the API server's own conventions have them.
_API_VERSION = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[a-z0-9]+")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[^\s/%\x00-\x1f\x7f]{1,253}")
_FIRST = ("apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations")


@dataclass(frozen=True)
class Document:
    """A document that is a Kubernetes object: its place among the file's documents, and its value."""

    index: int
    object: dict[str, Any]


@dataclass(frozen=True)
class Located:
    """An object, and where the repository says it: file, and document in the file (counted from zero).

    The identity is the rendered object's. A namespaced object whose file names no namespace has none here either.
    """

    path: str
    index: int
    ref: ObjectRef
    object: dict[str, Any]


def parse(data: bytes, path: str, cluster: str) -> list[Located]:
    """Every Kubernetes object of a file.

    Empty documents, and mappings that are plainly something else (neither `apiVersion` nor `kind`: chart values, a
    tool's configuration), are passed over. Whether the API server would accept an object is not looked at.

    Raises:
        InfraError: `manifest-invalid`, naming file and line: not YAML, duplicate keys, tags, a byte order mark, too
            deep, too many documents or aliases, a List, or an object without kind or name.
    """
    try:
        return [located(document, path, cluster) for document in read(data)]
    except Unreadable as error:
        raise InfraError("manifest-invalid", f"{path}, line {error.line}: {error.why}.") from None


def located(document: Document, path: str, cluster: str) -> Located:
    """A document with its identity; it has been read, so it has one."""
    metadata = document.object["metadata"]
    ref = ObjectRef(
        cluster=cluster,
        api_version=document.object["apiVersion"],
        kind=document.object["kind"],
        namespace=metadata.get("namespace") or None,
        name=metadata["name"],
    )
    return Located(path, document.index, ref, document.object)


def read(data: bytes) -> list[Document]:
    """The same as `parse`, for content whose path does not matter yet.

    Raises:
        Unreadable: naming the line.
    """
    roots = compose(decode(data))
    found = []
    for index, (root, value) in enumerate(zip(roots, values(roots), strict=True)):
        if value is not None and _is_object(root, value):
            found.append(Document(index, value))
    return found


def dump(obj: dict[str, Any]) -> bytes:
    """A new file for one object: the same object gives the same bytes, whatever order its keys came in."""
    return ("\n".join(lines(_ordered(obj))) + "\n").encode()


def _ordered(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    if not isinstance(value, dict):
        return value
    first = [key for key in _FIRST if key in value]
    return {key: _ordered(value[key]) for key in [*first, *sorted(value.keys() - set(first))]}


def _is_object(root: Node, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    if not isinstance(value, dict):
        raise Unreadable(root.line, "a document is no mapping")
    if "apiVersion" not in value and "kind" not in value:
        return False
    _require(root, _matches(_API_VERSION, value.get("apiVersion")), "an object has no apiVersion, or a malformed one")
    _require(root, _matches(_KIND, value.get("kind")), "an object has no kind, or a malformed one")
    a_list = value["kind"].endswith("List") and "items" in value
    _require(root, not a_list, "a List holds objects; write each as a document of its own")
    metadata = value.get("metadata")
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
