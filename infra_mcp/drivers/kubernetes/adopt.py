"""Reads from `managedFields` who owns which fields of a live object (KEP-555). Pure.

An apply deletes the fields that its manager owns and does not send. So the body of an apply begins with `extract`: all
that we own, with its live values; and only fields that a request sets are ever taken over from another manager.

`Own` recognises our own writes by a nonce, the manager and the whole body, which others cannot write. After a lost
answer or a kill, an existing object may be ours or someone else's. The nonce of a create leaves the process only in
that write: it is derived from a random secret of the request, which the ledger records before the first write and
never shows. An update carries none: it is bound to the object that was read.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

from infra_mcp.clients.kube import FIELD_MANAGER
from infra_mcp.drivers.kubernetes.owner import deliverer
from infra_mcp.model.effect import FieldPath
from infra_mcp.model.marks import REQUEST, WRITE
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.partial import ATOMIC, KEY_DEFAULTS, SET, item_keys
from infra_mcp.repository.scalars import Json

Fields = Mapping[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_NAME_LABEL = "kubernetes.io/metadata.name"  # the API server's own
_SERVERS = frozenset({"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"})


class Lost(NamedTuple):
    """A field that another manager would lose to us."""

    manager: str
    operation: str
    subresource: str
    path: FieldPath


def _entries(live: Mapping[str, Any]) -> list[dict[str, Any]]:
    return live.get("metadata", {}).get("managedFields") or []


def owned_by_us(live: Mapping[str, Any]) -> dict[str, Any]:
    """Our own entry of `managedFields`, for applies without a subresource; empty when there is none."""
    for entry in _entries(live):
        identity = entry.get("manager"), entry.get("operation"), entry.get("subresource", "")
        if identity == (FIELD_MANAGER, "Apply", ""):
            return entry
    return {}


def extract(live: Mapping[str, Any]) -> dict[str, Any]:
    """The body with exactly what we own: applied, it changes neither fields nor resourceVersion."""
    others = [entry.get("fieldsV1") or {} for entry in _others(live)]
    body = _take(live, owned_by_us(live).get("fieldsV1") or {}, others)
    name = {key: live["metadata"][key] for key in ("name", "namespace") if live["metadata"].get(key)}
    metadata = body.get("metadata", {}) | name
    return {**body, "apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": metadata}


def applied_by_others(live: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each other manager last applied and still holds; nothing for an object that a tool manages as a whole.

    Client-side apply (KEP-555 calls it the migration source) writes its whole body into an annotation.
    """
    if deliverer(live) is not None:
        return
    text = (live.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED)
    try:
        body = json.loads(text or "null")
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict):
        yield "kubectl", body
    for entry in _others(live):
        if entry.get("operation") == "Apply" and not entry.get("subresource"):
            others = [other.get("fieldsV1") or {} for other in _entries(live) if other is not entry]
            yield str(entry.get("manager", "")), _take(live, entry.get("fieldsV1") or {}, others)


def _take(value: Json, fields: Fields, others: list[Fields]) -> Json:
    """The part of a live value that a field set covers.

    A leaf takes the whole live value, unless others own fields below it: then we own only its existence.
    """
    if not fields:
        if any(set(other) - {"."} for other in others):
            return {} if isinstance(value, dict) else [] if isinstance(value, list) else value
        return deepcopy(value)
    if isinstance(value, list):
        return list(_take_items(value, fields, others))
    taken = {}
    for key, below in fields.items():
        name = key[2:]
        if key.startswith("f:") and isinstance(value, dict) and name in value:
            taken[name] = _take(value[name], below, [o[key] for o in others if key in o])
    return taken


def _take_items(items: list[Any], fields: Fields, others: list[Fields]) -> Iterator[Any]:
    """Our items in their live order, so that applying them again moves none."""
    wanted = [(json.loads(key[2:]), key) for key in fields if key.startswith("k:")]
    values = [json.loads(key[2:]) for key in fields if key.startswith("v:")]
    for item in items:
        if item in values:
            yield deepcopy(item)
        for keys, key in wanted:
            if item_keys(item, tuple(keys)) == keys:
                taken = _take(item, fields[key], [o[key] for o in others if key in o])
                yield {k: v for k, v in keys.items() if k not in KEY_DEFAULTS} | taken


