"""The hosts of a rule of Traefik; what is not understood is for any host."""

import pytest

from infra_mcp.policy.guard.traefik import hosts_of_match


@pytest.mark.parametrize(
    ("rule", "hosts"),
    [
        ("Host(`a.example`)", ["a.example"]),
        ('Host("a.example")', ["a.example"]),
        ("Host(`a.example`, `b.example`)", ["a.example", "b.example"]),
        ("HostSNI(`a.example`)", ["a.example"]),
        ("HostSNI(`*`)", ["*"]),
        ("Host(`a.example`) && Path(`/x`)", ["a.example"]),
        ("Path(`/x`) && Host(`a.example`)", ["a.example"]),
        ("Host(`a.example`) && Host(`b.example`)", ["a.example", "b.example"]),
        ("(Host(`a.example`) || Host(`b.example`)) && !Path(`/x`)", ["a.example", "b.example"]),
        ("Host(`a.example`) && (Path(`/x`) || Path(`/y`))", ["a.example"]),
        ("Host(`a.example`) && Headers(`x`, `(||) Host(b)`)", ["a.example"]),
        ("  Host( `a.example` )  ", ["a.example"]),
        ("host(`a.example`)", ["a.example"]),
        # any host
        ("Host(`a.example`) || Path(`/x`)", []),
        ("!Host(`a.example`)", []),
        ("!(Host(`a.example`))", []),
        ("Path(`/x`)", []),
        ("PathPrefix(`/`) || Host(`a.example`)", []),
        ("HostRegexp(`.*`)", []),
        ("Host(`a.example`) && HostRegexp(`.*`)", []),
        # not understood
        ("", []),
        ("Host(a.example)", []),
        ("Host(`a.example`", []),
        ("Host(`a.example`))", []),
        ("Host()", []),
        ("Host(`a.example`) Path(`/x`)", []),
        ("Host(`a.example`) &&", []),
        ("&& Host(`a.example`)", []),
        ("Host(`a.example`) & Path(`/x`)", []),
        ("Host(`a.example`) and Path(`/x`)", []),
        ("(" * 10_000, []),
        ("!" * 10_000 + "Host(`a.example`)", []),
        (None, []),
        (7, []),
        (["Host(`a.example`)"], []),
    ],
)
def test_a_rule_gives_every_host_that_it_may_match(rule, hosts):
    assert hosts_of_match(rule) == hosts
