"""The API server's refusals and failures, as one exception of our own.

The API server's `Status` is parsed once, here. Headers and bodies go no further: texts are cut to 256 characters
without control characters, and texts about a Secret are dropped, since a validation message may quote its content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.model.marks import ONLY_OURS
from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.text import named, one_line, quoted

WITHHELD = "(text withheld: it may quote the Secret)"
_OWNER = re.compile(r'conflict with ("(?:[^"\\]|\\.)*")(?: with subresource ("(?:[^"\\]|\\.)*"))?')
_NOT_TYPED = re.compile(r"^failed to (create typed|convert)|field not declared in schema")
# how rights are refused, and how an admission plugin refuses everything until it has read its configuration
_RBAC = re.compile(r'User ".*" cannot |not yet ready to handle request')
# How people's own rules refuse: a ValidatingAdmissionPolicy (Kubernetes 1.36), and a webhook.
_BY_POLICY = re.compile(
    r"ValidatingAdmissionPolicy '([^']{1,253})' with binding '[^']{1,253}' denied request: (.*)", re.DOTALL
)
_BY_WEBHOOK = re.compile(r'admission webhook "([^"]{1,253})" denied the request(?:: (.*))?', re.DOTALL)
_MAX_DENIAL = 1000  # characters of what such a rule says
MAX_CAUSES = 50
DENIED_FOR = 10.0  # seconds a refusal of rights may last: an API server that was restarted has not read its rules yet


def is_denied(error: Exception) -> bool:
    """Whether it is a refusal of rights, and not of an object; a `KubeError` or its translation."""
    if isinstance(error, KubeError):
        return error.status == HTTPStatus.FORBIDDEN and _RBAC.search(error.message) is not None
    return isinstance(error, InfraError) and error.code == "cluster-denied"


def _denial(text: str) -> tuple[str, str]:
    """The admission policy or webhook that refuses a request, and what it says; both empty for other refusals."""
    for pattern in (_BY_POLICY, _BY_WEBHOOK):
        if found := pattern.search(text):
            return one_line(found[1]), one_line(found[2] or "no reason", _MAX_DENIAL)
    return "", ""


@dataclass(frozen=True)
class Cause:
    """One cause of a refusal: its machine-readable reason, the field, and the server's message."""

    reason: str
    field: str
    message: str

    @property
    def manager(self) -> str:
        """The owner of the field, for a `FieldManagerConflict`; else empty."""
        return self._owner(1)

    @property
    def subresource(self) -> str:
        """The subresource the owner wrote through, such as `scale`; usually empty."""
        return self._owner(2)

    def _owner(self, group: int) -> str:
        found = _OWNER.search(self.message)
        text = found[group] or "" if found else ""
        try:
            return one_line(str(json.loads(text)))  # Go's %q, in the cases that names of managers can be
        except ValueError:
            return one_line(text.strip('"'))


