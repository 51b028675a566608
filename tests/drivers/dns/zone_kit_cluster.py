"""Zones whose records are in an object of a real cluster, as the drivers' conformance suite sees them.

Both kits hold what stands in for external-dns or the kubelet (see `cluster_zone`) while it is not to be up at once.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, contextmanager

import anyio
from drivers.conformance import NEW, OLD
from drivers.dns.cluster_zone import (
    CONFIG_ZONE,
    ENDPOINT_ZONE,
    KEY,
    InCluster,
    config_map,
    endpoints,
    external_dns,
    kubelet,
)
from drivers.dns.zone_kit import ZONE
from name_servers import coredns, zone_text

from infra_mcp.drivers.base import Share
from infra_mcp.masking import Masker
from infra_mcp.model.target import Target
from infra_mcp.repository.edits import Goal, Location
from infra_mcp.repository.render import dump
from infra_mcp.repository.value import Base, Tree

__all__ = ["ConfigMapKit", "EndpointKit", "config_map_kit", "endpoint_kit"]

GOAL = Goal("Set it", subject="it", on_failure="rollback", timeout=60.0)
_NAMES = ("one", "two")


class _Kit:
    """Two TXT records of an object. The secret is the server's own token, with which it asks the cluster."""

    names, circle, slow, writes, path = _NAMES, "docs", f"{NEW}-slow", 1, ""

    def __init__(self, held, server, program):
        self.held, self.server, self.program = held, server, program
        self.policy, self.masker = held.policy, Masker(b"k" * 32)
        self.secret = held.admin.server_config.read_text().split("token: ")[1].split()[0]
        self.masker.learn(self.secret)
        self._wait(dict.fromkeys(self.names, OLD))

    def _wait(self, versions):
        self.server.wait(lambda: all(self.server.values(one, "TXT") == [f'"{versions[one]}"'] for one in versions))

    def _body(self, versions, serial):
        raise NotImplementedError

    def _versions(self):
        """What the object has now."""
        raise NotImplementedError

    def _serial(self):
        """The one that the object has."""
        return 0

    @asynccontextmanager
    async def connect(self):
        async with self.held.zone(self.masker) as (driver, _):
            yield driver

    def share(self, version):
        if version == self.slow:
            self.program.pause()
        before, after = (
            Tree(Base("0" * 40, "", (), {}, {}, plain=("dns",))).write(
                self.path, dump(self._body(dict.fromkeys(self.names, one), serial))
            )
            for one, serial in ((OLD, 1), (version, 2))
        )
        places = tuple(Location(path=self.path, field=(name, "TXT")) for name in self.names)
        return Share(places, (), before, after, GOAL)

    def secret_share(self):
        return self.share(NEW)

    def target(self, name):
        return Target(system="dns", place=ZONE, scope=ZONE, kind="TXT", name=name)

    async def live(self):
        return await anyio.to_thread.run_sync(self._versions)

    async def ground(self):
        """What people and we write; the status is external-dns' own, and does not count."""
        live = await anyio.to_thread.run_sync(self.held.live)
        fields = [one for one in live["metadata"]["managedFields"] if one.get("subresource") != "status"]
        return json.dumps([{"spec": live.get("spec"), "data": live.get("data")}, fields])

    async def by_others(self, name, version):
        """Somebody applies the object otherwise; back when the servers say so, so that no answer of before is met."""
        await anyio.to_thread.run_sync(self._by_others, name, version)

    def _by_others(self, name, version):
        versions = self._versions() | {name: version}
        self.held.admin.apply([self._body(versions, self._serial() + 1)])
        self._wait({name: version})

    async def delivered(self, _):
        """The driver does it."""


class EndpointKit(_Kit):
    """A DNSEndpoint, which external-dns makes a real BIND answer."""

    path = "dns/records.yaml"

    def _body(self, versions, _):
        return _endpoint(self.held.space, versions)

    def _versions(self):
        held = self.held.live()["spec"]["endpoints"]
        return {one["dnsName"].split(".")[0]: one["targets"][0].strip('"') for one in held}


class ConfigMapKit(_Kit):
    """A zone file in a ConfigMap, which the kubelet gives to a real CoreDNS."""

    path = "dns/coredns.yaml"

    def _body(self, versions, serial):
        return _zone_file(self.held.space, _zone_text(versions, serial))

    def _lines(self):
        return [one.split() for one in self.held.live()["data"][KEY].splitlines()]

    def _serial(self):
        return next(int(one[5]) for one in self._lines() if "SOA" in one)

    def _versions(self):
        return {one[0]: one[-1].strip('"') for one in self._lines() if "TXT" in one}


def _endpoint(space, versions):
    body = endpoints(space)
    named = [
        {"dnsName": f"{name}.{ZONE}", "recordTTL": 300, "recordType": "TXT", "targets": [f'"{one}"']}
        for name, one in versions.items()
    ]
    return body | {"spec": {"endpoints": named}}


def _zone_text(versions, serial):
    return zone_text("".join(f'{name} 300 IN TXT "{one}"\n' for name, one in versions.items()), serial)


def _zone_file(space, text):
    body = config_map(space)
    return body | {"data": body["data"] | {KEY: text}}


@contextmanager
def endpoint_kit(admin, bind):
    """A kit over a DNSEndpoint, with what serves it."""
    held = InCluster(admin, ENDPOINT_ZONE % bind.at, lambda space: _endpoint(space, dict.fromkeys(_NAMES, OLD)))
    with _served(held), external_dns(held, bind) as program:
        yield EndpointKit(held, bind, program)


@contextmanager
def config_map_kit(admin, folder):
    """A kit over a ConfigMap, with what serves it."""
    text = _zone_text(dict.fromkeys(_NAMES, OLD), 1)
    with coredns(folder, text) as server:
        held = InCluster(admin, CONFIG_ZONE % server.at, lambda space: _zone_file(space, text))
        with _served(held), kubelet(held, server) as program:
            yield ConfigMapKit(held, server, program)


@contextmanager
def _served(held):
    try:
        yield
    finally:
        held.leave()
