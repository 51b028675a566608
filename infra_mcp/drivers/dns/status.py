"""Reads the state of a zone for `status`: its servers, and its records in git compared with what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from anyio import to_thread

from infra_mcp.clients.dns.server import Server, ask, serial
from infra_mcp.drivers.base import Context
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather
from infra_mcp.model.rrset import RRset, same
from infra_mcp.policy.zone_files import file_of
from infra_mcp.repository.value import Tree
from infra_mcp.repository.zones.edit import records

_MAX_LISTED: Final = 50
_MAX_ASKED: Final = 1_000  # records that are compared


async def status(servers: Sequence[Server], context: Context, zone: str, tree: Tree) -> dict[str, Any]:
    """The serial at each server, the primary first, and the records of the repository with their drift.

    Raises:
        InfraError: the zone's file cannot be found or read; the primary does not answer.
    """
    held = await to_thread.run_sync(_records, context, tree, zone)
    compared = [one for one in held if one.type != "SOA"][:_MAX_ASKED]
    answers = await ask(servers[0], zone, [one.key for one in compared]) if compared else []
    drift = []
    for one, answer in zip(compared, answers, strict=True):
        if answer.problem:
            drift.append(f"{one.name} {one.type}: not known: {answer.problem}")
        elif not same(one, answer.rrset):
            drift.append(f"{one.name} {one.type}: git {_shown(one)}, live {_shown(answer.rrset)}")
    return {
        "serials": dict(
            zip(map(str, servers), await gather(partial(_serial, one, zone) for one in servers), strict=True)
        ),
        "records": [str(one) for one in held[:_MAX_LISTED]],
        "records_in_all": len(held),
        "drift": drift[:_MAX_LISTED],
    }


def _records(context: Context, tree: Tree, zone: str) -> list[RRset]:
    key = context.policy.zones[zone].key or ""
    return records(tree, file_of(context.policy, tree, zone), zone, key=key)


def _shown(one: RRset | None) -> str:
    return "absent" if one is None else f"{', '.join(one.values)} (TTL {one.ttl})"


async def _serial(server: Server, zone: str) -> int | str:
    try:
        return await serial(server, zone)
    except InfraError as error:
        return error.what
