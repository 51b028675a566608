"""Requests to one API server: JSON in, JSON out, with only the retries that are safe.

- Reads and dry runs are tried again after 429, 502, 503, 504 (reads after any 5xx) and broken connections, a few times.
- Writes are sent again only after 429, which means that they were not executed. When the connection breaks under a
  write, or a 5xx comes back, the outcome is unknown and the error says so.
- 401 renews the credential once, then the request is sent again; it was not executed.

Importing this module imports `kubernetes` and aiohttp: see `credentials`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlencode

import aiohttp
import anyio
from anyio import to_thread

from infra_mcp.clients.kube.credentials import Login
from infra_mcp.clients.kube.errors import KubeError
from infra_mcp.errors import InfraError
from infra_mcp.text import one_line, quoted

Kind = Literal["read", "dry-run", "write"]

PAUSES = (0.1, 0.3, 1.0)  # seconds between tries
MAX_WAIT = 10.0  # seconds; a longer Retry-After is not waited for
MAX_BUSY = 5  # how often a 429 is waited for
RENEW_BEFORE = 60.0  # seconds before its end that a credential is renewed
MAX_CLOSE = 2.0  # seconds; a plain connection with something left to send may never close
TEXT = "text/plain, application/json"  # of what is no JSON: a log
MAX_WARNINGS = 20  # of one answer
_MAX_WARNING = 1000  # characters of one
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"(?: ".*")?')
LARGE = 200_000  # bytes from which JSON is parsed in a thread
_TRANSIENT = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
_NO_API_SERVER = "the server that answers there is not an API server"
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientProxyConnectionError)


@dataclass(frozen=True)
class Timeouts:
    """Seconds. The server gives a write up (`?timeout=`) before we stop waiting, so that none lands later."""

    connect: float = 5.0
    read: float = 15.0
    write: float = 30.0
    quiet: float = 75.0  # how long a watch may be silent; the server's bookmarks come about once a minute


class Transport:
    """The connections to one API server, shared by all its callers."""

    def __init__(self, login: Login, renew: Callable[[], Awaitable[Login]], timeouts: Timeouts) -> None:
        self._login = login
        self._renew = renew
        self._renewed = time.monotonic()
        self._renewing = anyio.Lock()
        self._retired: list[Any] = []
        self._timeouts = timeouts
        self.ahead: float | None = None  # seconds by which the server's clock was ahead at its last answer

    @property
    def expires(self) -> float | None:
        """When the login ends, in seconds since 1970, where its plugin or its token says so."""
        return self._login.expires

    async def aclose(self) -> None:
        """Close all connections, also for a cancelled caller; requests under way fail."""
        with anyio.move_on_after(MAX_CLOSE, shield=True):
            for rest in (*self._retired, self._login.rest):
                await rest.close()

    async def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        kind: Kind = "read",
        as_user: str | None = None,
        body: dict[str, Any] | None = None,
        accept: str = "application/json",
        secret: bool = False,
        warn: Callable[[str], None] | None = None,
    ) -> tuple[Any, int]:
        """Send one request; returns the parsed body, and the HTTP status.

        Args:
            method: the HTTP method; PATCH is always server-side apply here.
            path: path below the host, quoted.
            params: query parameters.
            kind: decides the retries; see the module.
            as_user: the service account to impersonate, as a full user name; None: the server's own identity.
            body: sent as JSON.
            accept: the media type to ask for; `TEXT` for an answer that is no JSON.
            secret: a Secret is addressed, so the texts of errors are dropped.
            warn: gets each warning of the good answer to a dry run, as one cleaned line.

        Raises:
            KubeError: everything else than 2xx, and no answer at all (status 0).
        """
        limits, timeout = self._limits(kind)
        url = _url(path, {**(params or {}), **timeout})
        form = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        content = {"Accept": accept, "Content-Type": form}
        login = await self._current_login()
        renewed, tries, busy = False, 0, 0
        while True:
            try:
                opened = await _send(login, method, url, limits, as_user, content, body)
                status, data = opened.status, await opened.read()
                self.ahead = _ahead(opened.headers.get("Date"))
            except (aiohttp.ClientError, TimeoutError, OSError) as broken:
                sent = not isinstance(broken, _NOT_SENT)
                if kind == "write" or tries >= len(PAUSES):
                    raise _no_answer(broken, unknown=sent and kind == "write") from broken
                await anyio.sleep(PAUSES[tries])
                tries += 1
                continue
            if status < HTTPStatus.MULTIPLE_CHOICES:
                _pass_on(opened.headers, warn if kind == "dry-run" and not secret else None)
                return await (_parse(data, unknown=kind == "write") if accept != TEXT else _text(data)), status
            error = KubeError.parse(status, opened.headers, data, secret=secret)
            if status == HTTPStatus.UNAUTHORIZED and not renewed:
                renewed, login = True, await self._renew_after(login)
            elif status == HTTPStatus.TOO_MANY_REQUESTS and busy < MAX_BUSY and (error.retry_after or 0) <= MAX_WAIT:
                if kind == "write" and error.retry_after is None:
                    raise error
                await anyio.sleep(error.retry_after if error.retry_after is not None else PAUSES[-1])
                busy += 1
            elif tries < len(PAUSES) and _may_pass(status, kind):
                await anyio.sleep(PAUSES[tries])
                tries += 1
            elif kind == "write" and status >= HTTPStatus.INTERNAL_SERVER_ERROR and not error.is_invalid:
                raise KubeError(0, "OutcomeUnknown", f"{status} {error.reason}: {quoted(error.message)}") from error
            else:
                raise error

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], *, as_user: str | None, seconds: float
    ) -> AsyncIterator[AsyncGenerator[dict[str, Any]]]:
        """Open a watch and yield its events, without retries.

        Args:
            path: path of the collection.
            params: query parameters.
            as_user: as in `request`.
            seconds: the longest it may stay open.

        Raises:
            KubeError: the watch was refused, or the connection broke or went silent (status 0), also while iterating.
        """
        login = await self._current_login()
        connect, quiet = self._timeouts.connect, self._timeouts.quiet
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=connect, sock_read=quiet)
        response: Any = None
        try:
            for last in (False, True):
                response = (await _send(login, "GET", _url(path, params), limits, as_user)).response
                if response.status == HTTPStatus.OK:
                    break
                error = KubeError.parse(response.status, response.headers, await response.read())
                if last or response.status != HTTPStatus.UNAUTHORIZED:
                    raise error
                login = await self._renew_after(login)
            yield _events(response.content)
        except (aiohttp.ClientError, TimeoutError, OSError) as broken:
            raise _no_answer(broken, unknown=False) from broken
        finally:
            if response is not None:
                response.close()

    def _limits(self, kind: Kind) -> tuple[aiohttp.ClientTimeout, dict[str, str]]:
        limits = self._timeouts
        if kind == "read":
            return aiohttp.ClientTimeout(total=limits.read, sock_connect=limits.connect), {}
        total = limits.write + limits.connect
        return aiohttp.ClientTimeout(total=total, sock_connect=limits.connect), {"timeout": f"{limits.write:g}s"}

    async def login(self) -> Login:
        """The login that requests are sent with now."""
        return await self._current_login()

    async def _current_login(self) -> Login:
        """The login, renewed first when its end is near. A plugin that fails then is asked again at the 401."""
        login = self._login
        near = login.expires is not None and time.time() > login.expires - RENEW_BEFORE
        if near and time.monotonic() > self._renewed + RENEW_BEFORE / 2:
            with suppress(KubeError):
                return await self._renew_after(login)
        return login

    async def _renew_after(self, seen: Login) -> Login:
        """A newer login than `seen`: one task loads it, the others take it."""
        async with self._renewing:
            if self._login is not seen:
                return self._login
            self._renewed = time.monotonic()
            try:
                fresh = await self._renew()
            except InfraError as error:
                raise KubeError(HTTPStatus.UNAUTHORIZED, "Unauthorized", error.what) from error
            if fresh.host != seen.host:
                what = "the kubeconfig's context names another server now; restart to change clusters"
                raise KubeError(HTTPStatus.UNAUTHORIZED, "Unauthorized", what)
            if fresh.tls == seen.tls:
                fresh = replace(fresh, rest=seen.rest)
            else:
                self._retired.append(seen.rest)  # others may be in the middle of a request
            self._login = fresh
            return fresh


def _ahead(date: str | None) -> float | None:
    """Seconds from now to the time in a `Date` header (RFC 9110, 6.6.1), which has whole seconds."""
    try:
        return parsedate_to_datetime(date or "").timestamp() - time.time()
    except ValueError:
        return None


def _may_pass(status: int, kind: Kind) -> bool:
    if kind == "read":
        return status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return kind == "dry-run" and status in _TRANSIENT


def _pass_on(headers: Any, warn: Callable[[str], None] | None) -> None:  # noqa: ANN401 - the library has no types
    """Give the warnings of an answer: `299 - "text"`, of which the text (RFC 7234, section 5.5)."""
    for header in headers.getall("Warning", [])[:MAX_WARNINGS] if warn else ():
        if warn and (found := _WARNING.fullmatch(header)):
            warn(one_line(re.sub(r"\\(.)", r"\1", found[1]), _MAX_WARNING))


def _url(path: str, params: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(params)}" if params else path


async def _send(
    login: Login,
    method: str,
    url: str,
    limits: aiohttp.ClientTimeout,
    as_user: str | None,
    content: Mapping[str, str] | None = None,
    body: dict[str, Any] | None = None,
) -> Any:  # noqa: ANN401 - the library has no types
    headers = {"User-Agent": "infra-mcp", **(content or {})}
    if login.authorization:
        headers["Authorization"] = login.authorization
    if as_user is not None:
        # An empty Impersonate-User header would mean no impersonation at all: the request would run as the server.
        if not as_user.startswith("system:serviceaccount:"):
            what = "only service accounts are impersonated"
            raise ValueError(what)
        headers["Impersonate-User"] = as_user
    return await login.rest.request(method, login.host + url, headers=headers, body=body, _request_timeout=limits)


def _no_answer(broken: Exception, *, unknown: bool) -> KubeError:
    why = "no answer in time" if isinstance(broken, TimeoutError) else one_line(type(broken).__name__)
    if isinstance(broken, aiohttp.ClientConnectorCertificateError):
        why = "its certificate is not the one the kubeconfig trusts"
    elif isinstance(broken, aiohttp.ClientConnectorError) and (number := broken.os_error.errno or 0) > 0:
        why = os.strerror(number)  # the error's own text has the address, which askers need not know
    return KubeError(0, "OutcomeUnknown" if unknown else "Unreachable", why)


async def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


async def _parse(data: bytes, *, unknown: bool) -> dict[str, Any]:
    try:
        found = await to_thread.run_sync(json.loads, data) if len(data) > LARGE else json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise KubeError(0, "OutcomeUnknown" if unknown else "Unreachable", _NO_API_SERVER)
    return found


async def _events(content: aiohttp.StreamReader) -> AsyncGenerator[dict[str, Any]]:
    """The stream's lines, each a watch event. Lines may be longer than the reader's own limit for `readline`."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                event = await _parse(line, unknown=False)
                if not _is_event(event):  # something between us and the API server wrote it
                    raise KubeError(0, "Unreachable", _NO_API_SERVER)
                yield event


def _is_event(event: dict[str, Any]) -> bool:
    """Whether it has a status, or an object with its version and, except in a bookmark, its name."""
    kind, about = event.get("type"), event.get("object")
    if kind == "ERROR" or not isinstance(about, dict):
        return isinstance(about, dict)
    metadata = about.get("metadata")
    needed = {"resourceVersion"} if kind == "BOOKMARK" else {"resourceVersion", "name"}
    return isinstance(metadata, dict) and needed <= set(metadata) and {"apiVersion", "kind"} <= set(about)
