"""A driver over a zone of the tests' BIND, and the one record set that a request changes in it."""

from contextlib import asynccontextmanager

from drivers.dns.zone_kit import ZONE, policy_text, setup, share_of, tree_of

from infra_mcp.clients.dns.text import rrset
from infra_mcp.drivers.base import Context
from infra_mcp.drivers.dns.driver import connect
from infra_mcp.policy.policy import load

__all__ = ["changing", "landed", "record", "zone"]


def record(name, kind, *values, ttl=300):
    return rrset(ZONE, name, kind, ttl, values)


@asynccontextmanager
async def zone(bind, *servers, more="", key_file=None):
    """A driver, and the context of a request."""
    policy = load(policy_text(bind.at, key_file or bind.key_file, *(servers or (bind.at,)), more=more))
    async with connect(setup(), policy, ZONE) as driver:
        yield driver, Context("req-0", "docs", policy, nonce="n" * 32)


def changing(before, after):
    """The share of a request that brings one record set from one state to another."""
    one = after or before
    return share_of(tree_of(*filter(None, [before])), tree_of(*filter(None, [after])), one.key)


async def landed(driver, context, before, after, seconds=20.0):
    prepared = await driver.plan(context, changing(before, after))
    await driver.apply(context, prepared)
    return prepared, await driver.verify(context, prepared, seconds)
