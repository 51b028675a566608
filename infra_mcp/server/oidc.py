"""Callers by a token of an OpenID Connect issuer that policy names: a pipeline, for one, without a secret to keep.

The token is a signed JWT (RFC 7519). It counts when its issuer is one of policy, its signature is by a key that this
issuer has now and by an algorithm that policy allows, it is for our audience and of this moment, and its claims stand
for exactly one peer, which was added to its circle.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from anyio import to_thread

from infra_mcp.clients.oidc import IssuerKeys, Place
from infra_mcp.errors import InfraError
from infra_mcp.model.peer import Caller, Identity, is_sponsor
from infra_mcp.policy.oidc import OidcPeer, OidcRules, is_safe

if TYPE_CHECKING:
    from infra_mcp.engine import Engine

SKEW: Final = 30  # seconds by which the issuer's clock and ours may differ
_MAX_TOKEN: Final = 16_384  # characters; GitHub's and GitLab's have some 2,000
_MAX_SHOWN: Final = 500  # characters of a subject, and of a run
_REQUIRED: Final = ("iss", "sub", "aud", "exp", "iat")
_AGAIN: Final = "Let the job ask its CI system for a new one."
log = logging.getLogger("infra_mcp.server")


class OidcTokens:
    """The tokens of the issuers of the policy in force."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._keys: dict[tuple[str, str | None, bool], IssuerKeys] = {}

    async def caller(self, token: str) -> Caller | None:
        """Whom a token stands for; None where no policy in force names any issuer.

        Raises:
            InfraError: `unauthenticated`, with what is wrong with the token; `token-expired`; `issuer-unreachable`.
        """
        try:
            issuers = self._engine.policy.current().oidc
        except InfraError:
            return None
        if not issuers or len(token) > _MAX_TOKEN:
            return None
        try:
            return await self._caller(token, {one.issuer: one for one in issuers.values()})
        except InfraError as error:
            log.warning("a token of an issuer was refused: %s", error.what)
            raise

    async def _caller(self, token: str, issuers: dict[str, OidcRules]) -> Caller:
        if "jwt" not in sys.modules:
            await to_thread.run_sync(import_module, "jwt")  # with cryptography it takes 0.1 s
        header, claimed = _unverified(token)
        rules = issuers.get(str(claimed.get("iss")))
        if rules is None:
            raise _refused("its issuer is none that infra.toml names")
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in rules.algorithms:
            raise _refused(f"it is not signed by {' or '.join(rules.algorithms)}")
        if not isinstance(kid, str):
            raise _refused("it names no key")
        key = await self._keys_of(rules).key(kid)
        if key is None or key.get("alg", algorithm) != algorithm:
            raise _refused("its issuer has no such key")
        return await self._standing(rules, _verified(token, key, str(algorithm), rules))

    async def _standing(self, rules: OidcRules, claims: dict[str, Any]) -> Caller:
        found = rules.standing(claims)
        if len(found) != 1:
            what = "no entry" if not found else "more than one entry"
            raise _refused(f"{what} of the issuer's peers in infra.toml has these claims")
        await self._require(found[0])
        sponsor, run = (claims.get(name) for name in (rules.sponsor, rules.run))
        if not isinstance(sponsor, str) or not is_sponsor(sponsor):
            raise _refused(f"its claim {rules.sponsor} names no person")
        if not isinstance(run, str | int) or not str(run):
            raise _refused(f"it has no claim {rules.run}")
        subject = str(claims["sub"])
        mask = self._engine.ledger.masker.mask
        return Caller(
            name=found[0].peer,
            circle=found[0].circle,
            strength="oidc",
            sponsor=mask(sponsor),
            identity=Identity(issuer=rules.issuer, subject=mask(_clean(subject)), run=mask(_clean(str(run)))),
        )

    async def _require(self, one: OidcPeer) -> None:
        """Refuse a peer that was not added, or was removed."""
        there = await self._engine.ledger.find_peers(one.peer)
        if not any(peer.role == "agent" and peer.circle == one.circle for peer in there):
            add = f"An operator runs: infra-mcp peer add {one.peer} --circle {one.circle} --no-token"
            raise _refused(f"{one.peer} is no peer of circle {one.circle}", add)

    def _keys_of(self, rules: OidcRules) -> IssuerKeys:
        where = rules.issuer, rules.jwks, rules.private
        if where not in self._keys:
            self._keys[where] = IssuerKeys(Place(*where, is_safe))
        return self._keys[where]


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as they stand there: only what says whose keys to ask for is taken from them."""
    import jwt  # noqa: PLC0415 - only those need it whose policy names issuers

    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return jwt.get_unverified_header(token), claims
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _refused("it is no JSON Web Token") from None


def _verified(token: str, key: dict[str, Any], algorithm: str, rules: OidcRules) -> dict[str, Any]:
    """The claims, after every check of the token itself."""
    import jwt  # noqa: PLC0415 - as above

    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            jwt.PyJWK(key, algorithm),
            algorithms=[algorithm],
            audience=rules.audience,
            issuer=rules.issuer,
            leeway=SKEW,
            options={"require": list(_REQUIRED), "enforce_minimum_key_length": True},
        )
    except jwt.ExpiredSignatureError:
        raise InfraError("token-expired", "The pipeline's token has expired.", next_step=_AGAIN) from None
    except jwt.InvalidAudienceError:
        raise _refused(f"it is for another audience than {rules.audience}") from None
    except jwt.MissingRequiredClaimError as error:
        raise _refused(f"it has no claim {error.claim}") from None
    except jwt.ImmatureSignatureError:
        raise _refused("it is of a later time than this machine's clock shows") from None
    except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError, jwt.PyJWKError):
        raise _refused("it is not signed by a key of its issuer that may be used") from None
    except (jwt.PyJWTError, ValueError, TypeError):
        raise _refused("one of its claims has a wrong form") from None
    return claims


def _clean(text: str) -> str:
    """A claim as the ledger can keep it."""
    return text[:_MAX_SHOWN].encode("utf-8", "replace").decode()


def _refused(why: str, next_step: str | None = None) -> InfraError:
    step = next_step or "Compare the job's token with [oidc] of infra.toml: docs/ci.md."
    return InfraError("unauthenticated", f"The pipeline's token is not taken: {why}.", next_step=step)
