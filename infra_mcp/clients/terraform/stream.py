"""Reads what OpenTofu and Terraform print with `-json`: progress, and diagnostics. Pure.

Source: OpenTofu and Terraform, "Machine-Readable UI". Unknown messages are passed over. A resource's own values are
never repeated: what a provider prints of one may be a secret that is not marked as one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

_SHOWN: Final = 400  # characters of a diagnostic
_MAX_DIAGNOSTICS: Final = 50
_DOING: Final = {
    "create": ("creating", "created"),
    "update": ("updating", "updated"),
    "delete": ("destroying", "destroyed"),
    "replace": ("replacing", "replaced"),
    "read": ("reading", "read"),
}
_LOCK = re.compile(r"^[ \t]*(ID|Path|Operation|Who|Created):[ \t]*(.*?)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Lock:
    """Who holds a state, as the backend says."""

    id: str
    who: str  # user@host
    operation: str  # OperationTypeApply
    created: str  # 2026-11-30 05:55:45.110874226 +0000 UTC

    def __str__(self) -> str:
        """For people."""
        return f"{self.who} since {self.created.partition('.')[0]} ({self.operation}, lock {self.id})"


@dataclass(frozen=True)
class Diagnostic:
    """An error or a warning."""

    is_error: bool
    summary: str
    detail: str = ""
    address: str = ""  # the resource
    where: str = ""  # file and line

    @property
    def lock(self) -> Lock | None:
        """The lock that is in the way, where that is what it says."""
        if "acquiring the state lock" not in self.summary:
            return None
        found = dict(_LOCK.findall(self.detail))
        return Lock(found.get("ID", ""), found.get("Who", ""), found.get("Operation", ""), found.get("Created", ""))

    def __str__(self) -> str:
        """For people, before it is masked."""
        at = ", ".join(filter(None, (self.address, self.where)))
        text = " ".join(f"{self.summary}. {self.detail}".split())
        return f"{at}: {text[:_SHOWN]}" if at else text[:_SHOWN]


@dataclass
class Stream:
    """What a command has said so far."""

    diagnostics: list[Diagnostic] = field(default_factory=list)
    started: dict[str, str] = field(default_factory=dict)  # what is being done, by address, and not done yet
    done: list[tuple[str, str]] = field(default_factory=list)  # address and action of what is done
    other: str = ""  # the last line that is no message: a crash, for one

    def feed(self, line: bytes) -> str:
        """Take in a line; returns what to tell people, empty for nothing."""
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            text = line.decode("utf-8", "replace").strip()
            self.other = text or self.other
            return ""
        hook = _inner(message, "hook")
        match message.get("type"):
            case "diagnostic":
                self._diagnosed(message.get("diagnostic"))
            case "apply_start" | "refresh_start":
                return self._begun(hook, "read" if message["type"] == "refresh_start" else "")
            case "apply_progress":
                return f"{self.started.get(_address(hook), 'working on')} {_address(hook)} ({_seconds(hook)} s)"
            case "apply_complete":
                return self._ended(hook)
            case "provision_start":
                return f"{_address(hook)}: running provisioner {hook.get('provisioner', '')}"
        return ""

    @property
    def errors(self) -> list[Diagnostic]:
        """The errors, each once."""
        return list(dict.fromkeys(one for one in self.diagnostics if one.is_error))

    def _begun(self, hook: dict[str, Any], action: str) -> str:
        address, action = _address(hook), action or str(hook.get("action"))
        doing = _DOING.get(action, (action, action))[0]
        if action != "read":
            self.started[address] = doing
        return f"{doing} {address}"

    def _ended(self, hook: dict[str, Any]) -> str:
        address, action = _address(hook), str(hook.get("action"))
        self.started.pop(address, None)
        self.done.append((address, action))
        return f"{_DOING.get(action, (action, action))[1]} {address}"

    def _diagnosed(self, said: Any) -> None:  # noqa: ANN401 - any JSON value
        if not isinstance(said, dict) or len(self.diagnostics) >= _MAX_DIAGNOSTICS:
            return
        place = _inner(said, "range")
        where = f"{place['filename']}:{_inner(place, 'start').get('line')}" if place.get("filename") else ""
        self.diagnostics.append(
            Diagnostic(
                said.get("severity") == "error",
                str(said.get("summary") or ""),
                str(said.get("detail") or ""),
                str(said.get("address") or ""),
                where,
            )
        )


def _inner(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _address(hook: dict[str, Any]) -> str:
    return str(_inner(hook, "resource").get("addr") or "")


def _seconds(hook: dict[str, Any]) -> int:
    elapsed = hook.get("elapsed_seconds")
    return int(elapsed) if isinstance(elapsed, int | float) else 0