@dataclass(eq=False)
class KubeError(Exception):
    """A request that the cluster refused, or did not answer.

    `reason` is the server's (`Conflict`, `Invalid`, …), `Unreachable`, or `OutcomeUnknown` for a write that may or may
    not have happened: read again before any answer.
    """

    status: int  # of HTTP; 0 when there was no answer
    reason: str
    message: str  # one cleaned line
    causes: tuple[Cause, ...] = ()  # the answer's `details.causes`
    retry_after: float | None = None  # seconds the server asks to wait
    policy: str = ""  # the admission policy or webhook of the cluster that refuses it
    denial: str = ""  # what that says, as one cleaned line

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.message}"

    @classmethod
    def parse(cls, status: int, headers: Mapping[str, str], data: bytes, *, secret: bool = False) -> KubeError:
        """The error in an answer.

        Args:
            status: the HTTP status.
            headers: the answer's headers; only `Retry-After` is read.
            data: the body: a `Status`, or a proxy's text.
            secret: the request carried or addressed a Secret, so texts that may quote it are dropped.
        """
        try:
            body: Any = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            body = {"message": "" if secret else data[:4096].decode("utf-8", "replace")}
        details = found if isinstance(found := body.get("details"), dict) else {}
        causes = []
        for cause in (found if isinstance(found := details.get("causes"), list) else [])[:MAX_CAUSES]:
            if isinstance(cause, dict):
                reason, field, message = (one_line(str(cause.get(key, ""))) for key in ("reason", "field", "message"))
                withheld = secret and reason != "FieldManagerConflict"
                causes.append(Cause(reason, field, WITHHELD if withheld else message))
        text = str(body.get("message") or "no further text")
        policy, denial = _denial(text)
        message = one_line(text)
        reason = named(str(body.get("reason") or f"HTTP {status}"))
        if status == HTTPStatus.INTERNAL_SERVER_ERROR and _NOT_TYPED.search(message):
            reason = "SchemaMismatch"  # server-side apply's answer to an unknown field, or a wrong type
        if secret and (status in _MAY_QUOTE or policy):
            message, denial = WITHHELD, WITHHELD
        after = headers.get("Retry-After") or details.get("retryAfterSeconds")
        try:
            wait = float(after) if after is not None else None
        except ValueError:  # an HTTP date, which the API server does not send
            wait = None
        return cls(status, reason, message, tuple(causes), wait, policy, denial)

    @property
    def is_field_conflict(self) -> bool:
        """Another manager owns a field the apply would change."""
        return self.status == HTTPStatus.CONFLICT and any(c.reason == "FieldManagerConflict" for c in self.causes)

    @property
    def is_version_conflict(self) -> bool:
        """The object is not the one that was read: it changed, was deleted, or is another one of the same name."""
        if self.status == HTTPStatus.CONFLICT:
            return self.reason != "AlreadyExists" and not self.is_field_conflict
        return self.status == HTTPStatus.UNPROCESSABLE_ENTITY and any(c.field == "metadata.uid" for c in self.causes)

    @property
    def is_unknown(self) -> bool:
        """A write that may or may not have happened."""
        return self.reason == "OutcomeUnknown"

    @property
    def is_invalid(self) -> bool:
        """The object itself is wrong; sending it again cannot help."""
        return self.reason == "SchemaMismatch" or self.status in _INVALID

    def translate(self, ref: ObjectRef | str | None = None) -> InfraError:
        """The error for users, with the object it is about, or a phrase for it, where that is known."""
        what, rule = str(ref or "the request"), None
        message = quoted(self.message) if self.status else self.message
        answer = f"{what}: the API server answered {self.status} {self.reason}: {message}"
        advice = None
        if self.is_unknown:
            code, sentence = "cluster-unreachable", f"Whether {what} was written is not known: {message}."
        elif self.is_field_conflict:
            code, sentence = "field-conflict", f"{what}: {self._owners()}."
        elif self.is_version_conflict:
            code, sentence = "object-moved", f"{what} changed since it was read: {message}"
        elif ONLY_OURS in self.message:  # our own policy takes us for somebody else
            code, sentence, advice = "cluster-denied", answer, _AS_SERVER
        elif self.policy:
            said = self.denial if self.denial == WITHHELD else quoted(self.denial, _MAX_DENIAL)
            code, sentence = (
                "admission-denied",
                f"{what}: admission rule {named(self.policy)} of the cluster says {said}.",
            )
            rule = f"admission.{self.policy}"
        # Admission checks (quota, pod security, webhooks) forbid too; then the object is at fault, not a missing right.
        elif self.is_invalid or (self.status == HTTPStatus.FORBIDDEN and not is_denied(self)):
            code, sentence = "object-invalid", answer
        else:
            code, form, advice = _BY_STATUS.get(self.status, ("cluster-error", "{answer}", None))
            sentence = form.format(what=what, answer=answer, message=message)
        return (InfraError if self.status else Unavailable)(code, sentence, next_step=advice, rule=rule)

    def _owners(self) -> str:
        owned = []
        for cause in (one for one in self.causes if one.reason == "FieldManagerConflict"):
            through = f" (through {named(cause.subresource)})" if cause.subresource else ""
            owner = named(cause.manager) if cause.manager else "another manager"
            owned.append(f"{cause.field} is owned by {owner}{through}")
        return ", ".join(owned)


_AS_SERVER: Final = (
    "Run the server with a kubeconfig whose context has the token of its ServiceAccount: manifests/README.md, step 3."
)
_MAY_QUOTE = {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.INTERNAL_SERVER_ERROR}
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
    HTTPStatus.FORBIDDEN: ("cluster-denied", "{answer}", None),
    HTTPStatus.NOT_FOUND: ("not-found", "{answer}", "Create the named object first, or check its name."),
    HTTPStatus.CONFLICT: ("exists", "{what} already exists.", None),
    HTTPStatus.TOO_MANY_REQUESTS: (
        "cluster-unreachable",
        "The API server is too busy for {what}.",
        "Send it again in a minute.",
    ),
}
