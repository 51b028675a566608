"""Real name servers of the tests on loopback: BIND, as primary with TSIG and as secondary, and CoreDNS.

Each has a folder, a deadline to come up, and is ended by its own process id. What others do to a zone is done with
dnspython or by hand in the files, never with the product.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.tsig
import dns.tsigkeyring
import dns.update
import pytest

from infra_mcp.binaries.find import find
from infra_mcp.errors import InfraError

__all__ = ["KEY", "ZONE", "Bind", "CoreDns", "coredns", "free_port", "primary", "secondary", "zone_text"]

ZONE, KEY = "docs.example", "infra-mcp-key"
_UP = 60.0  # seconds
TEXT = """\
$TTL 300
@ IN SOA ns1 hostmaster ( 1 3600 1 604800 60 )
@ IN NS ns1
ns1 IN A 127.0.0.1
"""
GRANTS = "A AAAA CNAME TXT SRV MX CAA PTR"


def free_port() -> int:
    """A port that is free for both UDP and TCP."""
    for _ in range(50):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(port)
    pytest.fail("no port is free")


@dataclass
class Bind:
    """One named."""

    folder: Path
    port: int
    zone: str = ZONE
    secret: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def at(self) -> str:
        """As policy names it."""
        return f"127.0.0.1:{self.port}"

    @property
    def key_file(self) -> Path:
        """With the key's secret, mode 0600."""
        return self.folder / "key"

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it serves the zone."""
        argv = [_named(), "-g", "-c", str(self.folder / "named.conf"), "-p", str(self.port), "-n", "1"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait(lambda: self.query(self.zone, "SOA").rcode() == dns.rcode.NOERROR)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(20)
            self._process = None

    def pause(self) -> None:
        """Keep it from answering; `resume` or `stop` ends that."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wait(self, ready: Callable[[], bool]) -> None:
        """Wait for something of it."""
        until = time.monotonic() + _UP
        while True:
            try:
                if ready():
                    return
            except (OSError, dns.exception.DNSException):
                pass
            if self._process is not None and self._process.poll() is not None:
                pytest.fail(f"named ended: {self.log()}")
            if time.monotonic() > until:
                pytest.fail(f"named did not come so far: {self.log()}")
            time.sleep(0.02)

    def log(self) -> str:
        """What it wrote."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def query(self, name: str, kind: str) -> dns.message.Message:
        """Its answer."""
        return dns.query.tcp(dns.message.make_query(name, kind), "127.0.0.1", port=self.port, timeout=10)

    def values(self, name: str, kind: str) -> list[str]:
        """The values it answers with, sorted; relative names are below the zone."""
        reply = self.query(self.zone if name == "@" else f"{name}.{self.zone}", kind)
        return sorted(str(one) for rrset in reply.answer for one in rrset)

    def ttl(self, name: str, kind: str) -> int:
        """The TTL it answers with."""
        return int(self.query(f"{name}.{self.zone}", kind).answer[0].ttl)

    @property
    def serial(self) -> int:
        """Of its zone."""
        return int(self.query(self.zone, "SOA").answer[0][0].serial)

    def by_others(self, name: str, kind: str, values: Sequence[str], ttl: int = 300) -> None:
        """Somebody else with the key sets a record set, or removes it.

        Raises:
            RefusedUpdateError: also by a server that has just started and has not read its zone yet.
            OSError, dns.exception.DNSException: it is down.
        """
        ring = dns.tsigkeyring.from_text({KEY: self.secret})
        message = dns.update.UpdateMessage(self.zone, keyring=ring, keyname=KEY, keyalgorithm=dns.tsig.HMAC_SHA256)
        message.delete(name, kind)
        for value in values:
            message.add(name, ttl, kind, value)
        reply = dns.query.tcp(message, "127.0.0.1", port=self.port, timeout=20)
        if reply.rcode() != dns.rcode.NOERROR:
            raise RefusedUpdateError(dns.rcode.to_text(reply.rcode()))


class RefusedUpdateError(dns.exception.DNSException):
    """A name server does not take an update."""


def _named() -> str:
    found = shutil.which("named") or shutil.which("named", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("BIND is not there: apt-get install bind9, dnf install bind, brew install bind")
    return found


def _key(folder: Path) -> str:
    """A new TSIG key in BIND's form; its secret."""
    named = Path(_named())
    keygen = shutil.which("tsig-keygen") or str(named.with_name("tsig-keygen"))
    text = subprocess.run([keygen, "-a", "hmac-sha256", KEY], check=True, capture_output=True, text=True).stdout
    (folder / "key").touch(mode=0o600)
    (folder / "key").write_text(text, encoding="utf-8")
    return text.split('secret "')[1].split('"')[0]


