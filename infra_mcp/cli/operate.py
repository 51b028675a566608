"""Operator methods: through the running server, or, when there is none, on the ledger under the state lock."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from infra_mcp.cli.client import connect
from infra_mcp.cli.options import settings_of
from infra_mcp.cli.place import token_of
from infra_mcp.errors import InfraError
from infra_mcp.settings import Settings

Alone = Callable[[Settings], Awaitable[dict[str, Any]]]


def operate(
    options: argparse.Namespace, method: str, params: dict[str, Any], alone: Alone | None = None
) -> dict[str, Any]:
    """Carry out one operator method.

    Args:
        options: of the command.
        method: of the socket.
        params: of the method.
        alone: what does the same without a server; the method on the ledger itself when left out.

    Raises:
        InfraError: `policy-denied`, when a token makes the caller a peer; and what the method may end in.
    """
    settings, token = settings_of(options), token_of(None)
    with ExitStack() as stack:
        try:
            client = stack.enter_context(connect(settings, token))
        except InfraError as error:
            if error.code != "server-unreachable":
                raise
        else:
            return client.method(method, params)
    if token is not None:
        what = "Only the local operator may do this, and INFRA_MCP_TOKEN makes this a peer."
        raise InfraError("policy-denied", what, next_step="Run it without INFRA_MCP_TOKEN.", rule="operator")
    import anyio  # noqa: PLC0415 - only where there is no server to ask

    if alone is not None:
        return anyio.run(alone, settings)
    from infra_mcp.server import offline  # noqa: PLC0415 - the same

    return anyio.run(partial(offline.call, settings, method, params))
