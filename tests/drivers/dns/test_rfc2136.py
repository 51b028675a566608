"""A zone with dynamic updates on a real BIND: what is planned, refused, written and undone."""

import pytest
from drivers.dns.bind_zone import changing, landed, record, zone
from drivers.dns.zone_kit import ZONE, share_of, tree_of
from name_servers import primary

from infra_mcp.drivers.base import Question
from infra_mcp.drivers.dns.records import target_of
from infra_mcp.errors import InfraError, Moved

pytestmark = [pytest.mark.anyio, pytest.mark.promise("dns.record")]


@pytest.mark.parametrize(
    ("kind", "values", "answered"),
    [
        ("A", ["198.51.100.1", "198.51.100.2"], ["198.51.100.1", "198.51.100.2"]),
        ("AAAA", ["2001:DB8::1"], ["2001:db8::1"]),
        ("CNAME", ["WWW.other.example."], ["www.other.example."]),
        ("TXT", ['v=spf1 "a" -all; é', "x" * 300], None),
        ("SRV", ["0 5 5060 sip"], [f"0 5 5060 sip.{ZONE}."]),
        ("MX", ["10 ns1", "20 mx.other.example."], [f"10 ns1.{ZONE}.", "20 mx.other.example."]),
        ("CAA", ["0 issue letsencrypt.org"], ['0 issue "letsencrypt.org"']),
        ("PTR", ["host.other.example."], ["host.other.example."]),
    ],
)
async def test_every_type_is_created_changed_and_removed_and_each_is_answered_so(bind, kind, values, answered):
    first, other = record("all", kind, *values), record("all", kind, *values[:1], ttl=60)
    async with zone(bind) as (driver, context):
        created, said = await landed(driver, context, None, first)
        shown = bind.values("all", kind)
        changed, _ = await landed(driver, context, first, other)
        ttl = bind.ttl("all", kind)
        removed, told = await landed(driver, context, other, None)

    assert [one.changes[0].operation for one in (created, changed, removed)] == ["create", "update", "delete"]
    assert shown == (answered or sorted(first.values))
    assert ttl == 60
    assert bind.values("all", kind) == []
    assert (f"set in {ZONE}" in said, f"removed from {ZONE}" in told) == (True, True)


async def test_a_change_of_the_ttl_alone_is_written_and_read_back(bind):
    before, after = record("www", "A", "198.51.100.1"), record("www", "A", "198.51.100.1", ttl=90)
    bind.by_others("www", "A", ["198.51.100.1"], 300)
    async with zone(bind) as (driver, context):
        prepared, _ = await landed(driver, context, before, after)

    assert [field.path for field in prepared.changes[0].fields] == [("ttl",)]
    assert bind.ttl("www", "A") == 90


async def test_what_only_others_change_meanwhile_is_never_overwritten_a_ttl_included(bind):
    before, after = record("www", "A", "198.51.100.1"), record("www", "A", "198.51.100.2")
    bind.by_others("www", "A", ["198.51.100.1"])
    async with zone(bind) as (driver, context):
        for values, ttl in ((["198.51.100.9"], 300), (["198.51.100.1"], 77), ([], 300)):
            bind.by_others("www", "A", ["198.51.100.1"])
            prepared = await driver.plan(context, changing(before, after))
            bind.by_others("www", "A", values, ttl)
            serial = bind.serial
            with pytest.raises(Moved):
                await driver.apply(context, prepared)
            assert bind.serial == serial


async def test_two_record_sets_of_one_change_are_written_at_once_or_not_at_all(bind):
    one, two = record("one", "A", "198.51.100.1"), record("two", "A", "198.51.100.2")
    share = share_of(tree_of(), tree_of(one, two), one.key, two.key)
    async with zone(bind) as (driver, context):
        prepared = await driver.plan(context, share)
        bind.by_others("two", "A", ["198.51.100.7"])
        with pytest.raises(Moved):
            await driver.apply(context, prepared)

    assert (bind.values("one", "A"), bind.values("two", "A")) == ([], ["198.51.100.7"])


@pytest.mark.promise("dns.zone-guard")
async def test_a_live_record_that_is_not_in_the_repository_is_nobodys_to_overwrite_or_remove(bind):
    bind.by_others("hand", "A", ["198.51.100.9"])
    wanted, there = record("hand", "A", "198.51.100.1"), record("hand", "A", "198.51.100.9")
    async with zone(bind) as (driver, context):
        for share in (changing(None, wanted), share_of(tree_of(), tree_of(), wanted.key)):
            with pytest.raises(InfraError) as caught:
                await driver.plan(context, share)
            assert caught.value.code == "exists"
            assert "198.51.100.9" in caught.value.what
        imported = await driver.plan(context, changing(None, there))  # as it is: nothing is written

    assert (imported.changes[0].operation, imported.writes) == ("unchanged", ())
    assert "imported" in imported.notes[0]
    assert bind.values("hand", "A") == ["198.51.100.9"]


