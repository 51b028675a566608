"""Zones whose records are in an object of a cluster, on the real control plane: a DNSEndpoint, and CoreDNS' ConfigMap.

What stands in for kubelet and external-dns is in `cluster_zone`.
"""

import json

import pytest
from drivers.dns.bind_zone import record
from drivers.dns.cluster_zone import (
    CONFIG_ZONE,
    ENDPOINT_ZONE,
    KEY,
    RECORDS,
    InCluster,
    config_map,
    endpoints,
    external_dns,
    kubelet,
    serve_endpoints,
)
from drivers.dns.zone_kit import ZONE
from drivers.dns.zone_kit_file import share_of as share_of_file
from e2e.cluster_setup import CLUSTER, ClusterSetup
from name_servers import coredns, primary, zone_text

from infra_mcp.drivers.base import Share
from infra_mcp.errors import InfraError, Moved
from infra_mcp.repository.edits import Goal, Location, SetRecord
from infra_mcp.repository.render import dump
from infra_mcp.repository.value import Base, Tree
from infra_mcp.repository.zones.edit import apply_records

pytestmark = [pytest.mark.anyio, pytest.mark.promise("dns.record")]

PATH = "dns/records.yaml"


@pytest.fixture(scope="module")
def admin(control_plane, tmp_path_factory):
    made = ClusterSetup(
        control_plane.kubectl, control_plane.kubeconfig, control_plane.context, tmp_path_factory.mktemp("z")
    )
    made.prepare()
    serve_endpoints(made)
    yield made
    made.leave()


# -- a DNSEndpoint


@pytest.fixture
def bind(tmp_path_factory):
    with primary(tmp_path_factory.mktemp("p")) as made:
        yield made


@pytest.fixture
def held(admin, bind):
    made = InCluster(admin, ENDPOINT_ZONE % bind.at, endpoints)
    yield made
    made.leave()


def share_of(held, before, after, text=None):
    """The share of a request that edits the manifest."""
    tree = Tree(Base("0" * 40, CLUSTER, (), {}, {}, plain=("dns",))).write(PATH, text or dump(held.body))
    edited = apply_records(tree, [SetRecord(path=PATH, zone=ZONE, before=before, after=after)])
    goal = Goal("Set it", on_failure="rollback", timeout=20.0)
    return Share((Location(path=PATH, field=(after or before).key),), (), tree, edited, goal)


async def landed(driver, context, share):
    prepared = await driver.plan(context, share)
    await driver.apply(context, prepared)
    return prepared, await driver.verify(context, prepared, 20.0)


async def test_a_manifest_is_applied_as_the_circle_and_has_landed_when_the_servers_answer(held, bind):
    with external_dns(held, bind):
        bind.wait(lambda: bind.values("www", "A") == ["192.0.2.1"])
        async with held.zone() as (driver, context):
            made, said = await landed(driver, context, share_of(held, None, record("api", "A", "192.0.2.5")))
            shown = bind.values("api", "A"), held.live()["spec"]["endpoints"]
            www = record("www", "A", "192.0.2.1"), record("www", "A", "192.0.2.2", ttl=60)
            text = dump(held.live() | {"metadata": held.body["metadata"]})
            changed, _ = await landed(driver, context, share_of(held, *www, text=text))
            undone = [await driver.undo(context, one.writes) for one in (changed, made)]
            await driver.settled(context, made.writes, 20.0)

    assert made.changes[0].operation == "create"
    assert shown[0] == ["192.0.2.5"]
    assert [one["dnsName"] for one in shown[1]] == [f"www.{ZONE}", f"api.{ZONE}"]
    assert bind.at in said
    assert [one.skipped for one in undone] == [(), ()]
    assert held.live()["spec"] == held.body["spec"]
    managers = {one["manager"] for one in held.live()["metadata"]["managedFields"]}
    assert "infra-mcp" in managers


@pytest.mark.trap("D13")
async def test_that_external_dns_has_read_the_object_confirms_nothing(held, bind):
    bind.by_others("www", "A", ["192.0.2.1"])
    async with held.zone() as (driver, context):
        share = share_of(held, record("www", "A", "192.0.2.1"), record("www", "A", "192.0.2.2"))
        prepared = await driver.plan(context, share)
        await driver.apply(context, prepared)
        generation = held.live()["metadata"]["generation"]
        held.observed(generation)
        with pytest.raises(InfraError) as caught:
            await driver.verify(context, prepared, 1.0)

    assert held.live()["status"] == {"observedGeneration": generation}
    assert caught.value.code == "not-landed"
    assert "answers www A 192.0.2.1" in caught.value.what


