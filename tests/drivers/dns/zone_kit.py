"""A zone of the docs team as the drivers' conformance suite sees it, on a real BIND."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from drivers.conformance import NEW, OLD

from infra_mcp.drivers.base import Setup, Share
from infra_mcp.drivers.dns.driver import connect
from infra_mcp.masking import Masker
from infra_mcp.model.rrset import RRset
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import load
from infra_mcp.repository.edits import Goal, Location
from infra_mcp.repository.value import Base, Tree
from infra_mcp.repository.zones.octodns import edited

__all__ = ["PATH", "ZONE", "ZoneKit", "policy_text", "setup", "share_of", "tree_of"]

ZONE = "docs.example"
PATH = f"dns/{ZONE}.yaml"
GOAL = Goal("Set it", subject="it", on_failure="rollback", timeout=60.0)


def policy_text(server, key_file, *servers, more=""):
    """A policy with one zone."""
    listed = ", ".join(f'"{one}"' for one in servers)
    return f"""
[[tree.roots]]
path = "."
[[tree.roots]]
path = "dns"
delivery = "dns"
[circles.docs]
actions = ["dns_record"]
zones = ["{ZONE}"]
records = ["*"]
[zones."{ZONE}"]
backend = "rfc2136"
server = "{server}"
key_file = "{key_file}"
servers = [{listed}]
private = true
min_ttl = 1
{more}
"""


def setup(masker=None):
    """What drivers are connected with."""

    async def key(_):
        return b"k" * 32

    return Setup(Path("/dev/null"), key, masker or Masker(b"k" * 32))


def tree_of(*rrsets, path=PATH):
    """The repository with these record sets."""
    data = b""
    for one in rrsets:
        data = edited(data, ZONE, None, one)
    tree = Tree(Base("0" * 40, "", ("",), {}, {}, plain=("dns",)))
    return tree.write(path, data) if data else tree


def share_of(before, after, *keys):
    """The share of an edit between two trees that is about these record sets."""
    return Share(tuple(Location(path=PATH, field=key) for key in keys), (), before, after, GOAL)


def _text(name, version):
    return RRset(name=name, type="TXT", ttl=300, values=(f'"{version}"',))


class ZoneKit:
    """Two TXT records, which both are in the repository and live."""

    names, circle, slow, writes = ("one", "two"), "docs", f"{NEW}-slow", 1

    def __init__(self, bind, other, more=""):
        self.bind, self.other = bind, other
        self.policy = load(policy_text(bind.at, bind.key_file, bind.at, other.at, more=more))
        self.masker, self.secret = Masker(b"k" * 32), bind.secret
        for name in self.names:
            bind.by_others(name, "TXT", [f'"{OLD}"'])

    @asynccontextmanager
    async def connect(self):
        async with connect(setup(self.masker), self.policy, ZONE) as driver:
            yield driver

    def share(self, version):
        if version == self.slow:
            self.other.pause()
        before, after = (tree_of(*(_text(name, one) for name in self.names)) for one in (OLD, version))
        return share_of(before, after, *((name, "TXT") for name in self.names))

    def secret_share(self):
        return self.share(NEW)

    def target(self, name):
        return Target(system="dns", place=ZONE, scope=ZONE, kind="TXT", name=name)

    async def live(self):
        return {name: self.bind.values(name, "TXT")[0].strip('"') for name in self.names}

    async def ground(self):
        return self.bind.serial

    async def by_others(self, name, version):
        await anyio.to_thread.run_sync(self.bind.by_others, name, "TXT", [f'"{version}"'])

    async def delivered(self, _):
        """The driver does it."""
