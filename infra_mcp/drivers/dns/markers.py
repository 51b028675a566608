"""Whose a record is, by the TXT records that tools write beside it: ours are written, those of others only read.

Sources: external-dns, `registry/txt` (`heritage=external-dns,external-dns/owner=…`, at the record's own name, or with
its type before the first label); octoDNS, `processor/ownership.py` (`*octodns*` below `_owner`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from infra_mcp.clients.dns.text import plain, quoted
from infra_mcp.model.rrset import APEX, RRset
from infra_mcp.policy.kinds import ZoneRules

TXT: Final = "TXT"
_HERITAGE: Final = re.compile(r"heritage=([^,\s]+)(.*)", re.DOTALL)
_OWNER: Final = re.compile(r",([^,=\s]*/owner)=([^,]*)")
_RESOURCE: Final = re.compile(r",[^,=\s]*/resource=([^,]*)")
_OURS: Final = "infra-mcp"
# Where tools have their marks, by default; policy's `registry` names others.
_PLACES: Final = ("{name}", "{type}-{name}", "_owner.{type}.{name}")
MARK_TTL: Final = 300  # seconds


def our_place(name: str, kind: str) -> str:
    """The name of our mark of a record set: one for each, so that no two marks share a name."""
    return _filled("_infra-mcp.{type}.{name}", name, kind)


def our_text(rules: ZoneRules) -> str:
    """The value of our mark, as zone files write it."""
    return quoted(f"heritage={_OURS},{_OURS}/owner={rules.marker}")


def places(rules: ZoneRules, name: str, kind: str) -> list[str]:
    """The names at which marks of a record set may stand."""
    templates = (*_PLACES, *rules.registry)
    found = [_filled(template, name, kind) for template in templates if name != APEX or template.startswith("_")]
    return list(dict.fromkeys([our_place(name, kind), *found, *([APEX] if name == APEX else [])]))


def _filled(template: str, name: str, kind: str) -> str:
    filled = template.replace("{type}", kind.lower()).replace("{name}", "" if name == APEX else name)
    return filled.replace("*", "_wildcard").rstrip(".") if template != "{name}" else filled


def is_marked(rules: ZoneRules, mark: RRset | None) -> bool:
    """Whether the texts at our place say that this installation owns the record set."""
    return rules.marker is not None and mark is not None and our_text(rules) in mark.values


def other_owner(rules: ZoneRules, texts: Mapping[str, RRset | None], resources: Iterable[str] = ()) -> str:
    """Who else owns the record set, for people; empty where no mark says so.

    Args:
        rules: of the zone.
        texts: the TXT records at each of its places.
        resources: what external-dns may say the record comes from: our own objects.
    """
    for place, held in sorted(texts.items()):
        for value in held.values if held else ():
            text = plain(value)
            found = _HERITAGE.search(text)
            if found is None:
                if place.startswith("_owner.") or text == "*octodns*":
                    return f"octoDNS ({text[:60]})" if text != "*octodns*" else "octoDNS"
                continue
            owner, resource = _OWNER.search(found[2]), _RESOURCE.search(found[2])
            if found[1] == _OURS and rules.marker is not None and owner is not None and owner[2] == rules.marker:
                continue
            if resource is not None and resource[1] in resources:
                continue
            return found[1][:60] + (f" (owner {owner[2][:60]})" if owner else "")
    return ""
