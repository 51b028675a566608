"""Which namespaces and objects a piece of data names: pure, for the filters of search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# An event names at most this many of each; what a change touches is in its plan, complete.
MOST = 500


def subjects(*values: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:  # noqa: ANN401 - any JSON values
    """The namespaces and the objects that JSON data names, sorted.

    Namespaces: values of `namespace` and `namespaces`, and those of objects. Objects: object references (a dict with
    `kind` and `name`), and strings `namespace/kind/name` or `kind/name` in a list called `objects` or under `object`.
    """
    namespaces: set[str] = set()
    objects: set[str] = set()
    for value in values:
        for what, name in _named(value):
            (namespaces if what == "namespace" else objects).add(name)
    return tuple(sorted(namespaces)[:MOST]), tuple(sorted(objects)[:MOST])


def ends(name: str) -> tuple[str, ...]:
    """What an object's name ends in: `docs-live/deployment/docs` in `deployment/docs` and `docs`."""
    parts = name.split("/")
    return tuple("/".join(parts[first:]) for first in range(1, len(parts)))


def _named(value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, list | tuple):
            todo.extend(item)
        elif isinstance(item, dict):
            yield from _of_dict(item)
            todo.extend(part for part in item.values() if isinstance(part, dict | list | tuple))


def _of_dict(item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("namespace", "namespaces"):
        found = item.get(key)
        for name in [found] if isinstance(found, str) else found if isinstance(found, list | tuple) else []:
            if isinstance(name, str) and name:
                yield "namespace", name
    kind, name, namespace = item.get("kind"), item.get("name"), item.get("namespace")
    if isinstance(kind, str) and isinstance(name, str):
        parts = [namespace, kind.lower(), name] if isinstance(namespace, str) and namespace else [kind.lower(), name]
        yield from _of_object("/".join(parts))
    found = item.get("objects")
    for text in [item.get("object"), *(found if isinstance(found, list | tuple) else [])]:
        if isinstance(text, str) and text:
            yield from _of_object(text)


def _of_object(text: str) -> Iterator[tuple[str, str]]:
    yield "object", text
    first, _, rest = text.partition("/")
    if "/" in rest:
        yield "namespace", first
    elif first == "namespace" and rest:
        yield "namespace", rest
