"""Zones as people have them: each edit is the hunk that a careful person would have written."""

import difflib
import re

import pytest
from repository.zones.zone_texts import ENDPOINTS, OCTODNS, ZONE, ZONE_FILE

from infra_mcp.clients.dns.text import rrset
from infra_mcp.repository.nodes import Unreadable
from infra_mcp.repository.zones import endpoints, master, octodns
from infra_mcp.repository.zones.fault import ZoneFault

SOA = ["-              2024010203 ; serial", "+              2024010204 ; serial"]

# form, record, TTL, values (None: removed), the lines that go and come
EDITS = [
    # -- octoDNS
    (octodns, "api CNAME", 600, ["zed"], ["-  value: www.docs.example.", "+  value: zed.docs.example."]),
    (octodns, "api CNAME", 300, ["www"], ["-  ttl: 600", "+  ttl: 300"]),
    (octodns, "null A", 3600, ["192.0.2.10"], ["-  value: 192.0.2.9   # keep", "+  value: 192.0.2.10   # keep"]),
    (octodns, "web2 A", 3600, ["192.0.2.3", "192.0.2.4", "192.0.2.5"], ["+    - 192.0.2.4"]),
    (octodns, "web2 A", 3600, ["192.0.2.5"], ["-    - 192.0.2.3"]),
    (octodns, "@ A", 3600, None, ["-  - type: A", "-    value: 192.0.2.1"]),
    (
        octodns,
        "@ MX",
        3600,
        ["10 mx1", "30 mx3"],
        [
            "-      - exchange: mx2.docs.example.",
            "-        preference: 20",
            "+      - exchange: mx3.docs.example.",
            "+        preference: 30",
        ],
    ),
    (
        octodns,
        "@ TXT",
        300,
        ["v=spf1 -all; x"],
        ["+  - ttl: 300", "+    type: TXT", "+    value: v=spf1 -all\\; x"],
    ),
    (
        octodns,
        "null A",
        None,
        None,
        ["-# owner: @dan", "-# (asked for by finance)", "-null:", "-  type: A", "-  value: 192.0.2.9   # keep"],
    ),
    (
        octodns,
        "web9 A",
        300,
        ["192.0.2.7", "192.0.2.8"],
        ["+# docs", "+web9:", "+  ttl: 300", "+  type: A", "+  values:", "+    - 192.0.2.7", "+    - 192.0.2.8"],
    ),
    (
        octodns,
        "api2 CAA",
        60,
        ['0 issue "letsencrypt.org"'],
        [
            "+# docs",
            "+api2:",
            "+  ttl: 60",
            "+  type: CAA",
            "+  value:",
            "+    flags: 0",
            "+    tag: issue",
            "+    value: letsencrypt.org",
        ],
    ),
    (
        octodns,
        "_sip._tcp SRV",
        60,
        ["0 5 5060 sip"],
        [
            "+# docs",
            "+_sip._tcp:",
            "+  ttl: 60",
            "+  type: SRV",
            "+  value:",
            "+    port: 5060",
            "+    priority: 0",
            "+    target: sip.docs.example.",
            "+    weight: 5",
        ],
    ),
    # -- DNSEndpoint
    (
        endpoints,
        "www A",
        300,
        ["192.0.2.1", "192.0.2.3"],
        ["-        - 192.0.2.2   # second", "+        - 192.0.2.3   # second"],
    ),
    (endpoints, "www A", 60, ["192.0.2.1", "192.0.2.2"], ["-      recordTTL: 300", "+      recordTTL: 60"]),
    (
        endpoints,
        "api CNAME",
        300,
        ["zed"],
        ["-      targets: [www.docs.example]", "+      targets: [zed.docs.example]"],
    ),
    (
        endpoints,
        "web TXT",
        60,
        ["a b"],
        [
            "+    - dnsName: web.docs.example",
            "+      recordTTL: 60",
            "+      recordType: TXT",
            "+      targets:",
            "+        - a b",
        ],
    ),
    (
        endpoints,
        "www A",
        None,
        None,
        [
            "-    - dnsName: www.docs.example",
            "-      recordTTL: 300",
            "-      recordType: A",
            "-      targets:",
            "-        - 192.0.2.1",
            "-        - 192.0.2.2   # second",
        ],
    ),
    # -- zone files
    (
        master,
        "www A",
        300,
        ["192.0.2.5", "192.0.2.2"],
        [*SOA, "-www     IN  A   192.0.2.1   ; main", "+www     IN  A   192.0.2.5   ; main"],
    ),
    (
        master,
        "www A",
        300,
        ["192.0.2.2"],
        [*SOA, "-www     IN  A   192.0.2.1   ; main", "-        IN  A   192.0.2.2", "+www     IN  A   192.0.2.2"],
    ),
    (
        master,
        "www A",
        None,
        None,
        [
            *SOA,
            "-www     IN  A   192.0.2.1   ; main",
            "-        IN  A   192.0.2.2",
            '-        IN  TXT "hi; there" "x"',
            '+www     IN  TXT "hi; there" "x"',
        ],
    ),
    (master, "api CNAME", 300, ["zed"], [*SOA, "-api     IN  CNAME www", "+api     IN  CNAME zed"]),
    (master, "mail A", 300, ["192.0.2.9"], [*SOA, "-mail    600 IN A 192.0.2.9", "+mail    300 IN A 192.0.2.9"]),
    (
        master,
        "new A",
        300,
        ["192.0.2.6", "192.0.2.7"],
        [*SOA, "+new     IN  A   192.0.2.6", "+new     IN  A   192.0.2.7"],
    ),
    (master, "www CAA", 300, ['0 issue "x"'], [*SOA, '+www     IN  CAA 0 issue "x"']),
    (master, "@ TXT", 60, ["v=spf1; -all"], [*SOA, '+@       60 IN TXT "v=spf1; -all"']),
    (master, "zed AAAA", None, None, [*SOA, "-zed     IN  AAAA 2001:db8::1"]),
]
TEXTS = {octodns: OCTODNS, endpoints: ENDPOINTS, master: ZONE_FILE}


