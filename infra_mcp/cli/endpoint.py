"""A server elsewhere, by its URL: where the token may be sent, how to connect, and what its refusals mean.

Standard library only. The token is sent over https, or over http to this machine itself, and nowhere else: no redirect
is followed, no proxy is asked, and a URL that carries a name or password is refused. On this machine, where others
could have taken the port, the server first shows that it knows the token.
"""

from __future__ import annotations

import hmac
import http.client
import ipaddress
import json
import secrets
import socket
import ssl
from typing import Any
from urllib.parse import SplitResult, urlsplit

from infra_mcp.codes import CODES
from infra_mcp.errors import InfraError
from infra_mcp.proof import PATH, is_signed, prove, which_and_key

_PATH = "/mcp"
_CONNECTING = 10.0  # seconds
_LONGEST_PROOF = 1_024  # bytes
_SILENCE = 60.0  # seconds without a byte; the server sends at least a ping every 15
_UNAUTHENTICATED, _MISSING = 401, 404


class Endpoint:
    """The endpoint behind a URL, for one token.

    Args:
        url: https, or http on loopback; the path is /mcp when there is none.
        token: the bearer token.

    Raises:
        InfraError: `invalid-argument`, when the token may not be sent to such a URL; `unauthenticated`, when there is
            no token, or it cannot be one.
    """

    def __init__(self, url: str, token: str | None) -> None:
        if token is None:
            what = "A server is called by its URL with a peer's token, and no token is given."
            raise InfraError("unauthenticated", what, next_step="Set INFRA_MCP_TOKEN, or name a file: --token-file.")
        self._url = _checked(url)
        if not token.isascii() or not token.isprintable() or " " in token:
            raise InfraError("unauthenticated", "The token is not one that a server gives out.")
        self._token = token

    @property
    def target(self) -> str:
        """Path and query, as a request line has them."""
        query = f"?{self._url.query}" if self._url.query else ""
        return (self._url.path if self._url.path.strip("/") else _PATH) + query

    def beside(self, path: str) -> str:
        """An address beside the endpoint, as a request line has it."""
        return self.target.partition("?")[0].rpartition("/")[0] + path

    @property
    def shown(self) -> str:
        """Scheme and host, for messages."""
        return f"{self._url.scheme}://{self._url.netloc}"

    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        return {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }

    def connect(self) -> http.client.HTTPConnection:
        """A connection on which a minute's silence is an error; the server sends pings.

        Raises:
            InfraError: `server-unreachable`, also where what listens on this machine does not show that it is the
                server, and `unauthenticated` where it says that it knows no such token; `invalid-argument` when http
                would lead off this machine.
        """
        host, port = self._url.hostname or "", self._url.port
        made: http.client.HTTPConnection
        try:
            if self._url.scheme == "https":
                context = ssl.create_default_context()
                made = http.client.HTTPSConnection(host, port, timeout=_CONNECTING, context=context)
            else:
                made = http.client.HTTPConnection(host, port, timeout=_CONNECTING)
            made.connect()
            made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.auto_open = 0  # another process may have the port when a connection is made again
            if self._url.scheme == "http":
                if not _loopback(made.sock.getpeername()[0]):
                    made.close()
                    what = f"{host} is not this machine, so http would show the token to others."
                    raise InfraError("invalid-argument", what)
                if not is_signed(self._token):
                    self._see_proof(made)
            made.sock.settimeout(_SILENCE)
        except ssl.SSLCertVerificationError as error:
            what = f"The certificate of {host} is not trusted: {error.verify_message}."
            raise InfraError("server-unreachable", what, next_step="Name its authority: SSL_CERT_FILE.") from None
        except OSError as error:
            reason = error.strerror or ("no answer in time" if isinstance(error, TimeoutError) else "no connection")
            what = f"{self.shown} cannot be reached: {reason}."
            step = "Check the URL, and that a server runs there."
            raise InfraError("server-unreachable", what, next_step=step) from None
        return made

    def _see_proof(self, made: http.client.HTTPConnection) -> None:
        """Let the server show that it knows the token, before it is sent one: any local user can take a free port."""
        which, key = which_and_key(self._token)
        nonce = secrets.token_hex(16)
        try:
            made.request("GET", self.beside(f"{PATH}?token={which}&nonce={nonce}"))
            response = made.getresponse()
            body = response.read(_LONGEST_PROOF)
            shown = json.loads(body)["proof"] if response.status == http.client.OK else ""
            proven = isinstance(shown, str) and hmac.compare_digest(shown.encode(), prove(key, nonce).encode())
        except (http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError):
            response, proven = None, False
        except OSError:
            made.close()
            raise
        if not proven:
            made.close()
            known = response is None or response.status != _MISSING
            what = f"{self.shown} does not show that it knows the token, so it was not sent the token."
            step = "Check the token, the URL, and that your infra-mcp server has that port."
            raise InfraError("server-unreachable" if known else "unauthenticated", what, next_step=step)

    def refusal(self, status: int, answer: dict[str, Any]) -> InfraError:
        """What an HTTP status other than success means, where its body is no frame."""
        if isinstance(code := answer.get("code"), str) and code in CODES:
            return InfraError.from_data(answer)
        if status == _UNAUTHENTICATED:
            return InfraError("unauthenticated", f"{self.shown} does not take the token.")
        if http.client.MULTIPLE_CHOICES <= status < http.client.BAD_REQUEST:
            what = f"{self.shown} sends the caller elsewhere; with a token that is not followed."
            return InfraError("server-unreachable", what, next_step="Give the server's own URL.")
        what = f"{self.shown} answers with HTTP {status}."
        if status == _MISSING:
            what = f"There is no MCP endpoint at {self.shown}."
        return InfraError("server-unreachable", what, next_step="Check the URL; it usually ends in /mcp.")


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise InfraError("invalid-argument", "The URL is not one of http or https.", next_step="e.g. https://HOST/mcp")
    if parts.username is not None or parts.password is not None or parts.fragment:
        what = "The URL carries a name, a password or a fragment."
        raise InfraError("invalid-argument", what, next_step="Leave it out; the token comes from INFRA_MCP_TOKEN.")
    if parts.scheme == "http" and host != "localhost" and not _loopback(host):
        what = "With http the token could be read on the way; it is taken for this machine only."
        raise InfraError("invalid-argument", what, next_step="Use https, or a tunnel to 127.0.0.1.")
    return parts


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
