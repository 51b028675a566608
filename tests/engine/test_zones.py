"""DNS records through the whole flow: a file of the repository, a commit, a real BIND, its servers' answers."""

import pytest
from engine.ledger_fixture import DOCS
from engine.zone_ground import PATH, TREE, ZoneGround, zone_policy
from name_servers import ZONE, free_port, primary, secondary

from infra_mcp.model.actions.change_set import ChangeSet
from infra_mcp.model.request import State, Submission

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


async def test_what_is_so_already_is_confirmed_by_the_servers_and_a_plan_changes_nothing(ground, servers):
    first, _ = servers
    serial = first.serial
    async with ground.engine() as engine:
        plans = [await ground.ask(engine, "www", "A", "192.0.2.2", dry_run=True) for _ in range(2)]
        again = await ground.ask(engine, "www", "A", "192.0.2.1", ttl=300)

    assert [one.state for one in plans] == [State.PREVIEWED] * 2
    assert plans[0].receipt["effect_digest"] == plans[1].receipt["effect_digest"]
    (shown,) = plans[0].receipt["plan"]["objects"]
    assert shown["object"] == "docs.example/a/www"
    assert shown["changes"] == [".values: ['192.0.2.1'] → ['192.0.2.2']"]
    assert again.state is State.UNCHANGED
    assert "answered so by" in again.receipt["message"]
    assert (first.serial, ground.subjects()) == (serial, [])


async def test_what_git_has_and_the_servers_have_not_is_made_live_without_a_commit(ground, servers):
    first, second = servers
    first.by_others("www", "A", [])
    async with ground.engine() as engine:
        done = await ground.ask(engine, "www", "A", "192.0.2.1", ttl=300)

    assert (done.state, done.receipt["commit"], ground.subjects()) == (State.LANDED, None, [])
    assert second.values("www", "A") == ["192.0.2.1"]


async def test_the_first_record_of_a_zone_makes_its_file(ground, servers):
    ground.git("rm", "-q", PATH)
    ground.git("commit", "-qm", "No records yet")
    async with ground.engine() as engine:
        done = await ground.ask(engine, "api", "A", "192.0.2.9")

    assert done.state is State.LANDED, done.receipt
    assert ground.show() == "---\napi:\n  ttl: 300\n  type: A\n  value: 192.0.2.9\n"
    assert servers[1].values("api", "A") == ["192.0.2.9"]


async def test_a_removal_takes_the_record_out_of_git_and_of_every_server_and_rolls_back(ground, servers):
    from infra_mcp.model.actions import ACTIONS  # noqa: PLC0415 - only here
    from infra_mcp.model.request import Submission  # noqa: PLC0415

    async with ground.engine() as engine:
        gone = await ground.ask(engine, "www", "A")
        during = [one.values("www", "A") for one in servers], ground.show()
        action = ACTIONS["rollback"](request=gone.id)
        asked = await engine.submit(Submission(caller=gone.caller, action=action, channel="tool"))
        back = await ground.end(engine, asked.request)

    assert gone.state is State.LANDED, gone.receipt
    assert during == ([[], []], "---\n{}\n")
    assert back.state is State.LANDED, back.receipt
    assert [one.values("www", "A") for one in servers] == [["192.0.2.1"]] * 2
    assert ground.show() == TREE


@pytest.mark.promise("verify.rollback")
async def test_a_record_that_one_server_does_not_take_over_is_rolled_back_in_git_and_live(
    tmp_path, servers, tmp_path_factory
):
    first, second = servers
    ground = ZoneGround(tmp_path)
    with primary(tmp_path_factory.mktemp("o"), "www 300 IN A 192.0.2.1\n") as stale:  # it knows nothing of the others
        policy = zone_policy(first.at, first.key_file, first.at, second.at, stale.at)
        ground.make(policy.replace('"20s"', '"2s"'), {PATH: TREE})
        async with ground.engine() as engine:
            done = await ground.ask(engine, "www", "A", "192.0.2.2")

    assert done.state is State.ROLLED_BACK, done.receipt
    assert f"{stale.at} answers www A 192.0.2.1" in done.receipt["message"]
    assert first.values("www", "A") == ["192.0.2.1"]
    assert ground.show() == TREE
    assert ground.subjects()[0] == "Set www A of docs.example"
    assert ground.subjects()[1].startswith("Roll back")


@pytest.mark.parametrize(
    ("name", "kind", "values", "rule"),
    [
        ("@", "A", ["192.0.2.1"], "dns.apex"),
        ("*", "A", ["192.0.2.1"], "dns.wildcard"),
        ("other", "A", ["192.0.2.1"], "circles.docs.records"),
        ("api", "CNAME", ["xn--80ak6aa92e.example."], "dns.look-alike"),
        ("api", "TXT", ["heritage=external-dns,external-dns/owner=x"], "dns.marker"),
    ],
)
@pytest.mark.promise("dns.zone-guard")
async def test_what_the_zone_guards_is_refused_before_anything_is_read(ground, servers, name, kind, values, rule):
    serial = servers[0].serial
    policy = ground.settings.policy_file
    policy.write_text(policy.read_text().replace(', "*"]', "]" if name == "other" else ', "*"]'))
    async with ground.engine() as engine:
        done = await ground.ask(engine, name, kind, *values)

    assert (done.state, done.receipt["error"]["rule"]) == (State.REFUSED, rule), done.receipt
    assert (ground.subjects(), servers[0].serial) == ([], serial)


