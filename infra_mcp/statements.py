"""The texts that people sign with keys of their own: made by their command and by the server, each for itself."""

from __future__ import annotations

import json
from typing import Final

# What a signature is for, so that one given elsewhere says nothing here. Source: PROTOCOL.sshsig, namespaces.
APPROVAL: Final = "approval@infra-mcp.dev"
HEAD: Final = "audit-head@infra-mcp.dev"


def approval(request: str, effect: str, until: str, bypass: str = "") -> bytes:
    """An approval: all of the decision, so that its signature cannot be sent again as another one.

    Args:
        request: the request's id.
        effect: the digest of its effect.
        until: when the request's wait ends, ISO 8601, UTC.
        bypass: why it goes on without the others; empty where it does not.
    """
    lines = [f"request: {request}", f"effect: {effect}", f"until: {until}"]
    lines += [f"bypass: {json.dumps(bypass)}"] if bypass else []  # one line, whatever is in it
    return "\n".join(["infra-mcp approval 1", *lines, ""]).encode()


def head(events: int, newest: str, at: str) -> bytes:
    """An audit head.

    Args:
        events: how many events it covers.
        newest: the hash of the newest one.
        at: when it is given away, ISO 8601, UTC.
    """
    return f"infra-mcp audit head 1\nevents: {events}\nhead: {newest}\nat: {at}\n".encode()
