"""Recognises our own writes: by a nonce, the manager and the whole body, which others cannot write.

After a lost answer or a kill, an existing object may be ours or someone else's. The nonce of a create leaves the
process only in that write: it is derived from a random secret of the request, which the ledger records before the
request's first write and never shows. An update carries none, so that it adds nothing to people's objects: it is bound
to the object that was read.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra_mcp.clients.kube import FIELD_MANAGER
from infra_mcp.drivers.kubernetes.adopt import owners
from infra_mcp.model.marks import REQUEST, WRITE
from infra_mcp.model.object_ref import ObjectRef

_NAME_LABEL = "kubernetes.io/metadata.name"  # the API server's own
_SERVERS = frozenset({"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"})


@dataclass(frozen=True)
class Own:
    """One request's writes.

    Args:
        request: its id.
        secret: random, from its record; without one nothing is its own.
    """

    request: str
    secret: str

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
