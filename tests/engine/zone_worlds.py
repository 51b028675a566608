"""The worlds of the kill tests: a zone with `www A` in it, kept by one back end, and served by real name servers."""

from __future__ import annotations

import shutil
from pathlib import Path

from drivers.dns.cluster_zone import endpoints
from drivers.dns.zone_kit_file import PATH as FILE
from engine.zone_ground import PATH, TREE, ZoneGround, zone_policy
from name_servers import ZONE, zone_text

from infra_mcp.repository.render import dump

__all__ = ["NEW", "OLD", "RECORDS", "Endpoints", "Updates", "World", "ZoneFiles"]

OLD, NEW = "192.0.2.1", "192.0.2.2"
RECORDS = f"www 300 IN A {OLD}\n"


class World:
    """A zone's servers, and what keeps its records.

    Args:
        server: the primary.
        stale: a server of the zone that never takes anything over, so that a change is rolled back.
    """

    path, effect = PATH, ""

    def __init__(self, server, stale):
        self.server, self.stale = server, stale

    def ground(self, home: Path, *, stale: bool = False) -> ZoneGround:
        """A repository of its own about the zone, which says what is live."""
        made = ZoneGround(home)
        servers = (self.server.at, self.stale.at) if stale else (self.server.at,)
        made.make(self.policy(*servers), {self.path: self.text()})
        return made

    def policy(self, *servers: str) -> str:
        raise NotImplementedError

    def text(self) -> str:
        """The zone's file in the repository."""
        raise NotImplementedError

    def reset(self) -> None:
        """Somebody brings the zone back to the beginning."""
        raise NotImplementedError

    def kept(self) -> list[str]:
        """The values of `www A` where records are kept."""
        raise NotImplementedError

    def writes(self) -> int:
        """A number that every write raises by one."""
        raise NotImplementedError

    def live(self) -> list[str]:
        """What is kept and answered: the server takes over what is kept, sooner or later."""
        kept = self.kept()
        self.server.wait(lambda: self.server.values("www", "A") == kept)
        return kept


class Updates(World):
    """A BIND that takes updates, with marks."""

    effect = "dns.update"

    def policy(self, *servers):
        marked = zone_policy(self.server.at, self.server.key_file, *servers, more='marker = "us"')
        return marked.replace('"20s"', '"2s"')

    def text(self):
        return TREE

    def reset(self):
        self.server.by_others("www", "A", [OLD])
        self.server.by_others("_infra-mcp.a.www", "TXT", [])

    def kept(self):
        return self.server.values("www", "A")

    def writes(self):
        return self.server.serial


class ZoneFiles(World):
    """A CoreDNS that reads a zone file again ten times a second."""

    path, effect = FILE, "dns.publish"

    def policy(self, *servers):
        listed = ", ".join(f'"{one}"' for one in servers)
        text = zone_policy("", "", *servers)
        head, _, _ = text.partition(f'[zones."{ZONE}"]')
        return (
            f'{head}[zones."{ZONE}"]\nbackend = "coredns"\npublish = "{self.server.published}"\n'
            f'servers = [{listed}]\nprivate = true\ntimeout = "5s"\n'
        )

    def text(self):
        return zone_text(RECORDS)

    def reset(self):
        self.server.by_others("www", "A", [OLD])
        self.live()

    def _lines(self):
        return [one.split() for one in self.server.published.read_text().splitlines()]

    def kept(self):
        return [one[-1] for one in self._lines() if one[:1] == ["www"]]

    def writes(self):
        return next(int(one[5]) for one in self._lines() if "SOA" in one)


class Endpoints(World):
    """A DNSEndpoint of a real cluster, from which external-dns makes a BIND answer (see `cluster_zone`)."""

    path, effect = "dns/records.yaml", "kube.apply"

    def __init__(self, held, server, stale):
        super().__init__(server, stale)
        self.held = held

    def ground(self, home, *, stale=False):
        made = super().ground(home, stale=stale)
        shutil.copy(self.held.admin.server_config, made.settings.kubeconfig)
        return made

    def policy(self, *servers):
        listed = ", ".join(f'"{one}"' for one in servers)
        return self.held.text.replace(f'["{self.server.at}"]', f"[{listed}]").replace('"20s"', '"5s"')

    def text(self):
        return dump(self.held.body).decode()

    def reset(self):
        self.held.admin.apply([endpoints(self.held.space)])
        self.live()

    def kept(self):
        held = self.held.live()["spec"]["endpoints"]
        return next((one["targets"] for one in held if one["dnsName"] == f"www.{ZONE}"), [])

    def writes(self):
        return self.held.live()["metadata"]["generation"]
