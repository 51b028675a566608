"""Which values of a plan or a state are marked as sensitive. Pure. Source: OpenTofu, "JSON Output Format"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def marked(plan: Mapping[str, Any]) -> Iterator[str]:
    """Every text of a plan or state that is marked as sensitive."""
    for change in (*(plan.get("resource_changes") or ()), *(plan.get("resource_drift") or ())):
        yield from _both(change.get("change") or {})
    for change in (plan.get("output_changes") or {}).values():
        yield from _both(change)
    for part in (plan, plan.get("prior_state") or {}, {"values": plan.get("planned_values") or {}}):
        values = part.get("values") or {}
        yield from _in_module(values.get("root_module") or {})
        for output in (values.get("outputs") or {}).values():
            yield from _sensitive(output.get("value"), output.get("sensitive") or False)
    declared = ((plan.get("configuration") or {}).get("root_module") or {}).get("variables") or {}
    for name, given in (plan.get("variables") or {}).items():
        yield from _sensitive(given.get("value"), (declared.get(name) or {}).get("sensitive") or False)


def _both(change: Mapping[str, Any]) -> Iterator[str]:
    for side in ("before", "after"):
        yield from _sensitive(change.get(side), change.get(f"{side}_sensitive") or False)


def _in_module(module: Mapping[str, Any]) -> Iterator[str]:
    for resource in module.get("resources") or ():
        yield from _sensitive(resource.get("values"), resource.get("sensitive_values") or False)
    for inner in module.get("child_modules") or ():
        yield from _in_module(inner)


def _sensitive(value: Any, mark: Any) -> Iterator[str]:  # noqa: ANN401 - JSON values
    if mark is True:
        todo = [value]
        while todo:
            one = todo.pop()
            if isinstance(one, str):
                yield one
            elif isinstance(one, dict | list):
                todo += one.values() if isinstance(one, dict) else one
    elif isinstance(value, dict) and isinstance(mark, dict):
        for key, item in value.items():
            yield from _sensitive(item, mark.get(key))
    elif isinstance(value, list) and isinstance(mark, list):
        for item, inner in zip(value, mark, strict=False):
            yield from _sensitive(item, inner)
