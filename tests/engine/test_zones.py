"""DNS records through the whole flow: a file of the repository, a commit, a real BIND, its servers' answers."""

import pytest
from engine.zone_ground import PATH, TREE, ZoneGround, zone_policy
from name_servers import free_port, primary, secondary

from infra_mcp.model.request import State

pytestmark = [pytest.mark.anyio, pytest.mark.promise("dns.record")]


@pytest.fixture
def servers(tmp_path_factory):
    """A primary with the records of the repository, and the secondary that it notifies."""
    port = free_port()
    with (
        primary(tmp_path_factory.mktemp("p"), "www 300 IN A 192.0.2.1\n", notify=port) as first,
        secondary(tmp_path_factory.mktemp("s"), first, port) as second,
    ):
        yield first, second


@pytest.fixture
def ground(tmp_path, servers):
    first, second = servers
    made = ZoneGround(tmp_path)
    made.make(zone_policy(first.at, first.key_file, first.at, second.at), {PATH: TREE})
    return made


async def test_a_record_is_committed_written_and_answered_by_every_server_of_the_zone(ground, servers):
    first, second = servers
    async with ground.engine() as engine:
        made = await ground.ask(engine, "api", "CNAME", "www", ttl=120)
        changed = await ground.ask(engine, "www", "A", "192.0.2.2", "192.0.2.3")

    assert made.state is State.LANDED, made.receipt
    assert "answered so by" in made.receipt["message"]
    assert first.at in made.receipt["message"]
    assert second.at in made.receipt["message"]
    assert "caches may keep the former answer for 60 s" in made.receipt["message"]  # the zone's negative TTL
    assert "caches may keep the former answer for 300 s" in changed.receipt["message"], changed.receipt
    for one in servers:
        assert one.values("api", "CNAME") == ["www.docs.example."]
        assert one.ttl("api", "CNAME") == 120
        assert one.values("www", "A") == ["192.0.2.2", "192.0.2.3"]
    assert ground.show() == (
        "---\napi:\n  ttl: 120\n  type: CNAME\n  value: www.docs.example.\n"
        "www:\n  ttl: 300\n  type: A\n  values:\n    - 192.0.2.2\n    - 192.0.2.3\n"
    )
    assert ground.subjects() == ["Set api CNAME of docs.example", "Set www A of docs.example"]
