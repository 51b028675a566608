"""The TSIG key of a zone's updates (RFC 8945), from a file that only its owner may read."""

from __future__ import annotations

import base64
import binascii
import os
import re
import shlex
import stat
from pathlib import Path
from typing import Final

import dns.exception
import dns.name
import dns.tsig

from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker

_MAX_BYTES: Final = 16_384
_ALGORITHMS: Final = {
    str(one).rstrip("."): one for one in (dns.tsig.HMAC_SHA256, dns.tsig.HMAC_SHA384, dns.tsig.HMAC_SHA512)
}
_BLOCK = re.compile(r'key\s+"?([^\s"{;]+)"?\s*\{([^}]*)\}\s*;', re.DOTALL)  # BIND's, as tsig-keygen writes it
_FIELD = re.compile(r'(algorithm|secret)\s+"?([^\s";]+)"?\s*;')
_COMMENT = re.compile(r'("[^"]*")|(?:#|//)[^\n]*|/\*.*?\*/', re.DOTALL)  # none begins within quotes


TsigKey = dns.tsig.Key


def read_key(path: str, masker: Masker) -> TsigKey:
    """Read the key of a file: BIND's `key` block, or one line `algorithm:name:secret` as nsupdate's `-y` takes it.

    Args:
        path: the file, of mode 0600 or stricter.
        masker: learns the secret.

    Raises:
        InfraError: `setup-failed`, without any of the file's text.
    """
    text = _text(Path(path))
    name, algorithm, secret = _parts(text, path)
    if algorithm not in _ALGORITHMS:
        step = f"Make one with `tsig-keygen -a hmac-sha256`; {', '.join(_ALGORITHMS)} are taken."
        raise InfraError("setup-failed", f"The key in {path} has an algorithm that is not taken.", next_step=step)
    masker.learn(secret)
    try:
        decoded = base64.b64decode(secret, validate=True)
        return dns.tsig.Key(dns.name.from_text(name), decoded, _ALGORITHMS[algorithm])
    except (binascii.Error, dns.exception.DNSException, UnicodeError):
        raise InfraError("setup-failed", f"The key in {path} has a malformed name or secret.") from None


def _parts(text: str, path: str) -> tuple[str, str, str]:
    plain = _COMMENT.sub(lambda found: found[1] or "", text)
    blocks = _BLOCK.findall(plain)
    if len(blocks) == 1:
        fields = dict(_FIELD.findall(blocks[0][1]))
        if {"algorithm", "secret"} <= fields.keys():
            return blocks[0][0], fields["algorithm"].lower().rstrip("."), fields["secret"]
    words = text.strip().split(":")
    if not blocks and len(words) == 3 and not re.search(r"\s", text.strip()):  # noqa: PLR2004 - nsupdate's form
        return words[1], words[0].lower(), words[2]
    what = f"{path} holds no single TSIG key."
    raise InfraError("setup-failed", what, next_step="`tsig-keygen NAME > FILE; chmod 600 FILE` writes one.")


def _opened(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _text(path: Path) -> str:
    try:
        with open(path, "rb", opener=_opened) as file:
            mode = os.fstat(file.fileno())
            if not stat.S_ISREG(mode.st_mode):
                raise InfraError("setup-failed", f"{path} is no regular file.")
            if mode.st_mode & 0o077:
                step = f"chmod 600 {shlex.quote(str(path))}"
                raise InfraError("setup-failed", f"Others may read the key in {path}.", next_step=step)
            return file.read(_MAX_BYTES).decode()
    except OSError as error:
        raise InfraError("setup-failed", f"The key file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InfraError("setup-failed", f"The key file {path} is no text.") from None
