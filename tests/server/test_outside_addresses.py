"""Addresses beyond loopback: which may be opened, by which name they are called, and whose a call counts for."""

from __future__ import annotations

from collections import Counter

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.server import outside
from infra_mcp.server.http_guard import names_of
from infra_mcp.server.outside import ADDRESSES, Allowance, Outside, open_outside

pytestmark = [pytest.mark.promise("http.hardened")]


@pytest.mark.parametrize(
    ("address", "url", "proxies", "says"),
    [
        ("10.0.0.5:8443", "https://infra.example", (), "TLS only"),
        ("0.0.0.0:8443", "http://infra.example", ("10.0.0.1",), "not an https URL"),
        ("0.0.0.0:8443", "https://pat:x@infra.example", ("10.0.0.1",), "not an https URL"),
        ("infra.example:8443", "https://infra.example", ("10.0.0.1",), "not ADDRESS:PORT"),
        ("10.0.0.5:99999", "https://infra.example", ("10.0.0.1",), "not ADDRESS:PORT"),
        ("10.0.0.5:8443", "https://infra.example", ("anyone",), "no network"),
        ("10.0.0.5:8443", "https://infra.example", ("10.0.0.1", "0.0.0.0/0"), "every address"),
        ("10.0.0.5:8443", "https://infra.example", ("::/0",), "every address"),
    ],
)
def test_an_open_address_without_protection_is_refused_at_the_start(address, url, proxies, says):
    with pytest.raises(InfraError) as caught:
        open_outside(Outside(address, url, proxies=proxies))
    assert caught.value.code == "invalid-argument"
    assert says in caught.value.what


@pytest.mark.parametrize(
    ("url", "host", "fits"),
    [
        ("https://infra.example", b"infra.example", True),
        ("https://infra.example", b"INFRA.example:443", True),
        ("https://infra.example:443", b"infra.example", True),
        ("https://infra.example", b"infra.example:8443", False),
        ("https://infra.example", b"infraXexample", False),
        ("https://infra.example", b"infra.example.evil.example", False),
        ("https://infra.example:8443", b"infra.example:8443", True),
        ("https://infra.example:8443", b"infra.example", False),
        ("https://[2001:db8::5]:8443", b"[2001:db8::5]:8443", True),
        ("https://[2001:db8::5]", b"[2001:db8::5]:443", True),
        ("https://[2001:db8::5]", b"[2001:db8::6]", False),
    ],
)
def test_the_host_is_that_of_the_public_url_and_no_other(url, host, fits):
    scope = {"headers": [(b"host", host)]}
    assert (names_of(url).refusal(scope) is None) == fits
    origin = {"headers": [(b"host", host), (b"origin", b"https://" + host)]}
    assert (names_of(url).refusal(origin) is None) == fits


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.2", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.2", "198.51.100.7, 203.0.113.9:50123", "203.0.113.9"),  # what came with the call is on the left
        ("10.0.0.2", "203.0.113.9, 10.0.0.2:8080", "203.0.113.9"),
        ("10.0.0.2", "[2001:db8::1]:50123", "2001:db8::1"),
        ("::ffff:10.0.0.2", "203.0.113.9", "203.0.113.9"),  # a socket for both families writes IPv4 so
        ("10.0.0.2", "unknown", "10.0.0.2"),
        ("10.0.0.2", "", "10.0.0.2"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
    ],
)
def test_a_call_counts_for_the_address_that_the_last_trusted_proxy_saw(peer, forwarded, address):
    guard = outside.OutsideGuard(None, Outside("", "", proxies=("10.0.0.2",)), None, Counter())
    scope = {"scheme": "http", "headers": [(b"x-forwarded-for", forwarded.encode())] if forwarded else []}
    assert guard._origin(scope, peer)[0] == address


def test_what_is_remembered_of_addresses_is_bounded_and_one_network_is_one():
    now = [0.0]
    allowance = Allowance(lambda: now[0])
    while not allowance.take("2001:db8::1"):
        pass
    assert allowance.take("2001:db8::ffff") > 0
    assert allowance.take("2001:db8:0:1::1") == 0
    assert allowance.take("::ffff:192.0.2.1") == 0
    now[0] += 5
    assert [allowance.take("2001:db8::1") > 0 for _ in range(6)] == [False] * 5 + [True]
    for number in range(ADDRESSES + 50):
        allowance.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(allowance._left) == ADDRESSES