@pytest.mark.parametrize(("form", "what", "ttl", "values", "lines"), EDITS)
def test_one_record_set_is_one_hunk_in_the_style_of_its_file(form, what, ttl, values, lines):
    name, kind = what.split()
    text = TEXTS[form]
    before = _find(form, text, name, kind)
    after = None if values is None else rrset(ZONE, name, kind, ttl, values)

    made = _edited(form, text, before, after)

    found = difflib.unified_diff(text.splitlines(), made.splitlines(), n=0, lineterm="")
    assert [line for line in found if line[:2] not in {"--", "++", "@@"}] == lines
    assert _find(form, made, name, kind) == after
    others = {one.key: one for one in form.read(text.encode(), ZONE) if one.key != (name, kind) and one.type != "SOA"}
    assert {
        one.key: one for one in form.read(made.encode(), ZONE) if one.key != (name, kind) and one.type != "SOA"
    } == others


@pytest.mark.parametrize(("form", "what", "ttl", "values", "lines"), EDITS)
def test_an_edit_and_its_inverse_leave_the_records_as_they_were(form, what, ttl, values, lines):  # noqa: ARG001
    name, kind = what.split()
    before = _find(form, TEXTS[form], name, kind)
    after = None if values is None else rrset(ZONE, name, kind, ttl, values)
    made = _edited(form, _edited(form, TEXTS[form], before, after), after, before)

    assert [one for one in _sorted(form, made) if one.type != "SOA"] == [
        one for one in _sorted(form, TEXTS[form]) if one.type != "SOA"
    ]
    if form is master:  # it has risen twice: a serial never goes back
        assert master.serial_of(made.encode(), ZONE) == 2024010205


@pytest.mark.parametrize(("what", "ttl", "values", "lines"), [one[1:] for one in EDITS if one[0] is octodns])
def test_a_zone_as_octodns_dumps_it_is_edited_as_one_that_people_wrote(what, ttl, values, lines):
    name, kind = what.split()
    text = OCTODNS.replace("'':\n  -", "? ''\n: -")
    assert text != OCTODNS
    before = _find(octodns, text, name, kind)
    after = None if values is None else rrset(ZONE, name, kind, ttl, values)

    made = _edited(octodns, text, before, after)

    assert _sorted(octodns, made) == _sorted(octodns, _edited(octodns, OCTODNS, before, after))
    if name != "@" or after:
        found = difflib.unified_diff(text.splitlines(), made.splitlines(), n=0, lineterm="")
        assert [line for line in found if line[:2] not in {"--", "++", "@@"}] == lines


@pytest.mark.parametrize(
    "text", ["---\nwww:\n  type: A\n  value: 192.0.2.1\n", "---\nwww:\n  - type: A\n    values: [192.0.2.1]\n"]
)
def test_a_ttl_gets_in_where_octodns_wants_it_for_it_refuses_keys_out_of_order(text):
    before, after = _find(octodns, text, "www", "A"), rrset(ZONE, "www", "A", 300, ["192.0.2.1"])

    made = _edited(octodns, text, before, after)

    assert re.findall(r"(\w+):", made) == ["www", "ttl", "type", *re.findall(r"values?", text)]


@pytest.mark.parametrize(
    "text",
    [
        "---\nWWW:\n  type: A\n  value: 192.0.2.1\nwww:\n  type: A\n  value: 192.0.2.2\n",
        "---\nwww:\n  - type: A\n    value: 192.0.2.1\n  - type: a\n    value: 192.0.2.2\n",
    ],
)
def test_a_record_set_that_stands_twice_is_refused_and_never_half_changed(text):
    wanted = rrset(ZONE, "www", "A", 300, ["192.0.2.3"])

    for work in (lambda: octodns.read(text.encode(), ZONE), lambda: _edited(octodns, text, wanted, wanted)):
        with pytest.raises(ZoneFault, match="the A record of www stands twice"):
            work()


