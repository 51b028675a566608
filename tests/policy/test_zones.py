"""The guardrails of zones: what no record may be, and whom policy allows it by name; on a request and on a plan."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from infra_mcp.errors import InfraError
from infra_mcp.model.actions.dns_record import DnsRecord
from infra_mcp.model.effect import Change, Effect, FieldChange, Part
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.decide import judge
from infra_mcp.policy.policy import load

pytestmark = [pytest.mark.promise("dns.zone-guard"), pytest.mark.bad_input("16")]

DOCS = Caller(name="docs", circle="docs", strength="token")
ZONE = "docs.example"


def policy(circle="", zone="", records='["*"]'):
    return load(f"""
[[tree.roots]]
path = "dns"
delivery = "dns"
[circles.docs]
actions = ["dns_record"]
zones = ["{ZONE}"]
records = {records}
{circle}
[circles.shop]
actions = ["dns_record"]
zones = ["shop.example"]
records = ["*"]
[zones."{ZONE}"]
backend = "rfc2136"
server = "192.0.2.53"
key_file = "/run/key"
{zone}
[zones."shop.example"]
backend = "rfc2136"
server = "192.0.2.53"
key_file = "/run/key"
""")


def asked(name, kind, *values, ttl=None, zone=ZONE):
    return DnsRecord(zone=zone, name=name, type=kind, values=values, ttl=ttl, remove=not values)


def planned(name, kind, *values, ttl=300, zone=ZONE):
    """The effect of a plan, whatever was asked for."""
    fields = (
        FieldChange(path=("values",), after=list(values), had=False),
        FieldChange(path=("ttl",), after=ttl, had=False),
    )
    target = Target(system="dns", place=zone, scope=zone, kind=kind, name=name)
    change = Change(target=target, operation="create", fields=fields)
    return Effect(action={}, parts=(Part(driver="dns", place=zone, stage=0, changes=(change,)),), files=())


REFUSED = [
    ("@", "A", ["8.8.8.8"], "dns.apex"),
    ("*", "A", ["8.8.8.8"], "dns.wildcard"),
    ("*.docs", "TXT", ["x"], "dns.wildcard"),
    ("www", "A", ["10.0.0.1"], "dns.private-address"),
    ("www", "A", ["8.8.8.8", "192.168.1.1"], "dns.private-address"),
    ("www", "A", ["127.0.0.1"], "dns.private-address"),
    ("www", "A", ["169.254.169.254"], "dns.private-address"),
    ("www", "A", ["100.64.0.1"], "dns.private-address"),
    ("www", "A", ["0.0.0.0"], "dns.private-address"),
    ("www", "A", ["224.0.0.1"], "dns.private-address"),
    ("www", "A", ["255.255.255.255"], "dns.private-address"),
    ("www", "AAAA", ["::1"], "dns.private-address"),
    ("www", "AAAA", ["fd00::1"], "dns.private-address"),
    ("www", "AAAA", ["fe80::1"], "dns.private-address"),
    ("www", "AAAA", ["::ffff:10.0.0.1"], "dns.private-address"),
    ("www", "AAAA", ["2002:a00:1::"], "dns.private-address"),
    ("www", "AAAA", ["64:ff9b::10.0.0.1"], "dns.private-address"),
    ("www", "AAAA", ["64:ff9b:1::10.0.0.1"], "dns.private-address"),
    ("www", "AAAA", ["::10.0.0.1"], "dns.private-address"),
    ("www", "CNAME", ["a.example.", "b.example."], "dns.cname"),
    ("www", "TXT", ["heritage=external-dns,external-dns/owner=x"], "dns.marker"),
    ("www", "TXT", ["heritage=infra-mcp,infra-mcp/owner=x"], "dns.marker"),
    ("_owner.a.www", "TXT", ["*octodns*"], "dns.marker"),
    ("_infra-mcp.a.www", "TXT", ["x"], "dns.marker"),
    ("xn--bcher-kva", "A", ["8.8.8.8"], "dns.idna"),
    ("xn--pypal-4ve", "A", ["8.8.8.8"], "dns.look-alike"),  # "paypal", one letter of it Cyrillic
    ("xn--80ak6aa92e", "A", ["8.8.8.8"], "dns.look-alike"),  # "apple", all Cyrillic
    ("xn--a", "A", ["8.8.8.8"], "dns.look-alike"),  # malformed
    ("www", "CNAME", ["xn--pypal-4ve.example."], "dns.look-alike"),
    ("www", "MX", ["10 xn--bcher-kva.example."], "dns.idna"),
    ("www", "SRV", ["0 5 443 xn--80ak6aa92e.example."], "dns.look-alike"),
]


@pytest.mark.parametrize(("name", "kind", "values", "rule"), REFUSED)
def test_what_a_guardrail_refuses_is_refused_on_the_request_and_on_the_plan(name, kind, values, rule):
    action = asked(name, kind, *values)
    verdict = judge(policy(), DOCS, action, None)
    assert (verdict.decision, verdict.rule) == ("refuse", rule)
    # The plan is judged for itself: here a file or a program in between changed what was asked.
    seen = judge(policy(), DOCS, asked("www", "A", "8.8.8.8"), planned(name, kind, *values))
    assert seen.decision == "refuse"
    alone = judge(policy(), DOCS, asked(name, kind, "8.8.8.8" if kind == "A" else "x"), planned(name, kind, *values))
    assert (alone.decision, alone.rule) == ("refuse", rule)


@pytest.mark.parametrize(("name", "kind", "values", "rule"), REFUSED)
def test_a_guardrail_is_lifted_for_a_circle_by_its_name_and_only_that_one(name, kind, values, rule):
    liftable = {"dns.apex", "dns.wildcard", "dns.private-address", "dns.idna"}
    if rule in liftable:
        allowed = policy(f'allow = ["{rule}"]')
        assert judge(allowed, DOCS, asked(name, kind, *values), None).decision == "allow"
    else:
        with pytest.raises(InfraError, match="allow"):
            policy(f'allow = ["{rule}"]')
    others = ", ".join(f'"{one}"' for one in sorted(liftable - {rule}))
    without = judge(policy(f"allow = [{others}]"), DOCS, asked(name, kind, *values), None)

    assert (without.decision, without.rule) == ("refuse", rule)


@pytest.mark.parametrize(
    ("name", "kind", "values"),
    [
        ("www", "A", ["8.8.8.8"]),
        ("www", "AAAA", ["2606:4700::1111"]),
        ("www", "AAAA", ["64:ff9b::8.8.8.8"]),
        ("_sip._tcp", "SRV", ["0 5 5060 sip.docs.example."]),
        ("www", "TXT", ["our heritage=old, and more"]),
        ("a.b.c", "CNAME", ["other.example."]),
        ("www", "A", []),
    ],
)
def test_an_ordinary_record_passes(name, kind, values):
    assert judge(policy(), DOCS, asked(name, kind, *values), None).decision == "allow"
    if values:
        assert judge(policy(), DOCS, asked(name, kind, *values), planned(name, kind, *values)).decision == "allow"


def test_a_private_zone_takes_private_addresses_and_an_own_script_passes_where_it_is_allowed():
    assert judge(policy(zone="private = true"), DOCS, asked("www", "A", "10.0.0.1"), None).decision == "allow"
    allowed = policy('allow = ["dns.idna"]')
    for name in ("xn--bcher-kva", "xn--9ckk2d5c", "xn--fiqs8s"):  # German, Japanese and Chinese
        assert judge(allowed, DOCS, asked(name, "A", "8.8.8.8"), None).decision == "allow", name


@pytest.mark.parametrize(("ttl", "passes"), [(59, False), (60, True), (3600, True), (3601, False)])
def test_a_ttl_is_within_the_bounds_of_its_zone(ttl, passes):
    bounded = policy(zone="max_ttl = 3600")
    for verdict in (
        judge(bounded, DOCS, asked("www", "A", "8.8.8.8", ttl=ttl), None),
        judge(bounded, DOCS, asked("www", "A", "8.8.8.8"), planned("www", "A", "8.8.8.8", ttl=ttl)),
    ):
        assert (verdict.decision, verdict.rule) == (
            ("allow", "circles.docs.actions") if passes else ("refuse", "dns.ttl")
        )


@pytest.mark.parametrize(
    ("zone", "name", "rule"),
    [
        ("shop.example", "www", "circles.docs.zones"),
        ("no.example", "www", "circles.docs.zones"),
        (ZONE, "www", "circles.docs.records"),
        (ZONE, "docs.evil", "circles.docs.records"),
        (ZONE, "a.docs", None),
        (ZONE, "docs", None),
    ],
)
def test_zones_and_names_are_granted_by_circle_and_what_is_elsewhere_reads_alike(zone, name, rule):
    granted = policy(records='["docs", "*.docs"]')
    verdict = judge(granted, DOCS, asked(name, "A", "8.8.8.8", zone=zone), None)

    assert verdict.rule == (rule or "circles.docs.actions")
    assert "shop" not in verdict.reason.replace(zone, "")


@pytest.mark.trap("D1", "D11")
def test_a_plan_that_touches_any_other_record_is_refused_however_small_the_zone_is():
    action = asked("www", "A")
    one = planned("www", "A").parts[0].changes[0].model_copy(update={"operation": "delete"})
    other = one.model_copy(update={"target": one.target.model_copy(update={"name": "api"})})
    both = Effect(action={}, parts=(Part(driver="dns", place=ZONE, stage=0, changes=(one, other)),), files=())
    alone = both.model_copy(update={"parts": (both.parts[0].model_copy(update={"changes": (one,)}),)})

    assert judge(policy(), DOCS, action, alone).decision == "allow"
    verdict = judge(policy(), DOCS, action, both)
    assert (verdict.decision, verdict.rule) == ("refuse", "effect.scope")


@pytest.mark.parametrize("kind", ["NS", "SOA", "DS", "DNAME", "ALIAS", "a"])
def test_a_plan_that_changes_a_record_of_another_type_is_refused(kind):
    verdict = judge(policy('allow = ["dns.apex"]'), DOCS, asked("www", "A", "8.8.8.8"), planned("@", kind, "x."))

    assert verdict.decision == "refuse"
    with pytest.raises(ValidationError):
        asked("www", kind, "x.")


def test_the_policy_on_the_page_of_dns_can_be_loaded_and_grants_what_it_says():
    page = (Path(__file__).parents[2] / "docs" / "dns.md").read_text(encoding="utf-8")
    shown = load(page.split("```toml\n")[1].split("```")[0])

    assert set(shown.zones) == set(shown.circles["docs"].zones)
    assert judge(shown, DOCS, asked("www", "A", "8.8.8.8"), None).decision == "allow"
    assert judge(shown, DOCS, asked("api", "A", "8.8.8.8"), None).rule == "circles.docs.records"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "www."},
        {"name": "WWW"},
        {"name": "a..b"},
        {"name": "bücher"},
        {"name": "a.*"},
        {"name": "-a"},
        {"name": "a b"},
        {"name": "$(id)"},
        {"name": "a" * 64},
        {"zone": "docs.example."},
        {"zone": "../etc"},
        {"values": ("a\nb",)},
        {"values": ("a\x00",)},
        {"values": ()},
        {"values": ("8.8.8.8",), "remove": True},
        {"ttl": 0},
        {"ttl": 2**31},
    ],
)
def test_what_is_no_name_value_or_ttl_is_no_request(wrong):
    given = {"zone": ZONE, "name": "www", "type": "A", "values": ("8.8.8.8",)}
    with pytest.raises(ValidationError):
        DnsRecord(**(given | wrong))


@pytest.mark.parametrize(
    "section",
    [
        'backend = "rfc2136"\nserver = "192.0.2.1"',
        'backend = "rfc2136"\nkey_file = "/run/key"',
        'backend = "coredns"\npublish = "/zones/x"',
        'backend = "coredns"\nservers = ["192.0.2.1"]',
        'backend = "coredns"\nservers = ["192.0.2.1"]\npublish = "/zones/x"\ncluster = "prod"',
        'backend = "dnsendpoint"\nservers = ["192.0.2.1"]',
        'backend = "rfc2136"\nserver = "192.0.2.1"\nkey_file = "key"',
        'backend = "rfc2136"\nserver = "192.0.2.1 -x"\nkey_file = "/run/key"',
        'backend = "rfc2136"\nserver = "192.0.2.1"\nkey_file = "/run/key"\nttl = 30',
        'backend = "rfc2136"\nserver = "192.0.2.1"\nkey_file = "/run/key"\nregistry = ["{type}"]',
        'backend = "bind"',
    ],
)
def test_a_zone_whose_section_is_not_whole_is_no_policy(section):
    with pytest.raises(InfraError, match=r"zones"):
        load(f'[zones."{ZONE}"]\n{section}\n')
