"""A zone with dynamic updates on a real BIND: what is planned, refused, written, confirmed and undone."""

import base64
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from drivers.dns.zone_kit import PATH, ZONE, policy_text, setup, share_of, tree_of
from name_servers import KEY, free_port, primary

from infra_mcp.clients.dns import delegation as delegations
from infra_mcp.clients.dns.key import read_key
from infra_mcp.clients.dns.server import Server
from infra_mcp.clients.dns.text import rrset
from infra_mcp.drivers.base import Context, Question
from infra_mcp.drivers.dns import servers as lookups
from infra_mcp.drivers.dns.driver import connect
from infra_mcp.errors import InfraError, Moved, Unavailable
from infra_mcp.masking import Masker
from infra_mcp.policy.policy import load

pytestmark = [pytest.mark.anyio, pytest.mark.promise("dns.record")]


def record(name, kind, *values, ttl=300):
    return rrset(ZONE, name, kind, ttl, values)


@asynccontextmanager
async def zone(bind, *servers, more="", key_file=None):
    """A driver, and the context of a request."""
    policy = load(policy_text(bind.at, key_file or bind.key_file, *(servers or (bind.at,)), more=more))
    async with connect(setup(), policy, ZONE) as driver:
        yield driver, Context("req-0", "docs", policy, nonce="n" * 32)


def changing(before, after):
    """The share of a request that brings one record set from one state to another."""
    one = after or before
    return share_of(tree_of(*filter(None, [before])), tree_of(*filter(None, [after])), one.key)


async def landed(driver, context, before, after, seconds=20.0):
    prepared = await driver.plan(context, changing(before, after))
    await driver.apply(context, prepared)
    return prepared, await driver.verify(context, prepared, seconds)


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
            await driver.present(context, (await _target(before)))
        bind.resume()
        bind.stop()
        with pytest.raises(Unavailable):
            await driver.plan(context, changing(before, record("www", "A", "198.51.100.2")))
        bind.start()
        assert bind.values("www", "A") == ["198.51.100.1"]


async def _target(one):
    from infra_mcp.drivers.dns.records import target_of  # noqa: PLC0415 - used once

    return target_of(ZONE, one.key)


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
        target = await _target(after)
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


@pytest.mark.trap("D8")
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("name", "does not know a key other-key"),
        ("secret", f"has another secret or algorithm for key {KEY}"),
        ("zone", f"is not authoritative for {ZONE}"),
        ("type", "refuses the update"),
    ],
)
async def test_why_an_update_is_not_taken_is_told_before_anything_is_committed(tmp_path_factory, tmp_path, wrong, said):
    zone_name = "other.example" if wrong == "zone" else ZONE
    allowed = f"grant {KEY} zonesub TXT;"
    with primary(tmp_path_factory.mktemp("p"), zone=zone_name, policy=allowed if wrong == "type" else None) as bind:
        text = bind.key_file.read_text()
        text = text.replace(KEY, "other-key") if wrong == "name" else text
        text = text.replace(bind.secret, "A" * 43 + "=") if wrong == "secret" else text
        (tmp_path / "key").touch(mode=0o600)
        (tmp_path / "key").write_text(text)
        async with zone(bind, key_file=tmp_path / "key") as (driver, context):
            share = changing(None, record("www", "A", "198.51.100.1"))
            if wrong == "type":  # whether a key may write a type is the one thing that only the update itself shows
                prepared = await driver.plan(context, share)
            with pytest.raises(InfraError) as caught:
                await (driver.apply(context, prepared) if wrong == "type" else driver.plan(context, share))

    assert caught.value.code == "zone-denied"
    assert said in caught.value.what
    assert bind.secret not in str(caught.value)


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


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no single TSIG key"),
        ('key "a" { algorithm hmac-md5; secret "c2VjcmV0LXRoYXQtaXMtbG9uZw=="; };', "an algorithm that is not taken"),
        ('key "a" { algorithm hmac-sha256; secret "no base64!"; };', "no single TSIG key"),
        (
            "hmac-sha256:a:c2VjcmV0LXRoYXQtaXMtbG9uZw==\nhmac-sha256:b:c2VjcmV0LXRoYXQtaXMtbG9uZw==",
            "no single TSIG key",
        ),
    ],
)
async def test_a_key_file_that_is_no_key_is_named_without_its_text(bind, tmp_path, text, why):
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text(text)
    async with zone(bind, key_file=tmp_path / "key") as (driver, context):
        with pytest.raises(InfraError) as caught:
            await driver.plan(context, changing(None, record("www", "A", "198.51.100.1")))

    assert (caught.value.code, why in caught.value.what) == ("setup-failed", True)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_key_block_is_read_with_comments_and_with_signs_of_comments_in_its_secret(tmp_path):
    secret = base64.b64encode(b"\xff\xff\xff" * 12).decode()  # all slashes
    text = f'/* ours */ // old\nkey "a.b" {{ # name\n algorithm hmac-sha256;\n secret "{secret}"; }};'
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text(text)
    key = read_key(str(tmp_path / "key"), Masker(b"k" * 32))

    assert "//" in secret
    assert (key.name.to_text(), key.secret) == ("a.b.", b"\xff" * 36)


async def test_a_key_that_others_may_read_is_refused_and_both_forms_are_read(bind, tmp_path):
    (tmp_path / "key").touch(mode=0o640)
    (tmp_path / "key").write_text(f"hmac-sha256:{KEY}:{bind.secret}")
    async with zone(bind, key_file=tmp_path / "key") as (driver, context):
        with pytest.raises(InfraError, match="Others may read"):
            await driver.plan(context, changing(None, record("www", "A", "198.51.100.1")))
        (tmp_path / "key").chmod(0o600)
        await landed(driver, context, None, record("www", "A", "198.51.100.1"))

    assert bind.values("www", "A") == ["198.51.100.1"]
    assert PATH.endswith(f"{ZONE}.yaml")


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
