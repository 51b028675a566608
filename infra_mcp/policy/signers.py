"""The public keys of those who sign approvals, as OpenSSH writes them. The server holds none of the private ones."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Final

from pydantic import AfterValidator

# Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT, without DSA, and without certificates, whose issuer would decide.
_TYPES: Final = frozenset(
    {
        "ssh-ed25519",
        "sk-ssh-ed25519@openssh.com",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-rsa",
    }
)
_MAX_LENGTH: Final = 4096  # characters; an RSA key of 16,384 bits has fewer


def _public_key(line: str) -> str:
    """The type and the key of a line, without its comment."""
    kind, _, rest = line.strip().partition(" ")
    key = rest.strip().partition(" ")[0]
    try:
        blob = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    # RFC 4253, section 6.6: a key begins with its type, after the type's length in four bytes.
    named = blob[4 : 4 + int.from_bytes(blob[:4], "big")]
    if len(line) > _MAX_LENGTH or kind not in _TYPES or named != kind.encode():
        msg = "must be a public key as OpenSSH writes it in a .pub file, of a type such as ssh-ed25519"
        raise ValueError(msg)
    return f"{kind} {key}"


PublicKey = Annotated[str, AfterValidator(_public_key)]


def fingerprint(key: str) -> str:
    """A public key's fingerprint, as `ssh-keygen -l` prints it: `SHA256:` and the hash of the key, without padding."""
    blob = base64.b64decode(key.partition(" ")[2])
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode("ascii").rstrip("=")