def lists(*objects: Mapping[str, Any] | None) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Which lists of these objects are keyed, sets or atomic, as the server itself wrote it into `managedFields`."""
    found: dict[tuple[str, ...], tuple[str, ...]] = {}

    def walk(fields: Fields, value: Json, path: tuple[str, ...]) -> None:
        items = value if isinstance(value, list) else []
        if isinstance(value, list) and not set(fields) - {"."}:
            found.setdefault(path, ATOMIC)
        for key, below in fields.items():
            if key.startswith("f:") and isinstance(value, dict):
                walk(below, value.get(key[2:]), (*path, key[2:]))
            elif key.startswith("k:"):
                keys = json.loads(key[2:])
                found[path] = tuple(keys)
                walk(below, next((i for i in items if item_keys(i, tuple(keys)) == keys), None), path)
            elif key.startswith("v:"):
                found[path] = SET

    for obj in objects:
        for entry in _entries(obj or {}):
            walk(entry.get("fieldsV1") or {}, obj, ())
    return found


def _paths(fields: Fields, path: FieldPath) -> Iterator[FieldPath]:
    if not fields and path:
        yield path
    for key, below in fields.items():
        if key == ".":
            yield path
        elif key.startswith("f:"):
            yield from _paths(below, (*path, key[2:]))
        elif key.startswith("k:"):
            yield from _paths(below, (*path, json.loads(key[2:])))
        elif key.startswith("v:"):
            yield (*path, {"=": json.loads(key[2:])})


def _owned(entries: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str, str], dict[str, FieldPath]]:
    """Each manager's fields, by (manager, operation, subresource); each path by its text."""
    found: dict[tuple[str, str, str], dict[str, FieldPath]] = {}
    for entry in entries:
        identity = str(entry.get("manager", "")), str(entry.get("operation", "")), str(entry.get("subresource", ""))
        paths = {json.dumps(p, sort_keys=True): p for p in _paths(entry.get("fieldsV1") or {}, ())}
        found.setdefault(identity, {}).update(paths)
    return found


def _others(obj: Mapping[str, Any]) -> list[dict[str, Any]]:
    ours = owned_by_us(obj)
    return [entry for entry in _entries(obj) if entry is not ours]


def lost_fields(live: Mapping[str, Any], dry: Mapping[str, Any]) -> list[Lost]:
    """What each other manager owns in `live` and no more in `dry`, in a stable order."""
    after = _owned(_others(dry))
    return [
        Lost(*identity, path)
        for identity, paths in sorted(_owned(_others(live)).items())
        for text, path in sorted(paths.items())
        if text not in after.get(identity, {})
    ]


def owners(live: Mapping[str, Any], path: FieldPath, *, others: bool = False) -> list[str]:
    """The managers that own the field, or something below it.

    Args:
        live: the object.
        path: the field.
        others: leave out our own `Apply` entry.
    """
    entries = _others(live) if others else _entries(live)
    return sorted(
        {
            manager
            for (manager, _, _), paths in _owned(entries).items()
            if any(owned[: len(path)] == path for owned in paths.values())
        }
    )


@dataclass(frozen=True)
class Own:
    """One request's writes."""

    request: str  # its id
    secret: str  # random, from its record; without one nothing is its own

    def nonce(self, ref: ObjectRef) -> str:
        """The nonce of this request's create of one object."""
        return hmac.new(self.secret.encode(), f"{self.request} {ref.key}".encode(), "sha256").hexdigest()[:32]

    def marked(self, ref: ObjectRef, body: dict[str, Any]) -> dict[str, Any]:
        """The body of a create with this request's marks."""
        metadata = body["metadata"]
        marks = {REQUEST: self.request, WRITE: self.nonce(ref)}
        return body | {"metadata": metadata | {"annotations": metadata.get("annotations", {}) | marks}}

    def wrote(self, ref: ObjectRef, live: Mapping[str, Any] | None, uid: str | None) -> bool:
        """Whether this request created the object, or, where it was there before with this uid, updated it."""
        if uid is not None:
            return shows(live, self.request, uid)
        return bool(self.secret) and carries(live, self.nonce(ref))

    def made(self, ref: ObjectRef, body: dict[str, Any], live: Mapping[str, Any] | None) -> bool:
        """Whether our create of this body made the live object, and nothing was added since.

        Annotations of others do not count: some clusters put theirs on every namespace.
        """
        if live is None or not self.wrote(ref, live, None):
            return False
        wanted = self.marked(ref, body)
        about, asked = live["metadata"], wanted["metadata"]
        labels = {key: value for key, value in (about.get("labels") or {}).items() if key != _NAME_LABEL}
        annotations = about.get("annotations") or {}
        rest = {key: value for key, value in live.items() if key not in {"metadata", "status", "spec"}}
        return (
            labels == asked.get("labels", {})
            and asked["annotations"].items() <= annotations.items()
            and set(about) - _SERVERS <= {"name", "namespace", "labels", "annotations"}
            and rest == {key: value for key, value in wanted.items() if key != "metadata"}
            and (live.get("spec") or {}) in ({}, {"finalizers": ["kubernetes"]})
        )


def carries(live: Mapping[str, Any] | None, nonce: str) -> bool:
    """Whether an object carries the nonce of a create, as our field manager's."""
    return _is_marked(live, WRITE, nonce)


def shows(live: Mapping[str, Any] | None, request: str, uid: str) -> bool:
    """Whether the very object that was read carries a request's mark, as our field manager's."""
    return live is not None and live["metadata"]["uid"] == uid and _is_marked(live, REQUEST, request)


def _is_marked(live: Mapping[str, Any] | None, mark: str, value: str) -> bool:
    found = ((live or {}).get("metadata", {}).get("annotations") or {}).get(mark)
    return live is not None and found == value and FIELD_MANAGER in owners(live, ("metadata", "annotations", mark))
