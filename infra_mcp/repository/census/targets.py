"""Which objects a patch of a kustomization is for. Pure.

Source: kubernetes-sigs/kustomize, `types.Selector` and `resmap.Select`: patterns must match all of a name; a patch
without a target is for the one object of its own kind, name and namespace.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from infra_mcp.model.pattern import matches
from infra_mcp.repository.census.built import Built
from infra_mcp.repository.lenient import mapping
from infra_mcp.repository.scalars import Json

_OPEN = "default"  # the namespace of an object that names none
_COMMAS = re.compile(r",(?![^(]*\))")  # not those between parentheses
_AMONG = re.compile(r"(\S+)\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(r"([^\s=!]+)\s*(==?|!=)\s*(\S*)")
_THERE = re.compile(r"(!?)\s*([^\s=!()]+)")


@dataclass(frozen=True)
class Target:
    """Patterns of a patch's `target`; an empty one fits anything."""

    group: str = ""
    version: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    labels: str = ""
    annotations: str = ""

    def fits(self, one: Built) -> bool:
        """Whether an object is one of those."""
        version = one.api_version.rpartition("/")[2]
        return (
            _any(self.kind, {one.kind})
            and _any(self.name, {one.name, one.own_name})
            and _any(self.group, {one.group})
            and _any(self.version, {version})
            and _any(self.namespace, {one.namespace or _OPEN, one.own_namespace or _OPEN})
            and (not self.labels or _selects(self.labels, one, "labels"))
            and (not self.annotations or _selects(self.annotations, one, "annotations"))
        )


@dataclass(frozen=True)
class Own:
    """The one object that a patch without a target names."""

    api_version: str
    kind: str
    name: str
    namespace: str

    def fits(self, one: Built) -> bool:
        """Whether an object is that one, by any name that it had."""
        return (
            self.name in one.names
            and self.kind == one.kind
            and self.api_version in {"", one.api_version}
            and (self.namespace or _OPEN) in {one.namespace or _OPEN, one.own_namespace or _OPEN}
        )


def target_of(value: Mapping[str, Any], patch: Json) -> Target | Own:
    """The target of a patch.

    Args:
        value: its `target`; empty where it has none.
        patch: the patch itself, which names its object then.
    """
    if value or not isinstance(patch, dict):
        keys = ("group", "version", "kind", "name", "namespace", "labelSelector", "annotationSelector")
        return Target(*(str(value.get(key) or "") for key in keys))
    named = mapping(patch, "metadata")
    texts = (patch.get("apiVersion"), patch.get("kind"), named.get("name"), named.get("namespace"))
    return Own(*(str(text or "") for text in texts))


def _any(pattern: str, texts: Collection[str]) -> bool:
    if not pattern or pattern in texts:
        return True
    return any(matches(pattern, text) for text in texts)


def _selects(selector: str, one: Built, key: str) -> bool:
    pairs = {str(name): str(text) for name, text in mapping(one.value, "metadata", key).items()}
    return all(_requires(part.strip(), pairs) for part in _COMMAS.split(selector))


def _requires(part: str, pairs: Mapping[str, str]) -> bool:
    """One requirement of a selector; what is absent is neither equal nor among anything."""
    if among := _AMONG.fullmatch(part):
        texts = {text.strip() for text in among[3].split(",")}
        return (pairs.get(among[1]) in texts) == (among[2] == "in")
    if equal := _EQUAL.fullmatch(part):
        return (pairs.get(equal[1]) == equal[3]) == (equal[2] != "!=")
    there = _THERE.fullmatch(part)
    return there is not None and (there[2] in pairs) == (not there[1])