_OPTIONS = """\
include "{folder}/key";
options {{
  directory "{folder}"; pid-file "{folder}/named.pid"; session-keyfile "{folder}/session.key";
  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion no; dnssec-validation no; allow-query {{ 127.0.0.1; }};
  notify-delay 0; startup-notify-rate 1000; notify-rate 1000; serial-query-rate 1000;
  {options}
}};
controls {{ }};
"""


@contextmanager
def primary(
    folder: Path,
    records: str = "",
    *,
    zone: str = ZONE,
    notify: int | None = None,
    policy: str | None = None,
    transfer: str = f"key {KEY}",
    recursive: bool = False,
    cache_of: Bind | None = None,
) -> Iterator[Bind]:
    """A primary that takes updates signed with its key.

    Args:
        folder: an empty one.
        records: of the zone, beside SOA and NS.
        zone: its name.
        notify: the port of a secondary.
        policy: its `update-policy`; by default every type that the product writes.
        transfer: who may transfer the zone.
        recursive: whether it answers for other names, too.
        cache_of: then it has no zone, and forwards all questions to this server.
    """
    bind = Bind(folder, free_port(), zone, _key(folder))
    (folder / "zone").write_text(TEXT + records, encoding="utf-8")
    notified = f"also-notify {{ 127.0.0.1 port {notify}; }};" if notify else "notify no;"
    allowed = policy if policy is not None else f"grant {KEY} zonesub {GRANTS};"
    options = f"forwarders {{ 127.0.0.1 port {cache_of.port}; }}; forward only;" if cache_of else ""
    own = (
        f'zone "{zone}" {{ type primary; file "{folder}/zone"; allow-transfer {{ {transfer}; }}; {notified}\n'
        f"  update-policy {{ {allowed} }}; }};\n"
    )
    text = _OPTIONS.format(folder=folder, port=bind.port, options=options) + ("" if cache_of else own)
    if recursive or cache_of:
        text = text.replace("recursion no", "recursion yes; empty-zones-enable no")
    (folder / "named.conf").write_text(text, encoding="utf-8")
    yield from _running(bind)


@contextmanager
def secondary(folder: Path, of: Bind, port: int) -> Iterator[Bind]:
    """A secondary, which transfers the zone when it is notified."""
    shutil.copy(of.key_file, folder / "key")
    bind = Bind(folder, port, of.zone, of.secret)
    (folder / "named.conf").write_text(
        _OPTIONS.format(folder=folder, port=port, options="notify no; min-retry-time 1;")
        + f'zone "{of.zone}" {{ type secondary; file "{folder}/zone"; masterfile-format text;\n'
        + f"  primaries {{ 127.0.0.1 port {of.port} key {KEY}; }}; }};\n",
        encoding="utf-8",
    )
    yield from _running(bind)


def _running(bind: Bind) -> Iterator[Bind]:
    try:
        bind.start()
        yield bind
    finally:
        bind.stop()


@dataclass
class CoreDns(Bind):
    """One CoreDNS, which reads its zone from a file again ten times a second."""

    @property
    def published(self) -> Path:
        """The zone file that it reads."""
        return self.folder / "published.zone"

    def start(self) -> None:
        """Start it, and wait until it serves the zone."""
        argv = [str(_coredns()), "-conf", str(self.folder / "Corefile"), "-dns.port", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait(lambda: self.query(self.zone, "SOA").rcode() == dns.rcode.NOERROR)

    def by_others(self, name: str, kind: str, values: Sequence[str], ttl: int = 300) -> None:
        """A person edits the published file: one line a value, and the serial."""
        kept = [one for one in self.published.read_text().splitlines() if one.split()[:1] != [name]]
        number = next(int(one.split()[5]) for one in kept if " SOA " in one)
        kept = [one.replace(f" {number} ", f" {number + 1} ", 1) if " SOA " in one else one for one in kept]
        lines = [f"{name} {ttl} IN {kind} {value}" for value in values]
        new = self.published.with_suffix(".new")
        new.write_text("\n".join([*kept, *lines]) + "\n")
        new.replace(self.published)


def _coredns() -> Path:
    try:
        return find("coredns").path
    except InfraError as error:
        pytest.skip(str(error))


def zone_text(records: str = "", serial: int = 1) -> str:
    """A zone file, as a repository has it."""
    return TEXT.replace("( 1 3600 1 604800 60 )", f"{serial} 3600 600 604800 60") + records


@contextmanager
def coredns(folder: Path, text: str, zone: str = ZONE) -> Iterator[CoreDns]:
    """A CoreDNS that serves this zone file."""
    made = CoreDns(folder, free_port(), zone)
    made.published.write_text(text)
    block = f"{zone} {{\n  bind 127.0.0.1\n  file {made.published} {{\n    reload 100ms\n  }}\n  errors\n}}\n"
    (folder / "Corefile").write_text(block)
    yield from _running(made)
