"""Evidence by DNS, at a real CoreDNS whose zone somebody else edits."""

from __future__ import annotations

import pytest
from name_servers import ZONE, coredns, zone_text

from infra_mcp.drivers.base import Context
from infra_mcp.drivers.external.dns import Dns
from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.policy.evidence import DnsRules
from infra_mcp.policy.policy import load

pytestmark = [pytest.mark.anyio, pytest.mark.promise("delivery.external")]


@pytest.fixture
def server(tmp_path):
    with coredns(tmp_path, zone_text('www IN A 192.0.2.1\nnote IN TXT "version 1.1.0"\n')) as made:
        yield made


def context(say=lambda _: None):
    return Context("req-1", "media", load(""), say=say)


def dns(server, *values, name="www", kind="A"):
    at = server if isinstance(server, str) else server.at
    return Dns(DnsRules(name=f"{name}.{ZONE}", type=kind, server=at, value=values), values)


async def test_an_answer_that_others_bring_is_waited_for_and_told(server):
    piece = dns(server, "192.0.2.7")
    before = await piece.before(context())
    said = []

    def edit(text):
        if not said:
            server.by_others("www", "A", ["192.0.2.7"])
        said.append(text)

    assert (before, piece.fresh(before)) == (["192.0.2.1"], True)
    assert "answers 192.0.2.7" in await piece.holds(context(edit), before, 20.0)
    assert "answers 192.0.2.1" in said[0]


async def test_the_former_answer_is_waited_for_after_a_revert(server):
    piece = dns(server, "192.0.2.7")
    before = await piece.before(context())
    server.by_others("www", "A", ["192.0.2.7"])
    await piece.holds(context(), before, 20.0)
    server.by_others("www", "A", ["192.0.2.1"])

    assert "answers 192.0.2.1" in await piece.gone(context(), before, 20.0)


async def test_what_is_answered_already_shows_nothing(server):
    for piece in (dns(server, "192.0.2.1"), dns(server, "version 1.1.0", name="note", kind="TXT")):
        assert piece.fresh(await piece.before(context())) is False


async def test_without_a_value_any_other_answer_than_before_is_waited_for(server):
    piece = dns(server)
    before = await piece.before(context())

    with pytest.raises(InfraError, match=r"not within .* answers 192\.0\.2\.1"):
        await piece.holds(context(), before, 0.3)

    server.by_others("www", "A", ["192.0.2.9"])
    assert await piece.holds(context(), before, 20.0)


async def test_a_server_that_is_not_authoritative_or_not_there_is_no_evidence(server):
    other = Dns(DnsRules(name="www.other.example", server=server.at, value=("192.0.2.7",)), ("192.0.2.7",))
    with pytest.raises(InfraError) as caught:
        await other.holds(context(), None, 0.3)
    assert caught.value.code == "not-landed"

    away = dns("127.0.0.1:9", "192.0.2.7")
    assert await away.before(context()) is None
    with pytest.raises(Unavailable):
        await dns("127.0.0.1:9").before(context())


async def test_a_value_that_is_none_of_its_type_is_refused_before_the_commit(server):
    with pytest.raises(InfraError) as caught:
        await dns(server, "no address").before(context())

    assert caught.value.code == "policy-invalid"
