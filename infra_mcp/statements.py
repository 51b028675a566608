"""The texts that people sign with keys of their own: made by their command and by the server, each for itself."""

from __future__ import annotations

from typing import Final

# What a signature is for, so that one given elsewhere says nothing here. Source: PROTOCOL.sshsig, namespaces.
APPROVAL: Final = "approval@infra-mcp.dev"
HEAD: Final = "audit-head@infra-mcp.dev"


def approval(request: str, effect: str, until: str) -> bytes:
    """An approval.

    Args:
        request: the request's id.
        effect: the digest of its effect.
        until: when the request's wait ends, ISO 8601, UTC.
    """
    return f"infra-mcp approval 1\nrequest: {request}\neffect: {effect}\nuntil: {until}\n".encode()


def head(events: int, newest: str, at: str) -> bytes:
    """An audit head.

    Args:
        events: how many events it covers.
        newest: the hash of the newest one.
        at: when it is given away, ISO 8601, UTC.
    """
    return f"infra-mcp audit head 1\nevents: {events}\nhead: {newest}\nat: {at}\n".encode()
