"""The facts of a rendered object that guardrails judge, computed once, where it is rendered.

Pure: equal objects give equal facts, in whatever order their containers stand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from infra_mcp.model.effect import FieldPath, Trait, show_path
from infra_mcp.model.marks import RESTART
from infra_mcp.policy.guard.kinds import delivers, kind_of
from infra_mcp.policy.guard.network import exposed, hosts
from infra_mcp.policy.guard.pod_rules import ANNOTATIONS, LABELS
from infra_mcp.policy.guard.pods import LISTS, Finding, baseline, restricted
from infra_mcp.policy.guard.rules import UNREADABLE
from infra_mcp.policy.guard.ties import KEPT, ties
from infra_mcp.policy.guard.workloads import names, workload
from infra_mcp.text import one_line

# Their content is data, or a schema: nothing runs it.
_DATA: Final = frozenset({"ConfigMap", "Secret", "apiextensions.k8s.io/CustomResourceDefinition"})
_SERVERS_OWN: Final = frozenset({"status"})  # what the API server writes there, no one renders


def traits(rendered: object, live: object = None) -> tuple[Trait, ...]:
    """All that guardrails may refuse in an object, whatever policy says of it.

    Args:
        rendered: the whole object as it would be: as rendered, or as a dry run answered.
        live: the object as it is, or as it was rendered before; None where it would be created. Our own marks,
            finalizers, owners and a service account that it has already are not counted again; and nothing is where
            only a scaling or a restart touches it, which runs what runs already.

    Returns:
        The facts, sorted; one of `objects.unreadable` for what is no object.
    """
    found = set(_traits(rendered))
    if live is not None:
        if _content(rendered) == _content(live):
            return ()
        found -= {one for one in _traits(live) if one.rule in KEPT}
    return tuple(sorted(found, key=lambda one: (one.rule, one.where, one.value)))


def unjudged(found: Iterable[Trait], judged: Iterable[Trait]) -> list[Trait]:
    """The facts that were not there when an object was judged; labels and annotations that came to it are none."""
    known = set(judged)
    new = (one for one in found if one not in known and one.rule not in {LABELS, ANNOTATIONS})
    return sorted(new, key=lambda one: (one.rule, one.where, one.value))


def _content(given: object) -> object:
    """An object without what the server sets, the number of replicas and the mark of a restart."""
    if not isinstance(given, dict):
        return given
    content = {key: value for key, value in given.items() if key != "status"}
    metadata, spec = given.get("metadata"), given.get("spec")
    if isinstance(metadata, dict):
        content["metadata"] = [metadata.get("labels"), metadata.get("annotations")]
    if isinstance(spec, dict):
        content["spec"] = {key: value for key, value in spec.items() if key != "replicas"}
    return json.loads(json.dumps(content, default=str), object_hook=_without_restart)


def _without_restart(node: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in node.items() if key != RESTART}
    return {key: value for key, value in kept.items() if key != "annotations" or value}


def _traits(rendered: object) -> Iterator[Trait]:
    for rule, path, value in _findings(rendered):
        shown = (
            ", ".join(value) if isinstance(value, tuple) else _shown(value)
        )  # whole: a key that is cut would be missing
        yield Trait(rule=rule, where=one_line(show_path(path)), value=shown)


def _findings(rendered: object) -> Iterator[Finding]:
    if not isinstance(rendered, dict) or not isinstance(rendered.get("kind"), str) or "items" in rendered:
        yield Finding(UNREADABLE, (), "a List" if isinstance(rendered, dict) and "items" in rendered else "no object")
        return
    kind = kind_of(rendered)
    yield from hosts(kind, rendered)
    judged = {key: value for key, value in rendered.items() if key not in _SERVERS_OWN}
    if kind in _DATA:
        judged = {"metadata": rendered.get("metadata")}
    has_pod, is_pod = False, not delivers(kind)  # its values are no pods: a chart decides what they mean
    for path, node in _walk(judged):
        yield from ties(kind, path, node)
        yield from exposed(path, node)
        yield from baseline(path, node)
        if is_pod and any(key in node for key in LISTS):
            has_pod = True
            yield from restricted(path, node)
            yield from workload(path, node)
    if has_pod:
        yield from names(rendered)


def _walk(value: dict[str, Any]) -> Iterator[tuple[FieldPath, dict[str, Any]]]:
    """Every mapping at any depth with its path, except what the server notes of field managers. No recursion."""
    rest: list[tuple[FieldPath, Any]] = [((), value)]
    while rest:
        path, node = rest.pop()
        if isinstance(node, dict):
            yield path, node
            rest += [((*path, str(key)), inner) for key, inner in node.items() if key != "managedFields"]
        elif isinstance(node, list | tuple):
            rest += [((*path, _step(at, item)), item) for at, item in enumerate(node)]


def _step(at: int, item: object) -> int | dict[str, Any]:
    """An item's name, so that its place makes no difference; its place where it has none."""
    return {"name": item["name"]} if isinstance(item, dict) and isinstance(item.get("name"), str) else at


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, sort_keys=True, default=str)
    return one_line(text)
