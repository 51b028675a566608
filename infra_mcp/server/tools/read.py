"""Read tools: what is there, and how it is."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from infra_mcp.model.names import AppName, DnsLabel, Frozen
from infra_mcp.server.answers import Answer
from infra_mcp.server.tools.tool import Call, Tool


class StatusArguments(Frozen):
    """What `status` takes."""

    namespace: DnsLabel | None = Field(None, description="Only this namespace.")
    app: AppName | None = Field(None, description="Only this app of the catalogue.")


async def _status(call: Call, given: StatusArguments) -> Answer:
    return await look(call, namespace=given.namespace, app=given.app)


async def look(call: Call, *, namespace: str | None = None, app: str | None = None) -> Answer:
    """What there is, as far as the caller may see.

    Raises:
        InfraError: `not-found`, in the same words for what is another circle's; `cluster-unreachable`.
    """
    data = await call.engine.status(call.caller, namespace=namespace, app=app)
    return Answer(_lines(data), data)


def _lines(data: dict[str, Any]) -> str:
    """One line for each thing: names, states and reasons, no more than the data says."""
    lines: list[str] = []
    for key, value in data.items():
        if isinstance(value, list):
            lines.append(f"{key}: {len(value)}")
            lines.extend(f"  {_flat(item)}" for item in value)
        elif isinstance(value, dict):
            lines.append(f"{key}: {_flat(value)}")
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines)


def _flat(item: object) -> str:
    if not isinstance(item, dict):
        return str(item)
    return ", ".join(
        f"{key} {value if isinstance(value, str | int | float) else json.dumps(value, default=str)}"
        for key, value in item.items()
        if value not in (None, "", [], {})
    )


TOOLS = (
    Tool(
        name="status",
        title="See what is there",
        description=(
            "Use this to see the caller's namespaces and apps as they are now: health, drift between git and cluster,"
            " rotated pull secrets, and requests under way. Reads the cluster as the caller's circle."
        ),
        arguments=StatusArguments,
        answer=_status,
        read_only=True,
    ),
)