MARKED = {
    "external-dns, its new form": ("a-www", '"heritage=external-dns,external-dns/owner=prod,external-dns/resource=x"'),
    "external-dns, its old form": ("www", '"heritage=external-dns,external-dns/owner=prod"'),
    "external-dns, with a prefix that policy names": ("ext-a-www", '"heritage=external-dns,external-dns/owner=prod"'),
    "octoDNS": ("_owner.a.www", '"*octodns*"'),
    "another infra-mcp": ("_infra-mcp.a.www", '"heritage=infra-mcp,infra-mcp/owner=other"'),
    "a tool that is not known": ("www", '"heritage=terrible-dns"'),
}


@pytest.mark.promise("dns.zone-guard")
@pytest.mark.trap("D2", "D3")
@pytest.mark.parametrize("by", MARKED)
async def test_a_record_with_another_tools_mark_is_never_written_though_it_is_in_the_repository(bind, by):
    name, text = MARKED[by]
    bind.by_others(name, "TXT", [text])
    bind.by_others("www", "A", ["198.51.100.1"])
    before, after = record("www", "A", "198.51.100.1"), record("www", "A", "198.51.100.2")
    serial = bind.serial
    async with zone(bind, more='marker = "team-infra"\nregistry = ["ext-{type}-{name}"]') as (driver, context):
        for share in (changing(before, after), changing(None, after), changing(before, None)):
            with pytest.raises(InfraError) as caught:
                await driver.plan(context, share)
            assert caught.value.code == "owned-elsewhere"
        target = target_of(ZONE, after.key)
        assert str(await driver.owner(context, target)).startswith(
            caught.value.what.split("owned by ")[1].split(",")[0]
        )

    assert bind.serial == serial


@pytest.mark.trap("D2", "D6")
async def test_our_mark_stands_at_a_name_of_its_own_and_goes_without_what_a_person_wrote_there(bind):
    a, aaaa = record("www", "A", "198.51.100.1"), record("www", "AAAA", "2001:db8::1")
    ours = '"heritage=infra-mcp,infra-mcp/owner=team-infra"'
    bind.by_others("_infra-mcp.a.www", "TXT", ['"by hand"'])
    async with zone(bind, more='marker = "team-infra"') as (driver, context):
        prepared, _ = await landed(driver, context, None, a)
        await landed(driver, context, None, aaaa)
        marks = bind.values("_infra-mcp.a.www", "TXT"), bind.values("_infra-mcp.aaaa.www", "TXT")
        again = await driver.plan(context, changing(a, a))
        await landed(driver, context, a, None)

    assert ("marker",) in [field.path for field in prepared.changes[0].fields]
    assert marks == (['"by hand"', ours], [ours])
    assert again.writes == ()
    assert bind.values("_infra-mcp.a.www", "TXT") == ['"by hand"']
    assert bind.values("_infra-mcp.aaaa.www", "TXT") == [ours]


@pytest.mark.trap("D4")
async def test_a_record_that_was_removed_by_hand_while_its_mark_stayed_is_made_again(bind):
    one = record("www", "A", "198.51.100.1")
    async with zone(bind, more='marker = "team-infra"') as (driver, context):
        await landed(driver, context, None, one)
        bind.by_others("www", "A", [])
        await landed(driver, context, one, one)
        assert bind.values("www", "A") == ["198.51.100.1"]
        # By the mark it is ours, though the repository does not have it.
        await landed(driver, context, None, record("www", "A", "198.51.100.2"))
    assert bind.values("www", "A") == ["198.51.100.2"]


@pytest.mark.trap("D7")
async def test_without_the_right_to_transfer_the_zone_records_are_made_removed_and_listed(tmp_path_factory):
    with primary(tmp_path_factory.mktemp("p"), "www IN A 198.51.100.1\n", transfer="none") as bind:
        one, www = record("gone", "A", "198.51.100.5"), record("www", "A", "198.51.100.1")
        async with zone(bind) as (driver, context):
            await landed(driver, context, None, one)
            await landed(driver, context, one, None)
            tree = tree_of(www, record("api", "A", "198.51.100.2"))
            status = await driver.status(context, Question(scope=ZONE, tree=tree))

    assert status["serials"] == {bind.at: 3}
    assert status["records"] == ["api A 198.51.100.2 (TTL 300)", "www A 198.51.100.1 (TTL 300)"]
    assert status["drift"] == ["api A: git 198.51.100.2 (TTL 300), live absent"]


