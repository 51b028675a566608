"""What confirms a record: the answers of the servers of its zone, on real BINDs."""

from dataclasses import replace

import anyio
import pytest
from drivers.dns.bind_zone import changing, landed, record, zone
from drivers.dns.zone_kit import ZONE, policy_text, setup
from name_servers import free_port, primary

from infra_mcp.clients.dns import delegation as delegations
from infra_mcp.clients.dns.server import Server
from infra_mcp.drivers.base import Context
from infra_mcp.drivers.dns import answers as lookups
from infra_mcp.drivers.dns.driver import connect
from infra_mcp.drivers.dns.records import target_of
from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.policy.policy import load

pytestmark = [pytest.mark.anyio, pytest.mark.promise("dns.record")]


@pytest.mark.trap("D10")
async def test_the_answer_of_a_cache_is_no_confirmation(bind, tmp_path_factory):
    with primary(tmp_path_factory.mktemp("c"), cache_of=bind) as cache:
        async with zone(bind, bind.at, cache.at) as (driver, context):
            with pytest.raises(InfraError) as caught:
                await landed(driver, context, None, record("www", "A", "198.51.100.1"), seconds=1.0)
        assert cache.values("www", "A") == ["198.51.100.1"]  # it knows, and is none of the zone's servers

    assert caught.value.code == "not-landed"
    assert "not authoritative" in caught.value.what
    assert cache.at in caught.value.what


async def test_servers_that_cannot_be_reached_are_named_and_the_primary_must_answer(pair, monkeypatch):
    first, second = pair
    monkeypatch.setattr("infra_mcp.drivers.dns.answers.PATIENCE", 0.3)
    monkeypatch.setattr("infra_mcp.clients.dns.server.SECONDS", 0.3)
    gone = f"127.0.0.1:{free_port()}"
    async with zone(first, first.at, second.at, gone) as (driver, context):
        _, said = await landed(driver, context, None, record("www", "A", "198.51.100.1"))
        assert f"not reached: {gone}" in said
        assert second.at in said.split("not reached")[0]
        prepared = await driver.plan(context, changing(record("www", "A", "198.51.100.1"), None))
        first.pause()
        with pytest.raises(InfraError) as caught:
            await driver.verify(context, prepared, 1.5)
        first.resume()

    assert caught.value.code == "not-landed"
    assert first.at in caught.value.what


async def test_a_server_that_keeps_an_old_answer_has_not_landed(pair):
    first, second = pair
    async with zone(first, first.at, second.at) as (driver, context):
        await landed(driver, context, None, record("www", "A", "198.51.100.1"))
        second.pause()  # it gets no notice of what comes now
        prepared = await driver.plan(
            context, changing(record("www", "A", "198.51.100.1"), record("www", "A", "198.51.100.2"))
        )
        async with anyio.create_task_group() as group:
            said = []

            async def verify():
                said.append(await driver.verify(replace(context, say=heard.append), prepared, 20.0))

            heard = []
            await driver.apply(context, prepared)
            group.start_soon(verify)
            with anyio.fail_after(20):
                while not heard:  # noqa: ASYNC110 - words, and no event
                    await anyio.sleep(0.01)
            second.resume()

    assert second.at in heard[0]
    assert second.at in said[0]


async def test_without_named_servers_those_that_the_parent_delegates_to_must_answer(
    pair, tmp_path_factory, monkeypatch
):
    first, second = pair
    records = f"docs IN NS ns1.docs\ndocs IN NS ns2.docs\nns1.docs IN A 127.0.0.1\nns2.docs IN A 127.0.0.1\n"  # noqa: F541
    with primary(tmp_path_factory.mktemp("r"), records, zone="example", recursive=True) as parent:
        found = await delegations.delegation(ZONE, Server("127.0.0.1", parent.port), parent.port)
        assert [one.name for one in found] == [f"ns1.{ZONE}", f"ns2.{ZONE}"]

        async def asked(name, resolver):
            assert (name, resolver) == (ZONE, Server("127.0.0.1", parent.port))
            return [Server("127.0.0.1", first.port), Server("127.0.0.1", second.port, f"ns2.{ZONE}")]

        monkeypatch.setattr(lookups, "delegation", asked)  # all servers of the test listen on ports of their own
        policy = load(policy_text(first.at, first.key_file, more=f'resolver = "{parent.at}"'))
        async with connect(setup(), policy, ZONE) as driver:
            context = Context("req-0", "docs", policy)
            _, said = await landed(driver, context, None, record("www", "A", "198.51.100.1"))

    assert f"ns2.{ZONE} (127.0.0.1:{second.port})" in said


async def test_where_no_delegation_is_known_only_the_primary_is_asked_and_that_is_told(bind):
    gone = f"127.0.0.1:{free_port()}"
    policy = load(policy_text(bind.at, bind.key_file, more=f'resolver = "{gone}"'))
    async with connect(setup(), policy, ZONE) as driver:
        context = Context("req-0", "docs", policy)
        _, said = await landed(driver, context, None, record("www", "A", "198.51.100.1"))

    assert "only the primary was asked" in said


@pytest.mark.trap("D5")
async def test_a_change_of_a_txt_record_that_nobody_carried_out_has_not_landed(bind):
    before, after = record("note", "TXT", "one"), record("note", "TXT", "two")
    async with zone(bind) as (driver, context):
        await landed(driver, context, None, before)
        prepared = await driver.plan(context, changing(before, after))
        with pytest.raises(InfraError) as caught:
            await driver.verify(context, prepared, 0.5)
        assert caught.value.code == "not-landed"
        assert '"one"' in caught.value.what
        await driver.apply(context, prepared)
        await driver.verify(context, prepared, 20.0)

    assert bind.values("note", "TXT") == ['"two"']


@pytest.mark.trap("D1")
async def test_a_server_that_does_not_answer_is_never_taken_for_an_empty_zone(bind, monkeypatch):
    monkeypatch.setattr("infra_mcp.clients.dns.server.SECONDS", 0.3)
    before = record("www", "A", "198.51.100.1")
    bind.by_others("www", "A", ["198.51.100.1"])
    async with zone(bind) as (driver, context):
        bind.pause()
        with pytest.raises(Unavailable):
            await driver.plan(context, changing(before, None))
        with pytest.raises(Unavailable):
            await driver.present(context, target_of(ZONE, before.key))
        bind.resume()
        bind.stop()
        with pytest.raises(Unavailable):
            await driver.plan(context, changing(before, record("www", "A", "198.51.100.2")))
        bind.start()
        assert bind.values("www", "A") == ["198.51.100.1"]