@pytest.mark.promise("dns.zone-guard")
async def test_a_record_that_external_dns_has_from_elsewhere_or_a_person_made_is_refused(held, bind):
    mark = '"heritage=external-dns,external-dns/owner=default,external-dns/resource=service/shop/web"'
    bind.by_others("shop", "A", ["192.0.2.7"])
    bind.by_others("a-shop", "TXT", [mark])
    bind.by_others("hand", "A", ["192.0.2.8"])
    async with held.zone() as (driver, context):
        codes = []
        for name in ("shop", "hand"):
            with pytest.raises(InfraError) as caught:
                await driver.plan(context, share_of(held, None, record(name, "A", "192.0.2.9")))
            codes.append(caught.value.code)

    assert codes == ["owned-elsewhere", "exists"]
    assert held.live()["spec"] == held.body["spec"]


async def test_an_object_that_others_changed_is_not_overwritten(held, bind):  # noqa: ARG001 - its server answers
    share = share_of(held, None, record("api", "A", "192.0.2.5"))
    async with held.zone() as (driver, context):
        prepared = await driver.plan(context, share)
        other = endpoints(held.space, {"dnsName": f"hand.{ZONE}", "recordType": "A", "targets": ["192.0.2.8"]})
        held.admin.apply([other])
        with pytest.raises(Moved):
            await driver.apply(context, prepared)
        with pytest.raises(InfraError) as caught:
            await driver.plan(context, share)

    assert caught.value.code == "not-in-cluster"
    assert "hand A" in caught.value.what
    assert held.live()["spec"] == other["spec"]


async def test_without_the_rendered_rights_or_the_object_the_plan_says_what_is_missing(held):
    share = share_of(held, None, record("api", "A", "192.0.2.5"))
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": held.rights})
    held.admin.run("delete", "-f", "-", stdin=text)
    async with held.zone() as (driver, context):
        with pytest.raises(InfraError) as denied:
            await driver.plan(context, share)
        held.admin.apply(held.rights)
        held.admin.run("-n", held.space, "delete", held.kind, "records")
        with pytest.raises(InfraError) as gone:
            await driver.plan(context, share)

    assert denied.value.code == "cluster-denied"
    assert gone.value.code == "not-in-cluster"


# -- CoreDNS' ConfigMap


async def test_a_zone_file_in_a_config_map_is_edited_in_its_manifest_applied_and_answered(admin, tmp_path_factory):
    with coredns(tmp_path_factory.mktemp("c"), zone_text(RECORDS)) as server:
        held = InCluster(admin, CONFIG_ZONE % server.at, config_map)

        path = "dns/coredns.yaml"
        tree = Tree(Base("0" * 40, CLUSTER, (), {}, {}, plain=("dns",))).write(path, dump(held.body))
        www, new = record("www", "A", "192.0.2.1"), record("www", "A", "192.0.2.2")
        edited = apply_records(tree, [SetRecord(path=path, zone=ZONE, before=www, after=new, key=KEY)])
        goal = Goal("Set it", on_failure="rollback", timeout=20.0)
        share = Share((Location(path=path, field=www.key),), (), tree, edited, goal)
        with kubelet(held, server):
            async with held.zone() as (driver, context):
                prepared, said = await landed(driver, context, share)
                answered, there = server.values("www", "A"), held.live()["data"]
                again = await driver.plan(context, share)
                undone = await driver.undo(context, prepared.writes)
                await driver.settled(context, prepared.writes, 20.0)
        held.leave()

    lines = [tree.read(path).decode().splitlines(), edited.read(path).decode().splitlines()]
    assert [pair for pair in zip(*lines, strict=True) if pair[0] != pair[1]] == [
        ("    @ IN SOA ns1 hostmaster 1 3600 600 604800 60", "    @ IN SOA ns1 hostmaster 2 3600 600 604800 60"),
        ("    www 300 IN A 192.0.2.1", "    www 300 IN A 192.0.2.2"),
    ]
    assert (answered, again.writes, undone.skipped) == (["192.0.2.2"], (), ())
    assert server.at in said
    assert there["other.server"] == "other.example { whoami }\n"
    assert there[KEY] == share_of_file(zone_text(RECORDS), www, new).after.read("dns/db.docs.example").decode()