@pytest.mark.trap("D9")
async def test_what_a_plan_shows_is_what_is_written_and_planning_writes_nothing(bind):
    before, after = record("www", "A", "198.51.100.1"), record("www", "A", "198.51.100.2", "198.51.100.3", ttl=120)
    bind.by_others("www", "A", ["198.51.100.1"])
    serial = bind.serial
    async with zone(bind) as (driver, context):
        prepared = await driver.plan(context, changing(before, after))
        assert bind.serial == serial
        await driver.apply(context, prepared)

    shown = {field.path[0]: field.after for field in prepared.changes[0].fields}
    assert (bind.values("www", "A"), bind.ttl("www", "A")) == (shown["values"], shown["ttl"])


@pytest.mark.promise("dns.zone-guard")
async def test_a_cname_never_stands_beside_other_records_which_a_server_would_drop_unsaid(bind):
    bind.by_others("www", "A", ["198.51.100.1"])
    bind.by_others("web", "CNAME", ["www.other.example."])
    async with zone(bind) as (driver, context):
        for one in (record("www", "CNAME", "x.other.example."), record("web", "A", "198.51.100.1")):
            with pytest.raises(InfraError) as caught:
                await driver.plan(context, changing(None, one))
            assert (caught.value.code, caught.value.rule) == ("policy-denied", "dns.cname")
        # Made by others between plan and write: the server would say NOERROR and do nothing.
        for name, planned, other in (
            ("new", record("new", "CNAME", "x.other.example."), ("A", ["198.51.100.1"])),
            ("late", record("late", "A", "198.51.100.1"), ("CNAME", ["x.other.example."])),
        ):
            prepared = await driver.plan(context, changing(None, planned))
            bind.by_others(name, *other)
            with pytest.raises(Moved):
                await driver.apply(context, prepared)


async def test_a_name_that_only_a_wildcard_answers_is_made_and_removed_by_itself(bind):
    bind.by_others("*", "A", ["198.51.100.1"])
    bind.by_others("*.deep", "A", ["198.51.100.1"])
    same, other = record("app", "A", "198.51.100.1"), record("app.deep", "A", "198.51.100.2")
    async with zone(bind) as (driver, context):
        for one in (same, other):
            prepared, _ = await landed(driver, context, None, one)
            assert prepared.changes[0].operation == "create"
            removed, _ = await landed(driver, context, one, None)
            assert removed.changes[0].operation == "delete"
    assert bind.values("app.deep", "A") == ["198.51.100.1"]


async def test_an_undo_takes_back_a_created_record_and_its_mark_and_brings_back_a_removed_one(bind):
    made, gone = record("made", "A", "198.51.100.1"), record("gone", "A", "198.51.100.2")
    share = share_of(tree_of(gone), tree_of(made), made.key, gone.key)
    ours = '"heritage=infra-mcp,infra-mcp/owner=team-infra"'
    async with zone(bind, more='marker = "team-infra"') as (driver, context):
        await landed(driver, context, None, gone)
        prepared = await driver.plan(context, share)
        await driver.apply(context, prepared)
        await driver.verify(context, prepared, 20.0)
        assert (bind.values("made", "A"), bind.values("gone", "A")) == (["198.51.100.1"], [])
        undone = await driver.undo(context, prepared.writes)
        said = await driver.settled(context, prepared.writes, 20.0)

    assert (undone.skipped, len(undone.restored)) == ((), 2)
    assert "no made A" in said
    assert (bind.values("made", "A"), bind.values("gone", "A")) == ([], ["198.51.100.2"])
    assert (bind.values("_infra-mcp.a.made", "TXT"), bind.values("_infra-mcp.a.gone", "TXT")) == ([], [ours])


@pytest.mark.promise("undo.as-left")
async def test_an_undo_leaves_a_record_that_others_changed_since_and_names_it(bind):
    before, after = record("www", "A", "198.51.100.1"), record("www", "A", "198.51.100.2")
    bind.by_others("www", "A", ["198.51.100.1"])
    async with zone(bind) as (driver, context):
        prepared, _ = await landed(driver, context, before, after)
        bind.by_others("www", "A", ["198.51.100.9"])
        undone = await driver.undo(context, prepared.writes)

    assert (undone.restored, len(undone.skipped)) == ((), 1)
    assert undone.skipped[0].startswith("docs.example/a/www (someone else changed it since")
    assert bind.values("www", "A") == ["198.51.100.9"]
