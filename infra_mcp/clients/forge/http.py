"""Requests to one forge's API: JSON in, JSON out, as fast as the forge wants them and no faster.

- The token goes in a header to the forge's own address, and nowhere else: redirects are not followed, and of a link to
  the next page only the query is taken.
- Answers have a largest size and a longest time.
- Reads are tried again after a broken connection and after 5xx. A write is not: whether it was done is unknown then.
- Where the forge asks to wait a moment, it is waited for; for longer, calls fail at once until that time has come.

Importing this module imports aiohttp, which takes some 0.2 s.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import anyio
from anyio import to_thread

from infra_mcp.clients.forge.limits import asked_to_wait
from infra_mcp.clients.token_file import read_token
from infra_mcp.effects import effect
from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.text import one_line, quoted

PAUSES: Final = (0.2, 1.0)  # seconds between the tries of a read
MAX_WAIT: Final = 10.0  # seconds that a call waits where the forge asks for it
MAX_BYTES: Final = 8 * 1024 * 1024  # of one answer
MAX_PAGES: Final = 20
_MAX_WORDS: Final = 600  # characters of what the forge said
_CONNECT, _TOTAL = 10.0, 30.0  # seconds
_CHUNK: Final = 64 * 1024
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientProxyConnectionError)


class Refused(InfraError):  # noqa: N818 - the word for it, as the family's others
    """The forge's refusal of a call, with the HTTP status of its answer."""

    status: int = 0


class _MayPass(Exception):  # noqa: N818 - a signal inside this module
    """A failure that may pass by itself, and whether the request may be sent again."""

    def __init__(self, error: Unavailable, *, again: bool) -> None:
        super().__init__(error)
        self.error = error
        self.again = again


@dataclass(frozen=True)
class Api:
    """Where a forge's API is, and how a request to it looks.

    Args:
        url: every path is below it; without a slash at the end.
        token_file: holds the server's token, readable by its owner only; None sends none.
        scheme: of the header that carries the token.
        headers: sent with every request.
        shown: the forge and the repository, for people.
    """

    url: str
    token_file: Path | None
    scheme: str
    headers: Mapping[str, str]
    shown: str


