"""Zones that a real CoreDNS reads from a zone file: linted, published as a whole, answered with a new serial."""

from contextlib import asynccontextmanager

import pytest
from drivers.dns.bind_zone import record
from drivers.dns.zone_kit import ZONE, setup
from drivers.dns.zone_kit_file import PATH, policy_of, share_of, tree_of
from name_servers import coredns, zone_text

from infra_mcp.drivers.base import Context, Share
from infra_mcp.drivers.dns.driver import connect
from infra_mcp.errors import InfraError, Moved
from infra_mcp.repository.edits import Goal, Location
from infra_mcp.repository.zones import master

pytestmark = [pytest.mark.anyio, pytest.mark.promise("dns.record")]

RECORDS = "www 300 IN A 192.0.2.1\nowned 300 IN A 192.0.2.8\n"


@pytest.fixture
def server(tmp_path_factory):
    with coredns(tmp_path_factory.mktemp("c"), zone_text(RECORDS)) as made:
        yield made


@asynccontextmanager
async def zone(server):
    policy = policy_of(server)
    async with connect(setup(), policy, ZONE) as driver:
        yield driver, Context("req-0", "docs", policy)


async def landed(driver, context, share):
    prepared = await driver.plan(context, share)
    await driver.apply(context, prepared)
    return prepared, await driver.verify(context, prepared, 20.0)


async def test_the_file_is_published_as_the_repository_has_it_and_answered_with_its_serial(server):
    text = zone_text(RECORDS)
    async with zone(server) as (driver, context):
        share = share_of(text, None, record("api", "CNAME", "www"))
        prepared, said = await landed(driver, context, share)
        again = await driver.plan(context, share)
        undone = await driver.undo(context, prepared.writes)
        told = await driver.settled(context, prepared.writes, 20.0)

    assert server.at in said
    assert again.writes == ()
    assert prepared.changes[0].operation == "create"
    assert (undone.restored, undone.skipped) == (("docs.example/cname/api",), ())
    assert "no api CNAME" in told
    assert server.serial == 3  # each change raises it, an undo too
    assert master.read(server.published.read_bytes(), ZONE) == [
        one.model_copy(update={"values": tuple(v.replace(" 1 3600", " 3 3600") for v in one.values)})
        for one in master.read(text.encode(), ZONE)
    ]


async def test_the_published_file_is_byte_for_byte_that_of_the_commit(server):
    text = zone_text(RECORDS)
    share = share_of(text, record("www", "A", "192.0.2.1"), record("www", "A", "192.0.2.2", ttl=60))
    async with zone(server) as (driver, context):
        await landed(driver, context, share)

    assert server.published.read_bytes() == share.after.read(PATH)
    assert (server.values("www", "A"), server.ttl("www", "A"), server.serial) == (["192.0.2.2"], 60, 2)


async def test_a_serial_that_was_raised_by_hand_is_passed_so_that_servers_take_the_change_over(server):
    server.published.write_text(zone_text(RECORDS, serial=41))
    share = share_of(zone_text(RECORDS), None, record("api", "A", "192.0.2.3"))
    async with zone(server) as (driver, context):
        await landed(driver, context, share)

    assert server.serial == 42


async def test_what_others_published_meanwhile_is_not_overwritten(server):
    share = share_of(zone_text(RECORDS), None, record("api", "A", "192.0.2.3"))
    async with zone(server) as (driver, context):
        prepared = await driver.plan(context, share)
        server.by_others("hand", "A", ["192.0.2.9"])
        there = server.published.read_bytes()
        with pytest.raises(Moved):
            await driver.apply(context, prepared)
        with pytest.raises(
            InfraError
        ) as caught:  # the whole file would be replaced, and with it what was written by hand
            await driver.plan(context, share)

    assert server.published.read_bytes() == there
    assert caught.value.code == "not-in-cluster"
    assert "hand A" in caught.value.what


async def test_a_zone_that_no_server_would_load_is_never_published(server):
    there = server.published.read_bytes()
    broken = zone_text(RECORDS).replace("@ IN NS ns1\n", "")
    tree = tree_of(zone_text(RECORDS))
    share = Share(
        (Location(path=PATH, field=("www", "A")),), (), tree, tree.write(PATH, broken.encode()), Goal("x"),
    )  # fmt: skip
    async with zone(server) as (driver, context):
        with pytest.raises(InfraError) as caught:
            await driver.plan(context, share)

    assert caught.value.code in {"manifest-invalid", "object-invalid"}
    assert server.published.read_bytes() == there


async def test_a_file_that_is_not_there_or_a_folder_that_takes_none_is_named(server, monkeypatch):
    share = share_of(zone_text(RECORDS), None, record("api", "A", "192.0.2.3"))
    async with zone(server) as (driver, context):
        monkeypatch.setattr("infra_mcp.drivers.dns.stores.os.access", lambda *_: False)  # root may write everywhere
        with pytest.raises(InfraError) as caught:
            await driver.plan(context, share)
        assert caught.value.code == "setup-failed"
        server.published.unlink()
        with pytest.raises(InfraError) as caught:
            await driver.plan(context, share)

    assert (caught.value.code, str(server.published) in caught.value.what) == ("not-in-cluster", True)


@pytest.mark.promise("dns.zone-guard")
async def test_a_record_with_another_tools_mark_in_the_zone_file_is_refused(server):
    marked = RECORDS + 'a-owned 300 IN TXT "heritage=external-dns,external-dns/owner=prod"\n'
    server.published.write_text(zone_text(marked))
    share = share_of(zone_text(marked), record("owned", "A", "192.0.2.8"), record("owned", "A", "192.0.2.9"))
    async with zone(server) as (driver, context):
        with pytest.raises(InfraError) as caught:
            await driver.plan(context, share)

    assert caught.value.code == "owned-elsewhere"
