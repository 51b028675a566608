"""The bridge: a host's standard input and output on one side, a server elsewhere on the other, over streamable HTTP.

Standard library only; each request of the host's is a POST in a thread of its own, so that slow ones hold up nothing.
Of the 2026 era each request stands for itself, and cancelling one ends its connection. Of the 2025 era there is a
session: when the server no longer knows it, it is opened anew with the host's own `initialize`, and the request that
found out is sent again, since a server that does not know the session has not looked at it.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
from typing import Any, NoReturn

from infra_mcp.cli.conversation import Conversation, Lines, error_frame, parsed
from infra_mcp.cli.endpoint import MAX_ANSWER, Endpoint, events
from infra_mcp.cli.session import Flight, Session, stated_version
from infra_mcp.cli.splice import MAX_LINE
from infra_mcp.errors import InfraError

_PIECE = 65_536
_LONGEST_ERROR = 64 * 1024  # bytes of the body of an error
_PAUSE = 1.0  # seconds before the server's own stream is opened again
_MISSING = 404


class _SessionGoneError(Exception):
    """The server does not know the session any more."""


def bridge(url: str, token: str | None) -> int:
    """Bridge until the host ends it.

    Args:
        url: https, or http on loopback.
        token: of the peer to be.

    Raises:
        InfraError: `unauthenticated` without a token, `invalid-argument` for a URL that it may not be sent to.
    """
    if token is None:
        what = "A server is called by its URL with a peer's token, and none is given."
        raise InfraError("unauthenticated", what, next_step="Set INFRA_MCP_TOKEN, or name a file: --token-file.")
    Bridge(Endpoint(url, token)).run()
    return 0


class Bridge:
    """One host's conversation with a server elsewhere.

    Args:
        endpoint: the server's.
        host: the descriptors to read the host from and to write to it.
    """

    def __init__(self, endpoint: Endpoint, host: tuple[int, int] = (0, 1)) -> None:
        self._http = Session(endpoint)
        self._stdin, self._stdout = host
        self._conversation = Conversation()
        self._lock = threading.RLock()  # for what the threads share: the conversation, the flights, standard output
        self._flights: dict[str, Flight] = {}
        self._renewing = threading.Lock()

    def run(self) -> None:
        """Read the host's lines until it ends, then end the session."""
        lines = Lines(MAX_LINE)
        while piece := os.read(self._stdin, _PIECE):
            for line in lines.feed(piece):
                self._take(line)
            if lines.too_long():
                told = f"invalid-argument: A line is longer than {MAX_LINE} bytes."
                self._tell(error_frame(None, told, {"code": "invalid-argument"}))
        with self._lock:
            flights = list(self._flights.values())
        for flight in flights:
            flight.cut()
        if self._http.id is not None:
            self._send("DELETE", None)

    def _take(self, line: bytes) -> None:
        frame = parsed(line)
        if frame is None:
            self._tell(error_frame(None, "invalid-argument: The line is not a JSON-RPC message.", {}))
            return
        with self._lock:
            for_server = self._conversation.to_server(line)
        if for_server is None:
            return
        frame = parsed(for_server) or frame
        if "method" in frame and frame.get("id") is not None:
            flight = Flight(modern=stated_version(frame) is not None)
            with self._lock:
                self._flights[json.dumps(frame["id"])] = flight
            threading.Thread(target=self._request, args=(frame, flight), daemon=True).start()
        elif frame.get("method") != "notifications/cancelled" or not self._cut(frame):
            self._send("POST", frame)
            if frame.get("method") == "notifications/initialized":
                self._listen()

    def _cut(self, frame: dict[str, Any]) -> bool:
        """Whether a cancelled request was of the era in which ending its connection is how to cancel."""
        params = frame.get("params")
        flight = self._flights.get(json.dumps(params.get("requestId") if isinstance(params, dict) else None))
        if flight is None or not flight.modern:
            return False
        flight.cut()
        return True

    def _request(self, frame: dict[str, Any], flight: Flight) -> None:
        key = json.dumps(frame["id"])
        try:
            try:
                self._ask(frame, flight)
            except _SessionGoneError:
                self._renew(frame)
                self._ask(frame, flight)
        except InfraError as error:
            self._fail(frame, flight, error)
        except (OSError, http.client.HTTPException, ValueError, _SessionGoneError):
            what = "The server ended before it answered; what was asked may go on."
            next_step = "Look before sending it again: get_request(id), or search_audit for what was asked last."
            self._fail(frame, flight, InfraError("server-unreachable", what, next_step=next_step))
        finally:
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]

    def _ask(self, frame: dict[str, Any], flight: Flight) -> None:
        """Post a request and hand on what comes until its answer.

        Raises:
            InfraError: what the endpoint refuses it with.
            _SessionGoneError: the server does not know the session.
            OSError: the answer did not come. Also HTTPException and ValueError.
        """
        connection, response = self._http.exchange("POST", frame, flight)
        kind = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        if response.status == http.client.OK and kind == "text/event-stream":
            for data in events(response):
                if data and self._heard(data, frame, response):
                    response.read(_LONGEST_ERROR)  # to the end, so that the connection can be used again
                    self._http.done(connection)
                    return
            raise ConnectionResetError
        body = response.read(MAX_ANSWER if response.status == http.client.OK else _LONGEST_ERROR)
        self._http.done(connection)
        if response.status == _MISSING and self._http.id is not None and not flight.modern:
            raise _SessionGoneError
        answer = parsed(body) if kind == "application/json" else None
        if answer is None or not ("result" in answer or isinstance(answer.get("error"), dict)):
            raise self._http.endpoint.refusal(response.status)
        self._heard(json.dumps(answer | {"id": frame["id"]}).encode(), frame, response)

    def _heard(self, data: bytes, asked: dict[str, Any], response: http.client.HTTPResponse) -> bool:
        """Hand a frame on to the host; whether it was the answer."""
        frame = parsed(data)
        if frame is None:
            raise ValueError
        answer = "method" not in frame and frame.get("id") == asked["id"]
        if answer and asked["method"] == "initialize" and isinstance(frame.get("result"), dict):
            self._begin(frame["result"], response)
        self._tell(b" ".join(data.split(b"\n")))
        return answer

    def _renew(self, asked: dict[str, Any]) -> None:
        """Open the host's session anew; requests that still wait in the old one have lost their answer.

        Raises:
            InfraError: `server-unreachable`, when the server does not open it.
        """
        lost = self._http.id
        with self._renewing:
            if self._http.id != lost:
                return  # another request found out before
            what = "The server does not know the session any more; what was asked in it may go on."
            error = InfraError("server-unreachable", what, next_step="Look before sending it again: get_request(id).")
            with self._lock:
                opening, ready = self._conversation.opening(), self._conversation.ready()
                for line in self._conversation.lost(str(error), error.as_dict(), keep=asked["id"]):
                    self._write(line)
            if opening is None:
                raise error
            self._http.id = self._http.version = None
            _, response = self._http.exchange("POST", opening, Flight())
            streamed = "event-stream" in (response.getheader("Content-Type") or "")
            for data in events(response) if streamed else [response.read(MAX_ANSWER)]:
                result = (parsed(data) or {}).get("result")
                if isinstance(result, dict):
                    self._begin(result, response)
                    break
            else:
                raise error
            if ready is not None:
                self._send("POST", parsed(ready))
                self._listen()

    def _begin(self, result: dict[str, Any], response: http.client.HTTPResponse) -> None:
        """A session has begun: every request of it names it from now on."""
        self._http.id = response.getheader("Mcp-Session-Id")
        self._http.version = str(result.get("protocolVersion"))

    def _listen(self) -> None:
        """Hand on what the server says by itself in a session of the 2025 era, as long as that lasts."""
        if self._http.id is not None:
            threading.Thread(target=self._hear, args=(self._http.id,), daemon=True).start()

    def _hear(self, session: str) -> None:
        while session == self._http.id:
            try:
                _, response = self._http.exchange("GET", None, Flight())
                if response.status != http.client.OK:
                    return
                for data in events(response):
                    if data:
                        self._tell(b" ".join(data.split(b"\n")))
            except (OSError, http.client.HTTPException, ValueError, InfraError):
                return  # the next request finds out what became of the server
            time.sleep(_PAUSE)

    def _send(self, method: str, frame: dict[str, Any] | None) -> None:
        """Send what has no answer; where that fails, the next request tells."""
        try:
            connection, response = self._http.exchange(method, frame, Flight())
            response.read(_LONGEST_ERROR)
            self._http.done(connection)
        except (OSError, http.client.HTTPException, InfraError):
            return

    def _fail(self, frame: dict[str, Any], flight: Flight, error: InfraError) -> None:
        if flight.cancelled:
            return
        self._tell(error_frame(frame["id"], str(error), error.as_dict() | {"exit": int(error.exit)}))
        print(f"{error.code}: {error.what}\n  {error.next_step}", file=sys.stderr, flush=True)

    def _tell(self, line: bytes) -> None:
        with self._lock:
            if self._conversation.expects(line):
                self._write(self._conversation.to_host(line))

    def _write(self, line: bytes) -> None:
        left = memoryview(line + b"\n")
        try:
            while left:
                left = left[os.write(self._stdout, left) :]
        except OSError:
            _gone()


def _gone() -> NoReturn:
    """The host has closed its end: nobody is left to speak for, in whichever thread that shows."""
    os._exit(0)