class Http:
    """The connections to one forge."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._session: aiohttp.ClientSession | None = None
        self._closed_until = 0.0  # of the monotonic clock: the forge wants no request before

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            with anyio.CancelScope(shield=True):
                await self._session.close()
            self._session = None

    async def read(self, path: str, params: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - any JSON value
        """What the forge has at a path.

        Raises:
            Unavailable: `forge-unreachable`.
            Refused: `forge-refused`.
        """
        return (await self._send("GET", path, params, None))[0]

    async def read_if_allowed(self, path: str) -> dict[str, Any] | None:
        """The object at a path, empty for any other value; None where the token may not read it. Raises as `read`."""
        try:
            found = await self.read(path)
        except Refused as error:
            if error.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                return None
            raise
        return found if isinstance(found, dict) else {}

    async def headers(self, path: str) -> Mapping[str, str]:
        """The headers of the answer to a read. Raises as `read`."""
        return (await self._send("GET", path, None, None))[1]

    async def pages(self, path: str, params: Mapping[str, str], within: str = "") -> AsyncGenerator[Any]:
        """The items of a list, page by page, for as long as the caller goes on.

        Args:
            path: of the list.
            params: of its first page.
            within: the key of the list, where it is inside an object.

        Raises:
            Unavailable: `forge-unreachable`.
            Refused: `forge-refused`, also where there are more than `MAX_PAGES` pages.
        """
        query: Mapping[str, str] | None = params
        for _ in range(MAX_PAGES):
            found, headers = await self._send("GET", path, query, None)
            items = found.get(within) if within and isinstance(found, dict) else found
            for item in items if isinstance(items, list) else ():
                yield item
            if (query := _next_page(headers.get("Link", ""))) is None:
                return
        raise Refused("forge-refused", f"{self._api.shown} has more of {path} than {MAX_PAGES} pages.")

    @effect("forge.write")
    async def write(self, method: str, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
        """Change something at the forge; gives its answer.

        Raises:
            Unavailable: `forge-unreachable`; where whether it was done is unknown, the error says so.
            Refused: `forge-refused`.
        """
        return (await self._send(method, path, None, body))[0]

    async def refusal_of_nothing(self, path: str) -> Refused | None:
        """What the forge says to a write without anything in it: it is refused for that, or for a missing right first.

        Raises:
            Unavailable: `forge-unreachable`.
        """
        try:
            await self._send("POST", path, None, {})
        except Refused as error:
            return error
        return None

    async def _send(
        self, method: str, path: str, params: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> tuple[Any, Mapping[str, str]]:
        for pause in (*PAUSES, None):
            await self._wait_until_wanted()
            try:
                return await self._once(method, path, params, body)
            except _MayPass as passing:
                if pause is None or not passing.again:
                    raise passing.error from passing.__cause__
            await anyio.sleep(pause)
        raise AssertionError

    async def _wait_until_wanted(self) -> None:
        wait = self._closed_until - time.monotonic()
        if wait > MAX_WAIT:
            raise self._away(f"asks to wait {wait:.0f} s before the next request")
        await anyio.sleep(max(wait, 0.0))

    async def _once(
        self, method: str, path: str, params: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> tuple[Any, Mapping[str, str]]:
        """Send it once. Raises `_MayPass` for what may be otherwise in a moment."""
        try:
            status, headers, data = await self._exchange(method, path, params, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as broken:
            raise _MayPass(self._away(_why(broken, method)), again=method == "GET") from broken
        if (limited := asked_to_wait(status, headers, data)) is not None:
            self._closed_until = time.monotonic() + limited
            # It was not carried out, whatever the method is.
            raise _MayPass(
                self._away(f"asks to wait {limited:.0f} s before the next request"), again=limited <= MAX_WAIT
            )
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            why = f"answers {status}: {self._words(data)}{_unknown(method)}"
            raise _MayPass(self._away(why), again=method == "GET")
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            raise self._refused(status, headers, data)
        return self._parsed(data, method), headers

    async def _exchange(
        self, method: str, path: str, params: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        url = self._api.url + path + (f"?{urlencode(params)}" if params else "")
        headers = {"User-Agent": "infra-mcp", **self._api.headers}
        if self._api.token_file:
            token = await to_thread.run_sync(read_token, self._api.token_file)
            headers["Authorization"] = f"{self._api.scheme} {token}"
        if self._session is None:
            limits = aiohttp.ClientTimeout(total=_TOTAL, sock_connect=_CONNECT)
            # Its own environment settings would read a person's ~/.netrc; the proxy is named by us.
            self._session = aiohttp.ClientSession(timeout=limits, trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        async with self._session.request(
            method, url, headers=headers, json=body, allow_redirects=False, proxy=_proxy(url)
        ) as answer:
            data = b""
            async for chunk in answer.content.iter_chunked(_CHUNK):
                data += chunk
                if len(data) > MAX_BYTES:
                    raise Refused("forge-refused", f"{self._api.shown}: the answer to {path} is too large.")
            return answer.status, answer.headers, data

    def _parsed(self, data: bytes, method: str) -> Any:  # noqa: ANN401 - any JSON value
        if not data.strip():
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            # A proxy's or a login page's: nothing is known of the forge.
            raise self._away(f"answers with something else than JSON{_unknown(method)}") from None

    def _refused(self, status: int, headers: Mapping[str, str], data: bytes) -> Refused:
        words, step = self._words(data), None
        if status < HTTPStatus.BAD_REQUEST:
            to = urlsplit(headers.get("Location", ""))
            words = quoted(f"it redirects to {to.scheme}://{to.hostname or ''}{to.path}", _MAX_WORDS)
            step = "Name the forge's own address, and the repository's present name, in [forge] of infra.toml."
        elif status == HTTPStatus.UNAUTHORIZED:
            step = f"An operator puts a valid token into {self._api.token_file or 'token_file of [forge]'}."
        elif status == HTTPStatus.NOT_FOUND:
            step = "Check url and repository of [forge] in infra.toml, and that the server's account may read it."
        error = Refused("forge-refused", f"{self._api.shown} answers {status}: {words}.", next_step=step)
        error.status = status
        return error

    def _words(self, data: bytes) -> str:
        """The forge's words in an error's answer, cleaned: both kinds have `message`, GitHub `errors` beside it."""
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            return quoted(data[:4096].decode("utf-8", "replace") or "no further text", _MAX_WORDS)
        said = [str(body.get("message") or "no further text")]
        for one in (found if isinstance(found := body.get("errors"), list) else [])[:10]:
            said.append(str(one.get("message") or one.get("code")) if isinstance(one, dict) else str(one))
        return quoted("; ".join(said), _MAX_WORDS)

    def _away(self, why: str) -> Unavailable:
        return Unavailable("forge-unreachable", f"{self._api.shown} {one_line(why, _MAX_WORDS)}.")


def _why(broken: Exception, method: str) -> str:
    if isinstance(broken, aiohttp.ClientConnectorCertificateError):
        return "has a certificate that this machine does not trust"
    if isinstance(broken, _NOT_SENT):
        return "cannot be reached"
    if isinstance(broken, TimeoutError):
        return f"did not answer in time{_unknown(method)}"
    return f"broke the connection{_unknown(method)}"


def _unknown(method: str) -> str:
    return "" if method == "GET" else "; whether it did what was asked is unknown"


def _next_page(link: str) -> dict[str, str] | None:
    """The query of the next page in a Link header (RFC 8288); None on the last page."""
    for part in link.split(","):
        target, *rest = part.split(";")
        if any(word.strip().replace('"', "") == "rel=next" for word in rest):
            return dict(parse_qsl(urlsplit(target.strip(" <>")).query))
    return None


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for an address, as for git."""
    parts = urlsplit(url)
    if parts.hostname and not proxy_bypass(parts.hostname):
        return getproxies().get(parts.scheme)
    return None
