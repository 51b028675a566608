"""The canonical bytes of a value, and its digest."""

import hashlib
import hmac
import json
from typing import Any

_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """JSON with sorted keys and no spaces (the part of RFC 8785 that our values need: no floats)."""
    return _JSON.encode(value).encode()


def digest(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """`sha256:` and the hex digest of the canonical form."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def keyed(key: bytes, value: bytes) -> str:
    """A short keyed hash (HMAC-SHA-256, RFC 2104): it shows whether content is equal, and nothing else."""
    return "hmac:" + hmac.new(key, value, hashlib.sha256).hexdigest()[:32]
