"""What a JSON-RPC message of MCP is, as far as all doors and the command line must agree. Standard library only."""

from __future__ import annotations

__all__ = ["is_answerless"]


def is_answerless(frame: object) -> bool:
    """Whether a message is a request whose id no answer could carry: neither a string nor an integer, null included.

    MCP's SDK takes it for a notification, and its sender waits for ever.
    """
    if not isinstance(frame, dict) or "method" not in frame or "id" not in frame:
        return False
    return isinstance(frame["id"], bool) or not isinstance(frame["id"], str | int)
