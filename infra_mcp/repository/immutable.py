"""Names fields that the API server never lets change, where a build before and after differs in them.

`commonLabels`, and `labels` with `includeSelectors`, reach selectors, also from a base: the next apply would fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from infra_mcp.model.object_ref import ObjectRef
from infra_mcp.repository.builds import Rendered
from infra_mcp.repository.kustomize import Inputs
from infra_mcp.repository.render import differing

# Source: the validation of updates in the API server, for each kind.
_IMMUTABLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps", "DaemonSet"): ("selector",),
    ("apps", "Deployment"): ("selector",),
    ("apps", "ReplicaSet"): ("selector",),
    ("apps", "StatefulSet"): ("selector", "volumeClaimTemplates", "serviceName", "podManagementPolicy"),
    ("batch", "Job"): ("selector", "template"),
}


class ImmutableChange(NamedTuple):
    """A change of a field that cannot change."""

    ref: ObjectRef
    field: str  # such as `spec.selector`
    entry: str  # the kustomization's entry that makes it, such as `commonLabels.team`; empty where none does
    file: str

    def __str__(self) -> str:
        by = f", by {self.entry} of {self.file}" if self.entry else ""
        what = "selector" if self.field == "spec.selector" else self.field
        return f"immutable {what} of {self.ref} would change{by}"


def immutable_changes(before: Rendered, after: Rendered) -> list[ImmutableChange]:
    """Every change from one build to the other that no API server accepts, with the entry that makes it."""
    found = []
    for old, new in differing(before.objects, after.objects):
        if old and new:
            found += list(_changes(new.ref, old.object, new.object, before.inputs, after.inputs))
    return found


def _changes(
    ref: ObjectRef, old: dict[str, Any], new: dict[str, Any], before: Inputs, after: Inputs
) -> Iterator[ImmutableChange]:
    was, wanted = old.get("spec"), new.get("spec")
    if not isinstance(was, dict) or not isinstance(wanted, dict):
        return
    for field in _IMMUTABLE.get((ref.group, ref.kind), ()):
        if was.get(field) != wanted.get(field):
            entry, file = _cause(_labels(was.get(field)), _labels(wanted.get(field)), before, after)
            yield ImmutableChange(ref, f"spec.{field}", entry, file)


def _cause(was: set[tuple[str, str]], wanted: set[tuple[str, str]], before: Inputs, after: Inputs) -> tuple[str, str]:
    """The entry, new, changed or gone, whose label is one of those that differ."""
    for labels, these in (
        (after.selector_labels - before.selector_labels, wanted - was),
        (before.selector_labels - after.selector_labels, was - wanted),
    ):
        for label in sorted(labels):
            if (label.key, label.value) in these:
                return label.entry, label.file
    return "", ""


def _labels(value: Any) -> set[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    """Every text below a value, with its key."""
    if isinstance(value, list):
        return {pair for item in value for pair in _labels(item)}
    if not isinstance(value, dict):
        return set()
    own = {(str(key), str(item)) for key, item in value.items() if not isinstance(item, dict | list)}
    return own | {pair for item in value.values() for pair in _labels(item)}
