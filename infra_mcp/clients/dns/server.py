"""One name server, asked over TCP: queries without recursion, and dynamic updates (RFC 1035, 2136, 7766, 8945)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ssl import SSLError
from typing import TYPE_CHECKING, Final, Self

import anyio
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig

from infra_mcp.clients.dns.text import relative, spelled
from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.model.rrset import APEX, RRset, absolute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteStream

PORT: Final = 53
SECONDS: Final = 5.0  # for a connection and all answers on it
_ADDRESS = re.compile(r"\[([0-9A-Fa-f:.%]+)\](?::([0-9]{1,5}))?|([^:\s]+)(?::([0-9]{1,5}))?|([0-9A-Fa-f:]+)")
_FINE: Final = frozenset({dns.rcode.NOERROR, dns.rcode.NXDOMAIN})


class NoAnswer(Unavailable):
    """A server could not be reached, or did not answer in time."""


@dataclass(frozen=True, order=True)
class Server:
    """Where a name server listens."""

    host: str  # an address or a name
    port: int = PORT
    name: str = ""  # as the delegation calls it

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host`, `host:port` or `[address]:port`.

        Raises:
            InfraError: `policy-invalid`.
        """
        found = _ADDRESS.fullmatch(text)
        port = int((found[2] or found[4] or PORT) if found else 0)
        if found is None or not 0 < port < 2**16:
            raise InfraError("policy-invalid", "A name server is no host, or host:port.")
        return cls(found[1] or found[3] or found[5], port)

    def __str__(self) -> str:
        """As policy has it."""
        host = f"[{self.host}]" if ":" in self.host and self.port != PORT else self.host
        at = host if self.port == PORT else f"{host}:{self.port}"
        return f"{self.name} ({at})" if self.name else at


@dataclass(frozen=True)
class Answer:
    """A server's answer about one name and type. Without a record set and a problem there is none."""

    rrset: RRset | None = None
    problem: str = ""  # why it says nothing: an error, or the server is not authoritative
    alias: RRset | None = None  # the CNAME that stands at the name instead


async def ask(server: Server, zone: str, questions: Sequence[tuple[str, str]]) -> list[Answer]:
    """Ask one server about several names of a zone, all on one connection.

    Args:
        server: which.
        zone: the zone's name.
        questions: names, relative to the zone, with types.

    Raises:
        NoAnswer: nothing came back in time.
    """
    queries = [dns.message.make_query(absolute(name, zone), kind, flags=0) for name, kind in questions]
    replies = await exchange(server, queries)
    return [_answer(zone, name, kind, reply) for (name, kind), reply in zip(questions, replies, strict=True)]


def _answer(zone: str, name: str, kind: str, reply: dns.message.Message) -> Answer:
    code = reply.rcode()
    if code not in _FINE:
        return Answer(problem=f"it answers {dns.rcode.to_text(code)}")
    if not reply.flags & dns.flags.AA:
        return Answer(problem=f"it is not authoritative for {zone}")
    owner = dns.name.from_text(absolute(name, zone))
    found = reply.get_rrset(reply.answer, owner, dns.rdataclass.IN, dns.rdatatype.from_text(kind))
    alias = reply.get_rrset(reply.answer, owner, dns.rdataclass.IN, dns.rdatatype.CNAME) if found is None else None
    return Answer(_rrset(zone, found), alias=_rrset(zone, alias))


def _rrset(zone: str, found: dns.rrset.RRset | None) -> RRset | None:
    if found is None:
        return None
    name, kind = relative(found.name.to_text(), zone), dns.rdatatype.to_text(found.rdtype)
    return RRset(name=name, type=kind, ttl=found.ttl, values=tuple(sorted(map(spelled, found))))


async def serial(server: Server, zone: str) -> int:
    """The serial number of the zone at a server.

    Raises:
        NoAnswer: nothing came back in time.
        InfraError: `zone-denied`: the server does not have the zone.
    """
    found = (await ask(server, zone, [(APEX, "SOA")]))[0]
    if found.rrset is None:
        raise InfraError("zone-denied", f"{server} does not serve {zone}: {found.problem or 'it has no SOA record'}.")
    return int(found.rrset.values[0].split()[2])


async def exchange(server: Server, messages: Sequence[dns.message.Message]) -> list[dns.message.Message]:
    """Send messages on one TCP connection, and return the replies in their order.

    Raises:
        NoAnswer: not every reply came in time, or one was not well formed.
        dns.tsig.PeerError: the server does not take a signature.
    """
    waiting = {message.id: message for message in messages}
    if len(waiting) < len(messages):  # two of the same random number
        return [(await exchange(server, [one]))[0] for one in messages]
    replies: dict[int, dns.message.Message] = {}
    problem = "no answer in time"
    try:
        with anyio.move_on_after(SECONDS):
            async with _connected(server) as stream:
                for message in messages:
                    await stream.send(message.to_wire(prepend_length=True))
                buffer = b""
                while len(replies) < len(messages):
                    buffer += await stream.receive()
                    while len(buffer) > 1 and len(buffer) >= 2 + (size := int.from_bytes(buffer[:2], "big")):
                        reply = _parse(buffer[2 : 2 + size], waiting)
                        buffer = buffer[2 + size :]
                        replies[reply.id] = reply
                return [replies[message.id] for message in messages]
    except (OSError, SSLError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
        problem = "it closes the connection" if not isinstance(error, OSError) else (error.strerror or "no connection")
    except dns.tsig.PeerError:
        raise
    except dns.exception.DNSException:
        problem = "its reply is malformed"
    raise NoAnswer("zone-unreachable", f"Name server {server} does not answer: {problem}.")


def _parse(wire: bytes, waiting: dict[int, dns.message.Message]) -> dns.message.Message:
    asked = waiting.get(int.from_bytes(wire[:2], "big"))
    if asked is None:
        raise dns.message.ShortHeader
    reply = dns.message.from_wire(wire, keyring=asked.keyring, request_mac=asked.mac)
    if not asked.is_response(reply):
        raise dns.message.ShortHeader
    return reply


@asynccontextmanager
async def _connected(server: Server) -> AsyncIterator[ByteStream]:
    try:
        remote = str(ipaddress.ip_address(server.host))
    except ValueError:
        remote = server.host
    async with await anyio.connect_tcp(remote, server.port) as stream:
        yield stream
