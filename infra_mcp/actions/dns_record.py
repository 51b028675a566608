"""DNS record: sets or removes one record set in the file that holds the zone's records."""

from __future__ import annotations

from anyio import to_thread

from infra_mcp.actions.base import Look
from infra_mcp.clients.dns.text import rrset
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.dns_record import DnsRecord
from infra_mcp.model.rrset import RRset
from infra_mcp.policy.grammar import seconds
from infra_mcp.policy.kinds import ZoneRules
from infra_mcp.policy.zone_files import file_of
from infra_mcp.policy.zones import beside_a_cname
from infra_mcp.repository.edits import Edit, Goal, PutFile, SetRecord
from infra_mcp.repository.zones.edit import apply_records, location_of, records

_ALIAS = "CNAME"


async def edit(look: Look, action: DnsRecord) -> Edit:
    """Write the record set where the zone's file has it, or as a new one.

    Raises:
        InfraError: `not-found`: policy has no such zone; `place-needed`, `not-in-repository`: it has no file;
            `invalid-argument`: a value is not well formed; `policy-denied`: a CNAME beside other records;
            `manifest-invalid`: the file cannot be edited.
    """
    rules = look.policy.zones.get(action.zone)
    if rules is None:
        raise InfraError("not-found", f"infra.toml has no zone {action.zone}.", next_step="Add [zones.NAME] to it.")
    return await to_thread.run_sync(_edit, look, action, rules)  # it reads and parses files


def _edit(look: Look, action: DnsRecord, rules: ZoneRules) -> Edit:
    path = file_of(look.policy, look.tree, action.zone)
    key = rules.key or ""
    there = records(look.tree, path, action.zone, action.name, key=key)
    before = next((one for one in there if one.type == action.type), None)
    after = None if action.remove else _wanted(action, before, rules)
    _require_alone(there, after, path)
    change = SetRecord(path=path, zone=action.zone, before=before, after=after, comment=look.circle, key=key)
    name = f"{action.name} {action.type} of {action.zone}"
    goal = Goal(
        title=f"Remove {name}" if action.remove else f"Set {name}",
        subject=name,
        on_failure="rollback",
        timeout=seconds(rules.timeout),
    )
    if before == after:
        addressed = SetRecord(path=path, zone=action.zone, before=_empty(action), after=after)
        return Edit(look.tree, goal, addressed=(location_of(addressed),))
    tree = apply_records(look.tree, [change])
    made = change if look.tree.read(path) is not None else PutFile(path=path)
    return Edit(tree, goal, (made,), (location_of(change),))


def _empty(action: DnsRecord) -> RRset:
    return RRset(name=action.name, type=action.type, ttl=None, values=())


def _wanted(action: DnsRecord, before: RRset | None, rules: ZoneRules) -> RRset:
    ttl = action.ttl or (before.ttl if before else None) or rules.ttl
    try:
        return rrset(action.zone, action.name, action.type, ttl, action.values)
    except ValueError as error:
        raise InfraError("invalid-argument", f"values: one of them {error}.") from None


def _require_alone(there: list[RRset], after: RRset | None, path: str) -> None:
    """Refuse a CNAME beside other records of its name: RFC 2181, section 10.1."""
    others = [one for one in there if after is not None and one.type != after.type]
    if after is not None and others and _ALIAS in {after.type, *(one.type for one in others)}:
        raise beside_a_cname(path, after.name, [one.type for one in others])
