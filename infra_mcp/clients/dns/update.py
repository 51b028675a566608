"""Dynamic updates of a zone: one message that happens as a whole, or not at all (RFC 2136)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.update

from infra_mcp.clients.dns.server import Server, exchange
from infra_mcp.effects import effect
from infra_mcp.errors import InfraError, Moved, Unavailable
from infra_mcp.model.rrset import RRset, absolute

# A prerequisite did not hold.
_MOVED: Final = frozenset({dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN})


@dataclass(frozen=True)
class Swap:
    """One record set that an update changes, if it is as it was read."""

    name: str
    type: str
    before: RRset | None  # None: there must be none
    after: RRset | None  # None removes it
    # Removes only these values and adds those of `after`, so that values of others at the same name and type stay.
    only: bool = False


async def check(
    server: Server, zone: str, key: dns.tsig.Key, swaps: Sequence[Swap], absent: Sequence[tuple[str, str]] = ()
) -> None:
    """Send only the signature and the prerequisites of an update: the server checks them and changes nothing.

    Raises:
        As `update`. Whether the key may change these records is not checked.
    """
    message = dns.update.UpdateMessage(zone, keyring=key)
    for swap in swaps:
        _require(message, zone, swap)
    _require_absent(message, zone, absent)
    await _send(server, zone, key, message, swaps)


@effect("dns.update")
async def update(
    server: Server, zone: str, key: dns.tsig.Key, swaps: Sequence[Swap], absent: Sequence[tuple[str, str]] = ()
) -> None:
    """Send one update: all of it, if every record set is as it was read; else none of it.

    The TTL is no part of what is compared: RFC 2136, section 2.4.2.

    Args:
        server: the zone's primary.
        zone: the zone.
        key: signs the update.
        swaps: the record sets to change.
        absent: names with types that must not be there, since the server would drop a record beside them without an
            error (RFC 2136, section 3.4.2.2): the type `ANY` stands for all.

    Raises:
        Moved: a record set is not as it was read; nothing was changed.
        Unavailable: whether it happened is not known.
        InfraError: `zone-denied`.
    """
    message = dns.update.UpdateMessage(zone, keyring=key)
    for swap in swaps:
        _require(message, zone, swap)
    _require_absent(message, zone, absent)
    for swap in swaps:
        _change(message, zone, swap)
    await _send(server, zone, key, message, swaps)


async def _send(
    server: Server, zone: str, key: dns.tsig.Key, message: dns.update.UpdateMessage, swaps: Sequence[Swap]
) -> None:
    try:
        reply = (await exchange(server, [message]))[0]
    except dns.tsig.PeerError as error:
        raise InfraError("zone-denied", f"{server} {_refusal(error, key, zone)}") from None
    code = reply.rcode()
    if code in _MOVED:
        raise Moved(f"a record of {zone}")
    if code == dns.rcode.NOERROR and reply.had_tsig:
        return
    if code == dns.rcode.REFUSED:
        what = f"{server} refuses the update of {zone}: key {_name(key)} may not change {_named(swaps)}."
        raise InfraError("zone-denied", what)
    if code == dns.rcode.NOTAUTH:
        what = f"{server} is not authoritative for {zone} (NOTAUTH), or does not take key {_name(key)}."
        raise InfraError("zone-denied", what)
    if code == dns.rcode.NOTIMP:
        raise InfraError("zone-denied", f"{server} takes no dynamic updates.")
    said = dns.rcode.to_text(code) if code else "an answer without a signature"
    raise Unavailable("zone-unreachable", f"{server} answered the update of {zone} with {said}.")


def _require_absent(message: dns.update.UpdateMessage, zone: str, absent: Sequence[tuple[str, str]]) -> None:
    for name, kind in absent:
        message.absent(dns.name.from_text(absolute(name, zone)), *([] if kind == "ANY" else [kind]))


def _require(message: dns.update.UpdateMessage, zone: str, swap: Swap) -> None:
    owner = dns.name.from_text(absolute(swap.name, zone))
    if swap.before is None:
        message.absent(owner, swap.type)
    else:
        message.present(owner, *map(_rdata(swap.type), swap.before.values))


def _change(message: dns.update.UpdateMessage, zone: str, swap: Swap) -> None:
    owner, make = dns.name.from_text(absolute(swap.name, zone)), _rdata(swap.type)
    if swap.only:
        for value in set(swap.before.values if swap.before else ()) - set(swap.after.values if swap.after else ()):
            message.delete(owner, make(value))
    elif swap.before is not None:
        message.delete(owner, swap.type)
    if swap.after is not None:
        for value in swap.after.values:
            message.add(owner, swap.after.ttl or 0, make(value))


def _rdata(kind: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - dnspython's own
    def make(value: str) -> dns.rdata.Rdata:
        of_type = dns.rdatatype.from_text(kind)
        return dns.rdata.from_text(dns.rdataclass.IN, of_type, value, dns.name.root, relativize=False)

    return make


def _refusal(error: dns.tsig.PeerError, key: dns.tsig.Key, zone: str) -> str:
    """Why a signature was not taken, for people."""
    if isinstance(error, dns.tsig.PeerBadKey):
        return f"does not know a key {_name(key)} for {zone}: the name must be the same as in its configuration."
    if isinstance(error, dns.tsig.PeerBadTime):
        return f"does not take the time of the update of {zone}: its clock and ours differ."
    return f"has another secret or algorithm for key {_name(key)}."


def _name(key: dns.tsig.Key) -> str:
    return key.name.to_text(omit_final_dot=True)


def _named(swaps: Sequence[Swap]) -> str:
    return ", ".join(f"{one.name} {one.type}" for one in swaps)
