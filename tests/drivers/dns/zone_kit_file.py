"""A zone that a real CoreDNS reads from a file, as the drivers' conformance suite sees it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
from drivers.conformance import NEW, OLD
from drivers.dns.zone_kit import ZONE, setup
from name_servers import zone_text

from infra_mcp.drivers.base import Share
from infra_mcp.drivers.dns.driver import connect
from infra_mcp.masking import Masker
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import load
from infra_mcp.repository.edits import Goal, Location, SetRecord
from infra_mcp.repository.value import Base, Tree
from infra_mcp.repository.zones.edit import apply_records

__all__ = ["PATH", "ZoneFileKit", "policy_of", "share_of", "tree_of"]

PATH = f"dns/db.{ZONE}"
GOAL = Goal("Set it", subject="it", on_failure="rollback", timeout=60.0)


def policy_of(server):
    return load(f"""
[[tree.roots]]
path = "dns"
delivery = "dns"
[circles.docs]
actions = ["dns_record"]
zones = ["{ZONE}"]
records = ["*"]
[zones."{ZONE}"]
backend = "coredns"
publish = "{server.published}"
servers = ["{server.at}"]
private = true
""")


def tree_of(text):
    return Tree(Base("0" * 40, "", (), {}, {}, plain=("dns",))).write(PATH, text.encode())


def share_of(text, before, after):
    """The share of a request that edits the repository's zone file."""
    tree = tree_of(text)
    edited = apply_records(tree, [SetRecord(path=PATH, zone=ZONE, before=before, after=after)])
    key = (after or before).key
    return Share((Location(path=PATH, field=key),), (), tree, edited, Goal("Set it", on_failure="rollback"))


def _text(version, serial):
    return zone_text(f'one 300 IN TXT "{version}"\ntwo 300 IN TXT "{version}"\n', serial)


class ZoneFileKit:
    """Two TXT records of a zone file. There is no secret: what stands for one is never written."""

    names, circle, slow, writes, secret = ("one", "two"), "docs", f"{NEW}-slow", 1, "x9Q-no-secret-of-a-zone-file"

    def __init__(self, server):
        self.server, self.policy, self.masker = server, policy_of(server), Masker(b"k" * 32)
        self.masker.learn(self.secret)
        server.published.write_text(_text(OLD, 1))

    @asynccontextmanager
    async def connect(self):
        async with connect(setup(self.masker), self.policy, ZONE) as driver:
            yield driver

    def share(self, version):
        if version == self.slow:
            self.server.pause()
        before, after = (tree_of(_text(one, serial)) for one, serial in ((OLD, 1), (version, 2)))
        places = tuple(Location(path=PATH, field=(name, "TXT")) for name in self.names)
        return Share(places, (), before, after, GOAL)

    def secret_share(self):
        return self.share(NEW)

    def target(self, name):
        return Target(system="dns", place=ZONE, scope=ZONE, kind="TXT", name=name)

    async def live(self):
        lines = [one.split() for one in self.server.published.read_text().splitlines()]
        return {one[0]: one[-1].strip('"') for one in lines if "TXT" in one}

    async def ground(self):
        return self.server.published.read_bytes()

    async def by_others(self, name, version):
        """A person edits the file; back when the server answers so, so that no answer of before is met."""
        await anyio.to_thread.run_sync(self._by_others, name, [f'"{version}"'])

    def _by_others(self, name, values):
        self.server.by_others(name, "TXT", values)
        self.server.wait(lambda: self.server.values(name, "TXT") == values)

    async def delivered(self, _):
        """The driver does it."""
