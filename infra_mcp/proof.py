"""A server on this machine proves its identity before a client sends it a token over plain HTTP.

While the server is down, any local user can take its port. The server has the hash of each token: one half names the
token, the other half is a key that only its holder and that server have, and with which the server signs the client's
random number. Standard library only.
"""

from __future__ import annotations

import hashlib
import hmac

PATH = "/proof"  # beside /mcp
_NAMED = 32  # characters of a hash that name it; as many are the key


def which_and_key(token: str) -> tuple[str, str]:
    """The name of a token, which does not reveal it, and the key that its holder and the server share."""
    whole = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
    return whole[:_NAMED], whole[_NAMED:]


def prove(key: str, nonce: str) -> str:
    """The answer to a random number, with the key."""
    return hmac.new(key.encode(), f"infra-mcp server {nonce}".encode(), hashlib.sha256).hexdigest()