@pytest.mark.promise("dns.zone-guard")
async def test_a_record_of_another_owner_and_a_cname_beside_others_are_refused_before_the_commit(ground, servers):
    first, _ = servers
    first.by_others("a-api", "TXT", ['"heritage=external-dns,external-dns/owner=prod"'])
    first.by_others("mail", "A", ["192.0.2.5"])
    async with ground.engine() as engine:
        owned = await ground.ask(engine, "api", "A", "192.0.2.9")
        there = await ground.ask(engine, "mail", "A", "192.0.2.9")
        beside = await ground.ask(engine, "www", "CNAME", "mail")

    assert owned.receipt["error"]["code"] == "owned-elsewhere", owned.receipt
    assert there.receipt["error"]["code"] == "exists"
    assert beside.receipt["error"]["rule"] == "dns.cname"
    assert (ground.subjects(), first.values("api", "A"), first.values("mail", "A")) == ([], [], ["192.0.2.5"])


async def test_a_name_goes_from_an_address_to_a_cname_and_back_by_the_steps_that_the_refusal_names(ground, servers):
    first, _ = servers
    www = {"zone": ZONE, "name": "www"}
    steps = (
        {"name": "gone", "action": "dns_record", "arguments": www | {"type": "A", "remove": True}},
        {"name": "new", "action": "dns_record", "arguments": www | {"type": "CNAME", "values": ["mail.docs.example."]}},
    )
    both = Submission(caller=DOCS, action=ChangeSet.model_validate({"steps": steps}), channel="tool")
    async with ground.engine() as engine:
        refused = [
            await ground.ask(engine, "www", "CNAME", "mail"),
            await ground.end(engine, (await engine.submit(both)).request),
        ]
        said = [one.receipt["error"] for one in refused]
        assert [one["rule"] for one in said] == ["dns.cname"] * 2, said
        assert all("dns_record with name www, type A and remove by itself" in one["next"] for one in said), said
        assert (ground.subjects(), first.values("www", "A")) == ([], ["192.0.2.1"])

        for kind, value in (("CNAME", "mail.docs.example."), ("A", "192.0.2.3")):
            gone = "A" if kind == "CNAME" else "CNAME"
            removed = await ground.ask(engine, "www", gone)
            made = await ground.ask(engine, "www", kind, value)
            assert [removed.state, made.state] == [State.LANDED] * 2, (removed.receipt, made.receipt)
            assert first.values("www", kind) == [value]


async def test_a_value_that_is_none_of_its_type_is_refused_without_being_repeated(ground):
    async with ground.engine() as engine:
        done = await ground.ask(engine, "api", "A", "s3cr3t-value-x9Q")

    assert done.receipt["error"]["code"] == "invalid-argument", done.receipt
    assert "s3cr3t" not in str(done.receipt)


async def test_a_zone_that_a_pipeline_delivers_is_planned_and_refused_before_the_commit(tmp_path):
    ground = ZoneGround(tmp_path)
    policy = zone_policy("192.0.2.1", "/none", "192.0.2.1").replace('backend = "rfc2136"', 'backend = "external"')
    ground.make(policy, {PATH: TREE})
    async with ground.engine() as engine:
        shown = await ground.ask(engine, "api", "A", "192.0.2.9", dry_run=True)
        done = await ground.ask(engine, "api", "A", "192.0.2.9")

    assert shown.state is State.PREVIEWED
    assert "+api:" in shown.receipt["plan"]["files"][0]["diff"]
    assert done.receipt["error"]["code"] == "delivery-unsupported", done.receipt
    assert ground.subjects() == []


@pytest.mark.promise("secrets.nowhere")
async def test_the_key_of_a_zone_is_found_nowhere(ground, servers, caplog):
    first, _ = servers
    async with ground.engine() as engine:
        said = [await ground.ask(engine, "api", "A", "192.0.2.9"), await ground.ask(engine, "api", "A", dry_run=True)]
        text = first.key_file.read_text()
        first.key_file.write_text(text.replace("hmac-sha256", "hmac-sha512"))
        said.append(await ground.ask(engine, "www", "A", "192.0.2.7"))

    assert said[-1].receipt["error"]["code"] == "zone-denied", said[-1].receipt
    assert first.secret not in "".join(map(str, said)) + caplog.text
    found = [path for path in ground.home.rglob("*") if path.is_file() and first.secret.encode() in path.read_bytes()]
    packed = ground.git("log", "-p", "--all")
    assert (found, first.secret in packed) == ([], False)
