"""The door of the dashboard: `/dashboard/…` of the HTTP channel.

`open/TOKEN` begins a session, `static/…` is for everyone, and everything else is a session's: `KEY/PAGE`, and
`KEY/PAGE.json` for the same as data. No bearer token counts here. What a page says goes out masked.
"""

from __future__ import annotations

import csv
import io
import logging
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.resources import files
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote

import anyio.to_thread
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from infra_mcp.dashboard import live
from infra_mcp.dashboard.guard import HEADERS, check_look, check_post, form_of
from infra_mcp.dashboard.look import PAGES, Look, Page
from infra_mcp.dashboard.sessions import LINK_SECONDS, SESSION_SECONDS, Session, Sessions
from infra_mcp.errors import InfraError
from infra_mcp.server.auth import again, principal_of
from infra_mcp.text import visible

if TYPE_CHECKING:
    from starlette.requests import Request

    from infra_mcp.model.peer import Caller
    from infra_mcp.server.operator import Operator
    from infra_mcp.server.tools.call import Service

log = logging.getLogger("infra_mcp.dashboard")

PATH: Final = "/dashboard"
COOKIE: Final = "infra-mcp"
_KINDS: Final = {"dashboard.css": "text/css", "dashboard.js": "text/javascript", "icon.svg": "image/svg+xml"}
_STATUS: Final = {
    "policy-denied": 403,
    "unauthenticated": 403,
    "not-found": 404,
    "approval-mismatch": 409,
    "invalid-argument": 400,
    "internal": 500,
}
_UNAVAILABLE: Final = 503


