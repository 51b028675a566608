"""The guardrails of DNS zones: what is refused for every circle, unless its `allow` names it. Pure.

Sources: RFC 1912 (common errors), RFC 2181 section 10 (CNAME), RFC 4592 (wildcards), RFC 5890 and UTS 39 (names that
look alike), RFC 6303 and the IANA special-purpose registries (addresses).
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

import idna

from infra_mcp.errors import InfraError
from infra_mcp.model.effect import Change
from infra_mcp.model.rrset import APEX, TYPES
from infra_mcp.policy.grants import Grant, Refusal
from infra_mcp.policy.guard.rules import SWITCHES
from infra_mcp.policy.kinds import ZoneRules
from infra_mcp.policy.policy import Policy

SYSTEM: Final = "dns"
_ENDPOINT: Final = "externaldns.k8s.io/DNSEndpoint"
# Names below which ownership markers stand: ours, and those of octoDNS. They are written with the record they are of.
_MARKERS: Final = ("_infra-mcp", "_owner")
_HERITAGE: Final = re.compile(r'^"?(?:heritage=|\*octodns\*)', re.IGNORECASE)
_NAMES: Final = frozenset({"CNAME", "MX", "PTR", "SRV"})  # types whose value ends in a name
_EMBEDDING: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_UNICAST: Final = ipaddress.ip_network("2000::/3")  # all that IANA has given to the Internet's hosts (RFC 4291, 2.4)
# Scripts that one label may hold together (UTS 39, "highly restrictive"), beside the Latin letters of ASCII.
_TOGETHER: Final = ({"CJK", "HIRAGANA", "KATAKANA"}, {"CJK", "HANGUL"}, {"CJK", "BOPOMOFO"})
# Cyrillic and Greek letters that look like Latin ones: a label of nothing else passes for a Latin one.
_ALIKE: Final = frozenset("асԁеһіјӏорԛѕԝхуьꙇѵ" + "αικνορτυχ")


def refusals(
    rules: ZoneRules, to: Grant, zone: str, name: str, kind: str, values: Sequence[str], ttl: int | None
) -> Iterator[Refusal]:
    """Every guardrail against a record set; none for one that is removed, but those of its name.

    Args:
        rules: of the zone.
        to: the grant, which names what it is allowed.
        zone: the zone's name.
        name: relative to the zone.
        kind: its type.
        values: its values; none where it is removed.
        ttl: seconds; None where it stays.
    """
    found = [*_of_name(zone, name, kind), *_of_values(rules, zone, kind, values)]
    yield from (one for one in found if one.rule not in SWITCHES or one.rule not in to.own.allow)
    if values and ttl is not None and not rules.min_ttl <= ttl <= rules.max_ttl:
        what = f"A TTL of {ttl} s is outside the bounds of {zone}."
        yield Refusal("dns.ttl", what, f"{rules.min_ttl} to {rules.max_ttl} s.")


def change_refusals(rules: ZoneRules | None, to: Grant, change: Change) -> Iterator[Refusal]:
    """The same for a change of a plan, whatever action it is of."""
    target = change.target
    if target.system != SYSTEM or rules is None or change.operation == "unchanged":
        return
    fields = {field.path[0]: field.after for field in change.fields if field.has and len(field.path) == 1}
    values, ttl = fields.get("values"), fields.get("ttl")
    texts = [str(one) for one in values] if isinstance(values, list | tuple) else []
    seconds = ttl if isinstance(ttl, int) else None
    yield from refusals(rules, to, target.place, target.name, target.kind, texts, seconds)


def beside_a_cname(place: str, name: str, types: Sequence[str]) -> InfraError:
    """The error of a record set that would stand beside a CNAME, or of a CNAME beside others.

    Args:
        place: the file or zone that has them.
        name: relative to the zone.
        types: of the record sets that are there.
    """
    removals = " and ".join(f"dns_record with name {name}, type {one} and remove" for one in types)
    step = f"Send {removals} by itself, not as a step of the same set; when that has landed, send this again."
    what = f"{place} has {', '.join(types)} records of {name}, and a CNAME stands alone at its name."
    return InfraError("policy-denied", what, next_step=step, rule="dns.cname")


def object_refusals(policy: Policy, change: Change) -> Iterator[Refusal]:
    """Whether an object holds the records of a zone: a ConfigMap of CoreDNS, or a DNSEndpoint. Only records change it.

    Args:
        policy: in force.
        change: of an object of a cluster, by a typed action, a build or a chart.
    """
    target = change.target
    if change.operation == "unchanged":
        return
    for zone, rules in policy.zones.items():
        kind = "ConfigMap" if rules.backend == "coredns" else _ENDPOINT
        if (rules.cluster, rules.object, kind) == (target.place, f"{target.scope}/{target.name}", target.kind):
            what = f"{target} holds the records of {zone}, which are set one by one."
            yield Refusal("dns.object", what, "A dns_record for each name.")


def _of_name(zone: str, name: str, kind: str) -> Iterator[Refusal]:
    labels = name.split(".")
    if kind not in TYPES:
        yield Refusal("dns.types", f"No request may set {kind} records of {zone}.", f"One of {', '.join(TYPES)}.")
    if name == APEX:
        yield _guarded("dns.apex", f"{zone} itself may not get {kind} records here.", "A name below the zone.")
    if "*" in labels:
        what = f"{name} of {zone} is a wildcard, which answers for every name that has no record of its own."
        yield _guarded("dns.wildcard", what, "Single names.")
    if any(label in _MARKERS for label in labels):
        what = f"{name} of {zone} is where the marks of ownership stand."
        yield Refusal("dns.marker", what, "Another name; marks are written with their records.")
    yield from _alike(name)


def _of_values(rules: ZoneRules, zone: str, kind: str, values: Sequence[str]) -> Iterator[Refusal]:
    for value in values:
        if kind in {"A", "AAAA"} and not rules.private and not _is_public(value):
            what = f"{value[:64]} is no address of the Internet, and {zone} is a public zone."
            yield _guarded("dns.private-address", what, "A public address; or private = true in the zone's section.")
        if kind == "TXT" and _HERITAGE.match(value):
            what = f"The TXT record would claim that a tool owns a record of {zone}."
            yield Refusal("dns.marker", what, "Another text; marks are written with their records.")
        if kind in _NAMES:
            yield from _alike(value.split()[-1].rstrip("."))
    if kind == "CNAME" and len(values) > 1:
        yield Refusal("dns.cname", "A name has at most one CNAME record.", "One value.")


def _guarded(rule: str, reason: str, passes: str) -> Refusal:
    return Refusal(rule, reason, f"{passes} Or an operator adds {rule} to the circle's allow in infra.toml.")


def _is_public(text: str) -> bool:
    """Whether an address is one of the Internet, also the one that an IPv6 address embeds; True for no address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return True
    inner: list[ipaddress.IPv4Address | None] = []
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _EMBEDDING:
            return _is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)))
    if any(one is not None for one in inner):
        return all(_is_public(str(one)) for one in inner if one is not None)
    return address.is_global and not address.is_multicast and (address.version == 4 or address in _UNICAST)  # noqa: PLR2004


def _alike(name: str) -> Iterator[Refusal]:
    """Labels in other letters than ASCII: malformed ones and those that look like another label never pass."""
    for label in name.lower().split("."):
        if not label.startswith("xn--"):
            continue
        try:
            text = idna.decode(label)
        except (idna.IDNAError, UnicodeError):
            yield Refusal("dns.look-alike", f"{label[:63]} is no internationalised label.", "A label of RFC 5891.")
            continue
        scripts = {unicodedata.name(one, "").split(" ")[0] for one in text if one.isalpha()}
        others = scripts - {"LATIN"}
        mixed = len(scripts) > 1 and not any(others <= group for group in _TOGETHER)
        if mixed or all(one in _ALIKE for one in text if one.isalpha()):
            yield Refusal("dns.look-alike", f"{label} could be read as another name.", "A label in one script.")
        else:
            yield _guarded("dns.idna", f"{label} is a name in other letters than ASCII.", "A name in ASCII letters.")
