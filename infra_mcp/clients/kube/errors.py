"""What a cluster may answer instead of doing it, as one exception of our own.

The API server's `Status` is parsed once, here. Headers and bodies never travel further: texts are cut to 256 characters
without control characters, and texts about a Secret are dropped, since a validation message may quote its content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.text import named, one_line, quoted

WITHHELD = "(text withheld: it may quote the Secret)"
_OWNER = re.compile(r'conflict with ("(?:[^"\\]|\\.)*")(?: with subresource ("(?:[^"\\]|\\.)*"))?')
_NOT_TYPED = re.compile(r"^failed to (create typed|convert)|field not declared in schema")
# how rights are refused, and how an admission plugin refuses everything until it has read what it goes by
_RBAC = re.compile(r'User ".*" cannot |not yet ready to handle request')
DENIED_FOR = 10.0  # seconds a refusal of rights may last: an API server that was restarted has not read its rules yet


def _unquote(text: str) -> str:
    try:
        return str(json.loads(text))  # Go's %q, in the cases that names of managers can be
    except ValueError:
        return text.strip('"')


def is_denied(error: Exception) -> bool:
    """Whether it is a refusal of rights, and not of an object, as the cluster answered it or as it was translated."""
    if isinstance(error, KubeError):
        return error.status == HTTPStatus.FORBIDDEN and _RBAC.search(error.message) is not None
    return isinstance(error, InfraError) and error.code == "cluster-denied"


@dataclass(frozen=True)
class Cause:
    """One cause of a refusal: its machine-readable reason, the field, and the server's words."""

    reason: str
    field: str
    message: str

    @property
    def manager(self) -> str:
        """Who owns the field, for a `FieldManagerConflict`; else empty."""
        found = _OWNER.search(self.message)
        return one_line(_unquote(found[1])) if found else ""

    @property
    def subresource(self) -> str:
        """The subresource the owner wrote through, such as `scale`; usually empty."""
        found = _OWNER.search(self.message)
        return one_line(_unquote(found[2])) if found and found[2] else ""


class KubeError(Exception):
    """The cluster did not do it.

    Args:
        status: the HTTP status; 0 when there was no answer.
        reason: the server's reason (`Conflict`, `Invalid`, …), `Unreachable`, or `OutcomeUnknown` for a write of which
            nobody can say from here whether it happened: read again before saying anything.
        message: one cleaned line.
        causes: the `details.causes` of the answer.
        retry_after: seconds the server asks to wait.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        causes: tuple[Cause, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes
        self.retry_after = retry_after

    @classmethod
    def parse(cls, status: int, headers: Mapping[str, str], data: bytes, *, secret: bool = False) -> KubeError:
        """The error in an answer.

        Args:
            status: the HTTP status.
            headers: the answer's headers; only `Retry-After` is read.
            data: the body; a `Status`, or whatever a proxy put there.
            secret: the request carried or addressed a Secret, so texts that may quote it are dropped.
        """
        try:
            body: Any = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            body = {"message": "" if secret else data[:4096].decode("utf-8", "replace")}
        details = body.get("details")
        details = details if isinstance(details, dict) else {}
        causes = []
        listed = details.get("causes")
        for cause in [one for one in (listed if isinstance(listed, list) else [])[:50] if isinstance(one, dict)]:
            reason = one_line(str(cause.get("reason", "")))
            message = one_line(str(cause.get("message", "")))
            if secret and reason != "FieldManagerConflict":
                message = WITHHELD
            causes.append(Cause(reason, one_line(str(cause.get("field", ""))), message))
        message = one_line(str(body.get("message") or "no further text"))
        reason = named(str(body.get("reason") or f"HTTP {status}"))
        if status == HTTPStatus.INTERNAL_SERVER_ERROR and _NOT_TYPED.search(message):
            reason = "SchemaMismatch"  # how server-side apply says: unknown field, or wrong type
        if secret and status in {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.INTERNAL_SERVER_ERROR,
        }:
            message = WITHHELD
        after = headers.get("Retry-After") or details.get("retryAfterSeconds")
        try:
            wait = float(after) if after is not None else None
        except ValueError:  # an HTTP date, which the API server does not send
            wait = None
        return cls(status, reason, message, tuple(causes), wait)

    @property
    def is_field_conflict(self) -> bool:
        """Another manager owns a field the apply would change."""
        return self.status == HTTPStatus.CONFLICT and any(c.reason == "FieldManagerConflict" for c in self.causes)

    @property
    def is_version_conflict(self) -> bool:
        """The object is not the one that was read: it moved, was deleted, or is another one of the same name."""
        if self.status == HTTPStatus.CONFLICT:
            return self.reason != "AlreadyExists" and not self.is_field_conflict
        return self.status == HTTPStatus.UNPROCESSABLE_ENTITY and any(c.field == "metadata.uid" for c in self.causes)

    @property
    def is_unknown(self) -> bool:
        """A write that may or may not have happened."""
        return self.reason == "OutcomeUnknown"

    @property
    def is_invalid(self) -> bool:
        """The object itself is at fault; sending it again cannot help."""
        return self.reason == "SchemaMismatch" or self.status in _INVALID

    def translate(self, ref: ObjectRef | str | None = None) -> InfraError:
        """The error in the product's own words.

        Args:
            ref: the object it is about, or words for it, where that is known.
        """
        code, what, advice = self._translate(str(ref or "the request"))
        return (InfraError if self.status else Unavailable)(code, what, next_step=advice)

    def _translate(self, what: str) -> tuple[str, str, str | None]:
        message = quoted(self.message) if self.status else self.message
        said = f"{what}: the API server answered {self.status} {self.reason}: {message}"
        if self.is_unknown:
            return "cluster-unreachable", f"Whether {what} was written is not known: {message}.", None
        if self.is_field_conflict:
            return "field-conflict", f"{what}: {self._owners()}.", None
        if self.is_version_conflict:
            return "object-moved", f"{what} is not as it was read: {message}", None
        if self.is_invalid:
            return "object-invalid", said, None
        # Admission checks (quota, pod security, webhooks) forbid too; then the object is at fault, not a missing right.
        if self.status == HTTPStatus.FORBIDDEN and not _RBAC.search(self.message):
            return "object-invalid", said, None
        code, sentence, advice = _BY_STATUS.get(self.status, ("cluster-error", "{said}", None))
        return code, sentence.format(what=what, said=said, message=message), advice

    def _owners(self) -> str:
        owned = []
        for cause in self.causes:
            if cause.reason == "FieldManagerConflict":
                through = f" (through {named(cause.subresource)})" if cause.subresource else ""
                owner = named(cause.manager) if cause.manager else "another manager"
                owned.append(f"{cause.field} is owned by {owner}{through}")
        return ", ".join(owned)


_INVALID = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_ACCEPTABLE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}
_BY_STATUS: dict[int, tuple[str, str, str | None]] = {
    0: ("cluster-unreachable", "The API server could not be reached for {what}: {message}.", None),
    HTTPStatus.UNAUTHORIZED: (
        "cluster-unreachable",
        "The API server does not accept our login (401): {message}",
        "Renew the credential of the context that infra.toml names.",
    ),
    HTTPStatus.FORBIDDEN: ("cluster-denied", "{said}", None),
    HTTPStatus.NOT_FOUND: ("not-found", "{said}", "Create what is named there first, or check its name."),
    HTTPStatus.CONFLICT: ("exists", "{what} is there already.", None),
    HTTPStatus.TOO_MANY_REQUESTS: (
        "cluster-unreachable",
        "The API server is too busy for {what}.",
        "Send it again in a minute.",
    ),
}
