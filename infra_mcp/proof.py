"""A server on this machine proves its identity before a client sends it a token over plain HTTP.

While the server is down, any local user can take its port. The server has the hash of each token: one half names the
token, the other half is a key that only its holder and that server have, and with which the server signs the client's
random number. A token that an issuer signed is known to no server before it is sent. Standard library only.
"""

from __future__ import annotations

import hashlib
import hmac

PATH = "/proof"  # beside /mcp
_DOTS = 2
_NAMED = 32  # characters of a hash that name it; as many are the key


def which_and_key(token: str) -> tuple[str, str]:
    """The name of a token, which does not reveal it, and the key that its holder and the server share."""
    whole = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
    return whole[:_NAMED], whole[_NAMED:]


def prove(key: str, nonce: str) -> str:
    """The answer to a random number, with the key."""
    return hmac.new(key.encode(), f"infra-mcp server {nonce}".encode(), hashlib.sha256).hexdigest()


def is_signed(token: str) -> bool:
    """Whether a token has the form of one that an issuer signed: three parts with dots between (RFC 7515, 7.1)."""
    return token.count(".") == _DOTS
