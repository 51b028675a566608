"""Peers, operators and their tokens: which have ended or end soon, which are not used, and who answers for them."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from infra_mcp.doctor.finding import Finding, check, empty, failed, risk, skipped
from infra_mcp.doctor.look import Look

_SOON: Final = timedelta(days=14)
_UNUSED: Final = timedelta(days=30)


@check("identities.peers")
async def peers(look: Look) -> AsyncIterator[Finding]:
    """Every peer has a token or an issuer's identity, and is of a circle of the policy."""
    found = await _peers(look)
    if found is None:
        yield skipped("There is no ledger to read.")
    elif not found:
        yield empty("There are no peers yet.")
    by_issuer = {
        (one.peer, one.circle) for issuer in (look.policy.oidc.values() if look.policy else ()) for one in issuer.peers
    }
    for one in found or ():
        name, place = one["name"], one["circle"]
        if place and look.policy is not None and place not in look.policy.circles:
            what = f"The peer {name} is of circle {place}, which the policy does not have."
            yield risk(what, f"infra-mcp peer remove {_of(one)}")
        elif not one["issued"] and (name, place) not in by_issuer:
            yield risk(f"{_shown(one)} has no token.", f"infra-mcp peer token {_of(one)}")


@check("identities.expiry")
async def expiry(look: Look) -> AsyncIterator[Finding]:
    """No token has expired or expires within 14 days, and each has an end."""
    for one, token in _newest(await _peers(look) or ()):
        end = token["expires"]
        if token["expired"]:
            yield failed(f"The token of {_shown(one)} expired on {end[:10]}.", f"infra-mcp peer token {_of(one)}")
        elif end is None:
            what = f"The token of {_shown(one)} never expires."
            yield risk(what, f"infra-mcp peer token {_of(one)} --expires 90d")
        elif datetime.fromisoformat(end) < datetime.now(UTC) + _SOON:
            what = f"The token of {_shown(one)} expires on {end[:10]}."
            yield risk(what, f"infra-mcp peer token {_of(one)} --overlap 24h")


@check("identities.unused")
async def unused(look: Look) -> AsyncIterator[Finding]:
    """Every token was used within 30 days of being made, or since."""
    for one, token in _newest(await _peers(look) or ()):
        last = datetime.fromisoformat(token["used"] or token["created"])
        if not token["expired"] and last < datetime.now(UTC) - _UNUSED:
            said = "was last used on" if token["used"] else "was never used since"
            yield risk(f"The token of {_shown(one)} {said} {last:%Y-%m-%d}.", f"infra-mcp peer remove {_of(one)}")


@check("identities.sponsors")
async def sponsors(look: Look) -> AsyncIterator[Finding]:
    """Somebody answers for every token."""
    for one, token in _newest(await _peers(look) or ()):
        if not token["sponsor"] and not token["expired"]:
            what = f"The token of {_shown(one)} has no sponsor: it is of an older version."
            yield risk(what, f"infra-mcp peer token {_of(one)}")


@check("identities.operators")
async def operators(look: Look) -> AsyncIterator[Finding]:
    """Every operator counts where a rule wants several approvals."""
    for one in await _peers(look) or ():
        if one["role"] == "operator" and not one["counts"]:
            what = f"The operator {one['name']} counts in no rule that wants several approvals: others must confirm."
            yield failed(what, f"infra-mcp peer confirm {shlex.quote(one['name'])}")


async def _peers(look: Look) -> list[dict[str, Any]] | None:
    if look.ask is None:
        return None
    found: list[dict[str, Any]] = (await look.ask("operator/peer.list", {}))["peers"]
    return found


def _newest(found: Any) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:  # noqa: ANN401 - peers, or none
    """Each peer that has tokens, with the newest of them: an older one that ends is as it should be."""
    for one in found:
        if one["issued"]:
            yield one, one["issued"][-1]


def _of(one: dict[str, Any]) -> str:
    """The peer as a command takes it."""
    return " ".join([one["name"], *(["--circle", one["circle"]] if one["circle"] else [])])


def _shown(one: dict[str, Any]) -> str:
    return f"the peer {one['name']} of {one['circle']}" if one["circle"] else f"the operator {one['name']}"
