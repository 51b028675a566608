"""Reads JSON values that people wrote: what is not of the expected kind is as if it were absent. Pure."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Container, Sequence
from typing import Any

from infra_mcp.repository.partial import get_path
from infra_mcp.repository.scalars import Json


def mapping(value: Json, *keys: str) -> dict[str, Any]:
    """The map below these keys; empty where there is none."""
    found = get_path(value, keys)[1]
    return found if isinstance(found, dict) else {}


def items(value: Json, *keys: str) -> list[Any]:
    """The items of the list below these keys."""
    found = get_path(value, keys)[1]
    return found if isinstance(found, list) else []


def maps(value: Json, *keys: str) -> list[dict[str, Any]]:
    """The maps in the list below these keys."""
    return [one for one in items(value, *keys) if isinstance(one, dict)]


def texts(value: Json, *keys: str) -> list[str]:
    """The texts in the list below these keys."""
    return [one for one in items(value, *keys) if isinstance(one, str)]


def as_text(value: Json) -> str:
    """A scalar as the text that its readers make of it; empty where it is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or isinstance(value, dict | list) else str(value)


def with_texts(value: Json, change: Callable[[str], Json], without: str | None = None) -> Json:
    """A value with each text in it changed, but for keys; entries whose key holds `without` are left out."""
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if without is None or without not in key}
        return {key: with_texts(item, change, without) for key, item in kept.items()}
    if isinstance(value, list):
        return [with_texts(item, change, without) for item in value]
    return change(value) if isinstance(value, str) else value


def name_steps(listed: Sequence[Json], *keys: str) -> list[Any]:
    """The step to each item of a list: by the first of these keys whose text tells it apart, else its index."""
    found: list[Any] = list(range(len(listed)))
    for key in reversed(keys):
        named = [name if isinstance(name := mapping(one).get(key), str) else "" for one in listed]
        often = Counter(named)
        found = [{key: name} if name and often[name] == 1 else step for name, step in zip(named, found, strict=True)]
    return found


def lineage(folder: str) -> list[str]:
    """A folder and those it lies in, from the repository's top (empty) down."""
    parts = folder.split("/") if folder else []
    return ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]


def nearest(folder: str, among: Container[str]) -> str | None:
    """The first of these folders on the way up from a folder, itself included; None where none is."""
    return next((one for one in reversed(lineage(folder)) if one in among), None)


def joined(folder: str, path: str) -> str:
    """What a path in a folder names, from the top of the repository; empty for the top."""
    found = posixpath.normpath(posixpath.join(folder, path))
    return "" if found == "." else found