def test_a_zone_file_with_a_name_of_another_zone_is_refused_by_its_line():
    text = f"{ZONE_FILE}www.other.example. A 192.0.2.1\n"

    with pytest.raises(Unreadable, match="a record is outside the zone") as refused:
        master.read(text.encode(), ZONE)
    assert refused.value.line == text.count("\n")


def test_the_dumped_records_of_a_zone_itself_can_all_be_removed_and_a_name_can_come_before_them():
    text = "? ''\n: type: A\n  value: 192.0.2.1\nwww:\n  type: A\n  value: 192.0.2.2\n"
    apex = rrset(ZONE, "@", "A", 3600, ["192.0.2.1"])
    without = octodns.edited(text.encode(), ZONE, apex, None).decode()

    assert without == "www:\n  type: A\n  value: 192.0.2.2\n"
    assert octodns.edited(b"? www\n: type: A\n  value: 192.0.2.2\n", ZONE, None, apex).decode().startswith('"":\n')


def _sorted(form, text):
    return sorted(form.read(text.encode(), ZONE), key=lambda one: one.key)


def _find(form, text, name, kind):
    return next((one for one in form.read(text.encode(), ZONE, name) if one.type == kind), None)


def _edited(form, text, before, after):
    more = ("docs",) if form is octodns else ()
    return form.edited(text.encode(), ZONE, before, after, *more).decode()


def test_a_zone_of_ours_begins_with_its_first_record():
    made = octodns.edited(b"", ZONE, None, rrset(ZONE, "www", "A", 300, ["192.0.2.1"]), "docs")

    assert made.decode() == "---\nwww:\n  ttl: 300\n  type: A\n  value: 192.0.2.1\n"


def test_names_that_yaml_would_take_for_something_else_are_names():
    text = "---\n44.74:\n  type: A\n  value: 192.0.2.1\nnull:\n  type: A\n  value: 192.0.2.2\n"

    assert [one.name for one in octodns.read(text.encode(), ZONE)] == ["44.74", "null"]


@pytest.mark.trap("D12")
def test_a_type_in_small_letters_is_the_same_type_and_a_broken_record_is_named():
    text = "---\nwww:\n  type: a\n  value: 192.0.2.1\nbad:\n  type: A\n  value: 192.0.2\n"

    (found,) = octodns.read(text.encode(), ZONE, "www")
    assert found == rrset(ZONE, "www", "A", 3600, ["192.0.2.1"])
    with pytest.raises(ZoneFault, match="the A record of bad is not valid for type A"):
        octodns.read(text.encode(), ZONE)


@pytest.mark.parametrize(
    ("form", "text", "what"),
    [
        (octodns, "---\nwww:\n  type: A\n  dynamic: {pools: {}}\n  value: 192.0.2.1\n", "pools"),
        (
            endpoints,
            ENDPOINTS.replace("dnsName: api.docs.example", "dnsName: www.docs.example").replace("CNAME", "A"),
            "several endpoints",
        ),
        (
            master,
            ZONE_FILE.replace("2024010203 ; serial", "2024010203") + "$GENERATE 1-9 h$ A 192.0.2.$\n",
            "generated",
        ),
        (master, ZONE_FILE.replace("$TTL 300", "$TTL 300\n$INCLUDE other.zone"), "malformed"),
        (master, ZONE_FILE.replace("@       IN  SOA", "other   IN  SOA"), "malformed|SOA"),
    ],
)
def test_what_would_change_more_than_was_asked_is_refused(form, text, what):
    text = text.replace("[www.docs.example]", "[192.0.2.8]")
    before = rrset(ZONE, "www", "A", 300, ["192.0.2.1"])
    with pytest.raises((ZoneFault, Unreadable), match=what):
        form.edited(text.encode(), ZONE, before, rrset(ZONE, "www", "A", 60, ["192.0.2.4"]))


@pytest.mark.parametrize(
    "broken",
    [
        ZONE_FILE + "www IN CNAME other\n",
        ZONE_FILE.replace("        IN  NS  ns1\n        IN  NS  ns2.other.example.\n", ""),
        ZONE_FILE + "www.elsewhere.example. IN A 192.0.2.1\nbad IN A 192.0.2\n",
        ZONE_FILE.replace(" )", ""),
    ],
    ids=["a CNAME beside other data", "no name server", "a malformed address", "an open bracket"],
)
def test_a_zone_that_no_server_would_load_is_refused(broken):
    with pytest.raises(Unreadable):
        master.lint(broken.encode(), ZONE)


def test_a_serial_rises_above_another_one_and_over_its_end():
    text = ZONE_FILE.encode()

    assert master.serial_of(master.raised(text, ZONE, 2024010300), ZONE) == 2024010301
    assert master.raised(text, ZONE, 1) == text
    last = ZONE_FILE.replace("2024010203", str(2**32 - 1)).encode()
    made = master.edited(last, ZONE, None, rrset(ZONE, "new", "A", 300, ["192.0.2.1"]))
    assert master.serial_of(made, ZONE) == 1
