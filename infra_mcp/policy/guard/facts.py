"""The facts of a rendered object that guardrails judge, computed once, where it is rendered.

Pure: equal objects give equal facts, in whatever order their containers stand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from infra_mcp.model.effect import FieldPath, Trait, show_path
from infra_mcp.model.marks import BINDINGS, PREFIX, RESTART
from infra_mcp.policy.guard.kinds import delivers, kind_of
from infra_mcp.policy.guard.network import exposed, hosts
from infra_mcp.policy.guard.pods import Finding, baseline, restricted
from infra_mcp.policy.guard.rules import OWN, UNREADABLE
from infra_mcp.text import one_line

# Their content is data, or a schema: nothing runs it.
_DATA: Final = frozenset({"ConfigMap", "Secret", "apiextensions.k8s.io/CustomResourceDefinition"})
_SERVERS_OWN: Final = frozenset({"status"})  # what the API server writes there, no one renders


def traits(rendered: object, live: object = None) -> tuple[Trait, ...]:
    """All that guardrails may refuse in an object, whatever policy says of it.

    Args:
        rendered: the whole object as it would be: as rendered, or as a dry run answered.
        live: the object as it is, or as it was rendered before; None where it would be created. Our own marks that it
            has already are not counted again; and nothing is where only a scaling or a restart touches it, which runs
            what runs already.

    Returns:
        The facts, sorted; one of `objects.unreadable` for what is no object.
    """
    found = set(_traits(rendered))
    if live is not None:
        if _content(rendered) == _content(live):
            return ()
        found -= {one for one in _traits(live) if one.rule == OWN}
    return tuple(sorted(found, key=lambda one: (one.rule, one.where, one.value)))


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
        yield Trait(rule=rule, where=one_line(show_path(path)), value=_shown(value))


def _findings(rendered: object) -> Iterator[Finding]:
    if not isinstance(rendered, dict) or not isinstance(rendered.get("kind"), str) or "items" in rendered:
        yield Finding(UNREADABLE, (), "a List" if isinstance(rendered, dict) and "items" in rendered else "no object")
        return
    kind = kind_of(rendered)
    yield from hosts(kind, rendered)
    name = metadata.get("name") if isinstance(metadata := rendered.get("metadata"), dict) else None
    if name in BINDINGS:
        yield Finding(OWN, ("metadata", "name"), name)
    judged = {key: value for key, value in rendered.items() if key not in _SERVERS_OWN}
    if kind in _DATA:
        judged = {"metadata": metadata}
    for path, node in _walk(judged):
        yield from _marks(path, node)
        yield from exposed(path, node)
        yield from baseline(path, node)
        if not delivers(kind):  # its values are no pods: a chart decides what they mean
            yield from restricted(path, node)


def _marks(path: FieldPath, node: Mapping[str, Any]) -> Iterator[Finding]:
    for which in ("labels", "annotations"):
        given = node.get(which)
        for key in given if isinstance(given, dict) else ():
            if str(key).startswith(PREFIX):
                yield Finding(OWN, (*path, which, str(key)), None)  # the value of one is a secret of ours


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
