"""Whom a token of an OpenID Connect issuer stands for: `[oidc.NAME]` of infra.toml. Pure.

An issuer such as GitHub's signs tokens for everyone's pipelines. So each entry names, beside what may vary, whose they
are: at least one claim that ties the token to an owner, whose name is written out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator

from infra_mcp.model.names import Circle, Frozen, PeerName
from infra_mcp.policy.grammar import HttpAddress, Text

# Signatures by a key that the issuer keeps: no shared secret, and never `none` (RFC 7518, 3.1; RFC 8037).
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # fmt: skip
ClaimName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]*$", max_length=100)]
# Which claims say whose a token is. Sources: GitHub, "OpenID Connect reference"; GitLab, "ID token payload".
_OWNING: Final = (
    "sub",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "project_path",
    "project_id",
    "namespace_path",
    "namespace_id",
)
_PART: Final = "[^/:]*"  # what a * stands for: no part of a path or of a subject more


class OidcPeer(Frozen):
    """A peer, and the claims of the tokens that stand for it."""

    peer: PeerName
    circle: Circle
    claims: dict[ClaimName, Text] = Field(min_length=1, max_length=20)

    @field_validator("claims")
    @classmethod
    def _has_owner(cls, value: dict[str, str]) -> dict[str, str]:
        if not any(_is_owned(value[name]) for name in _OWNING if name in value):
            msg = f"must name whose the tokens are, its owner without a *: by one of {', '.join(_OWNING)}"
            raise ValueError(msg)
        return value

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token has every claim as it is written here, from its first character to its last."""
        return all(_fits(pattern, claims.get(name)) for name, pattern in self.claims.items())


class OidcRules(Frozen):
    """An issuer whose tokens are taken, and which peers they stand for."""

    issuer: HttpAddress
    audience: Text
    jwks: HttpAddress | None = None
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256",), min_length=1)
    sponsor: ClaimName
    run: ClaimName
    private: bool = False
    peers: tuple[OidcPeer, ...] = Field(min_length=1, max_length=500)

    @field_validator("issuer", "jwks")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        if value is not None and not is_safe(value):
            msg = "must be https; http is only for this machine"
            raise ValueError(msg)
        return value

    def standing(self, claims: Mapping[str, Any]) -> tuple[OidcPeer, ...]:
        """The entries that a token fits."""
        return tuple(one for one in self.peers if one.fits(claims))


def is_safe(url: str) -> bool:
    """Whether keys may be read there: over https, or on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost"})


def faults(oidc: Mapping[str, OidcRules], circles: Mapping[str, object]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What no key shows alone, each with the key it is about."""
    seen: set[str] = set()
    for name, rules in oidc.items():
        if rules.issuer in seen:
            yield ("oidc", name, "issuer"), "is there twice"
        seen.add(rules.issuer)
        for number, one in enumerate(rules.peers):
            if one.circle not in circles:
                yield ("oidc", name, "peers", str(number), "circle"), "names no circle of the policy"


def _is_owned(pattern: str) -> bool:
    """Whether an owner is written out: up to the first slash, or, where there is none, all of it."""
    return "*" not in pattern.partition("/")[0] if "/" in pattern else "*" not in pattern


def _fits(pattern: str, value: object) -> bool:
    if not isinstance(value, str):
        return False
    return re.fullmatch(_PART.join(map(re.escape, pattern.split("*"))), value) is not None
