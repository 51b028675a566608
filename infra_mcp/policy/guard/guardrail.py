"""One guardrail: its name, what it judges and refuses, why, and by which source."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple


class Guardrail(NamedTuple):
    """One guardrail. `allow` of a circle switches it off by its name, except where `instead` says what grants it."""

    name: str
    # What it judges: every change, pods in namespaces of a level, workloads where policy requires it, renderings of
    # charts and builds, DNS records, or all together.
    judges: Literal["changes", "baseline", "restricted", "required", "renderings", "records", "effect"]
    refuses: str
    why: str
    source: str
    instead: str = ""  # what permits it, where `allow` does not
    key: str = ""  # the key of [[guardrails]] that requires it, where `require` does not name it

    @property
    def scope(self) -> str:
        """What it judges, for people."""
        return _SCOPES[self.judges]

    @property
    def permitted(self) -> str:
        """How it is permitted, for people."""
        return self.instead or f'`allow = ["{self.name}"]` of the circle'


_SCOPES: Final = {
    "changes": "every change",
    "baseline": "pods, but in namespaces with the level privileged",
    "restricted": "pods in namespaces with the level restricted",
    "required": "only where `[[guardrails]]` of the policy requires it",
    "renderings": "what a chart or a build brings",
    "records": "DNS records (`policy/zones.py`)",
    "effect": "the whole effect",
}