class Dashboard:
    """The pages of one server, and the way into them.

    Args:
        service: what the channels share.
        operator: the operator's methods.
        base: the server's address, `http://127.0.0.1:PORT`.
        sessions: where sessions are kept.
    """

    def __init__(self, service: Service, operator: Operator, base: str, sessions: Sessions | None = None) -> None:
        self._service = service
        self._operator = operator
        self._base = base
        self.sessions = sessions or Sessions()

    async def open(self, caller: Caller, page: str) -> dict[str, Any]:
        """A link for this caller of the socket; it opens one session at a page, once.

        Raises:
            InfraError: `not-found` for a page that there is not.
        """
        page = quote(page, safe="/?=&%+*")
        if _page(page.partition("?")[0].split("/")) is None:
            raise InfraError("not-found", f"There is no page {page}.", next_step="Leave it out for the first page.")
        token = self.sessions.link(caller, again(self._service.credentials), page)
        return {"url": f"{self._base}{PATH}/open/{token}", "seconds": int(LINK_SECONDS)}

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        path = [part for part in request.path_params["rest"].split("/") if part]
        data = bool(path) and path[-1].endswith(".json")
        session: Session | None = None
        try:
            check_look(request)
            if path[:1] == ["static"]:
                return await _static(path[1:])
            if path[:1] == ["open"]:
                return await self._enter(path[1:])
            session = await self.sessions.find(path[0] if path else "", request.cookies.get(COOKIE, ""))
            if session is None:
                return await self._failed(_no_session(), None, data=data)
            with self._at_work(request, session):
                return await self._session(request, session, path[1:])
        except InfraError as error:
            return await self._failed(error, session, data=data)
        except Exception as error:  # noqa: BLE001 - the last wall: the page says no more than that
            frames = "".join(traceback.format_tb(error.__traceback__)[-6:])
            log.error("a page failed unexpectedly: %s\n%s", type(error).__name__, frames)  # noqa: TRY400 - no values
            return await self._failed(InfraError("internal", "Internal error; see the log."), session, data=data)

    @contextmanager
    def _at_work(self, request: Request, session: Session) -> Iterator[None]:
        """Keep the connection while the page is made."""
        place = request.scope.get("state", {}).get("place")
        if place is None:  # no connection of ours, as in a test of the application alone
            yield
            return
        if not place.take(f"dashboard {principal_of(session.caller)}"):
            raise InfraError("too-many", "Too many pages are under way.")
        with place.call():
            yield

    async def _enter(self, path: list[str]) -> Response:
        entered = await self.sessions.enter(path[0]) if len(path) == 1 else None
        if entered is None:
            raise _no_session()
        session, cookie, page = entered
        # A page of ours and no redirect: a strict cookie does not go along where another site's link began.
        response = await self._html("enter.html", {"to": f"{PATH}/{session.key}/{page}", "title": "Welcome"})
        response.set_cookie(
            COOKIE, cookie, max_age=int(SESSION_SECONDS), path=f"{PATH}/{session.key}", httponly=True, samesite="strict"
        )
        return response

    async def _session(self, request: Request, session: Session, path: list[str]) -> Response:
        if request.method == "POST":
            check_post(request)
            return await self._posted(request, session, path)
        if not path:
            return RedirectResponse(f"{PATH}/{session.key}/{next(iter(PAGES))}", 303, HEADERS)
        if path == ["events"]:
            return self._live(request, session)
        return await self._page(request, session, path)

    async def _posted(self, request: Request, session: Session, path: list[str]) -> Response:
        if path == ["leave"]:
            self.sessions.end(session.key)
            return RedirectResponse(f"{PATH}/over", 303, HEADERS)
        module, look, _, given = self._looked(request, session, path)
        if not hasattr(module, "decide"):
            raise InfraError("not-found", "Nothing is decided on this page.")
        sent = parse_qs((await form_of(request)).decode("utf-8", "replace"), keep_blank_values=True)
        if await self.sessions.find(session.key, request.cookies.get(COOKIE, "")) is None:  # it ended as the form came
            raise _no_session()
        to = await module.decide(look, {name: values[-1] for name, values in sent.items()}, *given)
        return RedirectResponse(f"{PATH}/{session.key}/{to}", 303, HEADERS)

    async def _page(self, request: Request, session: Session, path: list[str]) -> Response:
        name, _, form = path[-1].rpartition(".")
        if form not in {"json", "csv"}:
            name, form = path[-1], ""
        module, look, page, given = self._looked(request, session, [*path[:-1], name])
        if form == "csv":
            if not hasattr(module, "rows"):
                raise InfraError("not-found", "This page has no table.")
            rows = self._service.engine.masker.mask_json(await module.rows(look))
            return Response(_csv(rows), 200, HEADERS, "text/csv; charset=utf-8")
        values = self._masked(await module.read(look, *given))
        if form == "json":
            return JSONResponse(values, headers=HEADERS)
        frame = await look.frame(page)
        return await self._html(f"{page.module}.html", values | self._masked(frame) | look.forms(values))

    def _looked(self, request: Request, session: Session, path: list[str]) -> tuple[ModuleType, Look, Page, list[str]]:
        """The page of a path: its module, what it may look at, and what the path gives.

        Raises:
            InfraError: `not-found`.
        """
        found = _page(path)
        if found is None:
            raise InfraError("not-found", "There is no such page.", next_step="Begin at the first one.")
        page, given = found
        times = datetime.now(UTC), self.sessions.clock()
        look = Look(self._service, self._operator, session, *times, "/".join(path), request.query_params)
        return import_module(f"infra_mcp.dashboard.pages.{page.module}"), look, page, given

    def _live(self, request: Request, session: Session) -> Response:
        async def valid() -> bool:
            return await self.sessions.find(session.key, request.cookies.get(COOKIE, "")) is not None

        stream = live.events(self._service, live.first(request), valid, self._at_work(request, session))
        return StreamingResponse(stream, 200, HEADERS, "text/event-stream")

    def _masked(self, values: dict[str, Any]) -> dict[str, Any]:
        masked: dict[str, Any] = self._service.engine.masker.mask_json(values)
        return masked

    async def _failed(self, error: InfraError, session: Session | None, *, data: bool) -> Response:
        status = _STATUS.get(error.code, _UNAVAILABLE)
        values = self._masked(error.as_dict())
        if data:
            return JSONResponse(values, status, HEADERS)
        home = f"{PATH}/{session.key}/" if session else ""
        return await self._html("failed.html", values | {"title": "Not done", "home": home}, status)

    async def _html(self, template: str, values: dict[str, Any], status: int = 200) -> Response:
        from infra_mcp.dashboard.render import page  # noqa: PLC0415 - a server that shows no page does without Jinja2

        made = await anyio.to_thread.run_sync(partial(page, template, values))
        return Response(made, status, HEADERS, "text/html; charset=utf-8")


def _no_session() -> InfraError:
    what = "This address has no session: its link was used already, is too old, or the session is over."
    step = "Type `infra-mcp dashboard` on the server's machine; it opens a new one."
    return InfraError("unauthenticated", what, next_step=step)


def _page(path: list[str]) -> tuple[Page, list[str]] | None:
    """The page of a path, and what the path gives for its stars."""
    for pattern, page in PAGES.items():
        parts = pattern.split("/")
        if len(parts) == len(path) and all(one in {"*", part} for one, part in zip(parts, path, strict=True)):
            return page, [part for one, part in zip(parts, path, strict=True) if one == "*"]
    return None


def _csv(rows: Iterable[Iterable[object]]) -> str:
    """Rows as CSV (RFC 4180). What a spreadsheet would take for a formula begins with an apostrophe (OWASP)."""
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rows:
        cells = [visible("" if one is None else str(one)) for one in row]
        writer.writerow([f"'{one}" if one.startswith(("=", "+", "-", "@", "\t")) else one for one in cells])
    return out.getvalue()


async def _static(path: list[str]) -> Response:
    name = path[0] if len(path) == 1 else ""
    if name not in _KINDS:
        raise InfraError("not-found", "There is no such file.")
    content = await anyio.to_thread.run_sync(files("infra_mcp.dashboard").joinpath("static", name).read_bytes)
    return Response(content, 200, HEADERS, _KINDS[name])
