"""JSON patches (RFC 6902) done as far as they fit: an operation that does not is passed over. Pure."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import reduce
from typing import Any

from infra_mcp.repository.lenient import as_text
from infra_mcp.repository.scalars import Json

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")  # of a list, as JSON pointers have it (RFC 6901)


def tokens_of(pointer: str, value: Json) -> list[str]:
    """The steps of a JSON pointer; `-` is the position after the last item."""
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]
    here = value
    for depth, token in enumerate(tokens):
        if isinstance(here, list) and token == "-":  # noqa: S105 - a step of a JSON pointer
            tokens[depth] = str(len(here))
        here = _step(here, token)
    return tokens


def operate(value: Json, one: dict[str, Any]) -> None:
    """Do one operation, in place."""
    if as_text(one.get("op")) in {"copy", "move"}:
        item = reduce(_step, tokens_of(str(one.get("from", "")), value), value)
        if one["op"] == "move":
            operate(value, {"op": "remove", "path": one.get("from")})
        operate(value, {"op": "add", "path": one.get("path"), "value": item})
        return
    tokens = tokens_of(str(one.get("path", "")), value)
    if not tokens or as_text(one.get("op")) not in {"add", "replace", "remove"}:
        return
    holder = reduce(_step, tokens[:-1], value)
    last = tokens[-1]
    if isinstance(holder, dict):
        if one["op"] == "remove":
            holder.pop(last, None)
        else:
            holder[last] = deepcopy(one.get("value"))
    elif isinstance(holder, list) and _INDEX.fullmatch(last) and int(last) <= len(holder):
        start, end = int(last), int(last) + (one["op"] != "add")
        holder[start:end] = [] if one["op"] == "remove" else [deepcopy(one.get("value"))]


def _step(holder: Json, token: str) -> Json:
    if isinstance(holder, list):
        return holder[int(token)] if _INDEX.fullmatch(token) and int(token) < len(holder) else None
    return holder.get(token) if isinstance(holder, dict) else None
