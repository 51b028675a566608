"""The process and its environment: what others can reach, read or make it run."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from anyio import to_thread

from infra_mcp.doctor.finding import Finding, check, empty, failed, risk
from infra_mcp.doctor.look import Look, mode_of
from infra_mcp.errors import InfraError
from infra_mcp.server.tls import end_of

_SECRET: Final = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_KEY|PRIVATE_KEY)$", re.IGNORECASE
)
_DAYS: Final = 14  # before its end, from when a certificate is reported
_WRITABLE: Final = 0o022  # by the group and by others
_PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


@check("exposure.user")
async def user(look: Look) -> AsyncIterator[Finding]:
    """The server does not run as root."""
    if look.around["user"] == 0:
        owner = look.settings.repo.stat().st_uid
        name = f"'#{owner}'" if owner else "infra-mcp"
        what = "The server runs as root: whatever it starts (git, helm, a plugin) may do anything on this machine."
        yield risk(what, f"sudo -u {name} infra-mcp serve")


@check("exposure.umask")
async def umask(look: Look) -> AsyncIterator[Finding]:
    """Files that the server makes can be written by its user only."""
    if ~look.around["umask"] & _WRITABLE:
        yield risk(f"The umask is {look.around['umask']:03o}: others can write in files that it makes.", "umask 077")


@check("exposure.url")
async def url(look: Look) -> AsyncIterator[Finding]:
    """INFRA_MCP_URL is https, or of this machine."""
    parts = urlsplit(look.given("INFRA_MCP_URL"))
    if parts.scheme == "http" and not _is_here(parts.hostname or ""):
        better = parts._replace(scheme="https").geturl()
        what = f"INFRA_MCP_URL names {parts.hostname} over http: tokens could be read on the way."
        yield failed(what, f"export INFRA_MCP_URL={shlex.quote(better)}")


@check("exposure.token")
async def token(look: Look) -> AsyncIterator[Finding]:
    """The server's environment holds no token of a peer."""
    if look.given("INFRA_MCP_TOKEN"):
        yield risk("INFRA_MCP_TOKEN is set where the server runs: it is for clients.", "unset INFRA_MCP_TOKEN")


@check("exposure.secrets")
async def secrets(look: Look) -> AsyncIterator[Finding]:
    """The environment that the server's programs get holds no secret."""
    wanted = {one for rules in (look.policy.workspaces.values() if look.policy else ()) for one in rules.environment}
    for name in sorted(look.around["environment"]):
        if _SECRET.search(name) and name != "INFRA_MCP_TOKEN" and name not in wanted:
            what = f"The environment holds {name}: every program that the server starts could read it."
            yield risk(what, f"unset {shlex.quote(name)}")


@check("exposure.certificate")
async def certificate(look: Look) -> AsyncIterator[Finding]:
    """The certificate for other machines loads with its key, which only the server's user can read, and lasts."""
    cert, key = (look.given(f"INFRA_MCP_HTTP_{name}") for name in ("CERT", "KEY"))
    if not cert or not key:
        yield empty("INFRA_MCP_HTTP_CERT and INFRA_MCP_HTTP_KEY name no certificate.")
        return
    try:
        ends = await to_thread.run_sync(end_of, Path(cert), Path(key))
    except InfraError as error:
        private = mode_of(key)
        readable = private is not None and private & 0o077
        fix = f"chmod 600 {shlex.quote(key)}" if readable else "unset INFRA_MCP_HTTP_CERT INFRA_MCP_HTTP_KEY"
        yield failed(error.what, fix)
        return
    left = (ends - datetime.now(UTC)).days
    if left < _DAYS:
        said = f"ends in {left} days" if left >= 0 else "has ended"
        yield (risk if left >= 0 else failed)(f"The certificate {cert} {said}.", "certbot renew")


@check("exposure.proxies")
async def proxies(look: Look) -> AsyncIterator[Finding]:
    """No proxy stands between the server and this machine."""
    given = [name for one in _PROXIES for name in (one, one.lower()) if look.given(name)]
    if not given:
        return
    direct = look.given("NO_PROXY") or look.given("no_proxy")
    if not {"127.0.0.1", "localhost", "*"} & set(direct.replace(" ", "").split(",")):
        what = f"{given[0]} is set and NO_PROXY does not name this machine: programs would ask the proxy for it."
        more = ",".join(filter(None, [direct, "localhost,127.0.0.1"]))
        yield risk(what, f"export NO_PROXY={shlex.quote(more)}")


@check("exposure.notice")
async def notice(look: Look) -> AsyncIterator[Finding]:
    """The program that tells people what waits for them can be run, and only its owner can change it."""
    given = look.given("INFRA_MCP_NOTICE")
    if not given:
        yield empty("INFRA_MCP_NOTICE names no program: the dashboard and `infra-mcp inbox` alone show what waits.")
        return
    mode, word = mode_of(given), shlex.quote(given)
    if mode is None:
        yield failed(f"INFRA_MCP_NOTICE names {given}, which is no file.", "unset INFRA_MCP_NOTICE")
    elif not mode & 0o100:
        yield failed(f"INFRA_MCP_NOTICE names {given}, which is not executable.", f"chmod u+x {word}")
    elif mode & _WRITABLE:
        yield failed(f"Others can change {given}, which the server runs.", f"chmod go-w {word}")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
