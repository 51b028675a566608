"""DNS records while the server or the name server is killed: git, servers and receipt say the same in the end."""

import pytest
from drivers.dns.cluster_zone import ENDPOINT_ZONE, InCluster, endpoints, external_dns, serve_endpoints
from e2e.cluster_setup import ClusterSetup
from engine.zone_killer import KilledZone
from engine.zone_worlds import RECORDS, Endpoints, Updates, ZoneFiles
from name_servers import coredns, primary, zone_text

pytestmark = [pytest.mark.anyio, pytest.mark.process, pytest.mark.promise("dns.record", "recover.reobserve")]


@pytest.fixture
def binds(tmp_path_factory):
    """A primary, and one that knows nothing of it."""
    with primary(tmp_path_factory.mktemp("p"), RECORDS) as one, primary(tmp_path_factory.mktemp("o"), RECORDS) as other:
        yield one, other


class TestUpdates(KilledZone):
    @pytest.fixture
    def world(self, binds):
        return Updates(*binds)


class TestZoneFiles(KilledZone):
    @pytest.fixture
    def world(self, tmp_path_factory):
        text = zone_text(RECORDS)
        with coredns(tmp_path_factory.mktemp("c"), text) as one, coredns(tmp_path_factory.mktemp("o"), text) as other:
            yield ZoneFiles(one, other)


@pytest.fixture(scope="module")
def admin(control_plane, tmp_path_factory):
    made = ClusterSetup(
        control_plane.kubectl, control_plane.kubeconfig, control_plane.context, tmp_path_factory.mktemp("z")
    )
    made.prepare()
    serve_endpoints(made)
    yield made
    made.leave()


class TestEndpoints(KilledZone):
    @pytest.fixture
    def world(self, admin, binds):
        server, stale = binds
        held = InCluster(admin, ENDPOINT_ZONE % server.at, endpoints)
        with external_dns(held, server):
            yield Endpoints(held, server, stale)
        held.leave()
