"""Ids that say what they are and can be read aloud."""

from __future__ import annotations

import secrets

# Crockford's base32 in lower case: no i, l, o, u, so that it can be typed from a screen.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def request_id() -> str:
    """A new request id: `req-` and 60 random bits."""
    return "req-" + "".join(secrets.choice(_ALPHABET) for _ in range(12))


def ask_id() -> str:
    """A new ask id in Repowire's form, with 48 random bits instead of its 32."""
    return "ask-" + secrets.token_hex(6)


def notify_id() -> str:
    """A new id of a notify or a broadcast, likewise."""
    return "notif-" + secrets.token_hex(6)
