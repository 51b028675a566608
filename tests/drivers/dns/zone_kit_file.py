"""A zone that a real CoreDNS reads from a file, as the drivers' conformance suite sees it."""

from __future__ import annotations

from contextlib import asynccontextmanager

import anyio
from drivers.conformance import NEW, OLD
from drivers.dns.test_coredns import PATH, policy_of
from drivers.dns.zone_kit import ZONE, setup
from name_servers import zone_text

from infra_mcp.drivers.base import Share
from infra_mcp.drivers.dns.driver import connect
from infra_mcp.masking import Masker
from infra_mcp.model.target import Target
from infra_mcp.repository.edits import Goal, Location
from infra_mcp.repository.value import Base, Tree

__all__ = ["ZoneFileKit"]

GOAL = Goal("Set it", subject="it", on_failure="rollback", timeout=60.0)


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
        before, after = (
            Tree(Base("0" * 40, "", (), {}, {}, plain=("dns",))).write(PATH, _text(one, serial).encode())
            for one, serial in ((OLD, 1), (version, 2))
        )
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
        await anyio.to_thread.run_sync(self.server.by_others, name, "TXT", [f'"{version}"'])

    async def delivered(self, _):
        """The driver does it."""
