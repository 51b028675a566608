"""How a server on this machine shows that it is one, before it is sent a token over plain HTTP.

Who stands behind a port of this machine is not known: while the server is down, any local user can take it. The server
keeps the hash of each token. One half of that hash names the token, the other one is a key that only its holder and
that server have, with which the server answers a number made up for the occasion. Standard library only.
"""

from __future__ import annotations

import hashlib
import hmac

PATH = "/proof"  # beside /mcp
_NAMED = 32  # characters of a hash that name it; as many are the key


def which_and_key(token: str) -> tuple[str, str]:
    """What names a token without telling it, and the key that its holder and the server share."""
    whole = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
    return whole[:_NAMED], whole[_NAMED:]


def prove(key: str, nonce: str) -> str:
    """The answer to a number, by who has the key."""
    return hmac.new(key.encode(), f"infra-mcp server {nonce}".encode(), hashlib.sha256).hexdigest()
