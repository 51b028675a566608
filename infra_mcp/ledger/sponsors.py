"""The person who answers for a caller's token, and a pipeline's identity: in events, and in rows made from them."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from infra_mcp.model.digest import canonical
from infra_mcp.model.peer import Caller

COLUMNS = ("sponsor", "identity")


def answering(caller: Caller) -> dict[str, Any]:
    """What an event says of them; nothing for a caller of whom nothing is known."""
    return caller.model_dump(include=set(COLUMNS), exclude_none=True)


def kept(said: dict[str, Any]) -> dict[str, Any]:
    """The columns of a row, of what its event says."""
    identity = said.get("identity")
    return {"sponsor": said.get("sponsor"), "identity": canonical(identity).decode() if identity else None}


def read(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row with these columns
    """What a row says of them."""
    return {"sponsor": row["sponsor"], "identity": from_json(row["identity"]) if row["identity"] else None}


def agree(row: Any, data: dict[str, Any]) -> bool:  # noqa: ANN401 - as above
    """Whether a row says the same as the data of its event."""
    return kept(data) == {name: row[name] for name in COLUMNS}
