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
import threading
import time
from contextlib import suppress
from typing import Any

from infra_mcp.cli.conversation import MAX_LINE, Conversation, Lines, error_frame, parsed, subject
from infra_mcp.cli.endpoint import Endpoint
from infra_mcp.cli.failures import failure, lost_answer, report
from infra_mcp.cli.session import Flight, Session, SessionGoneError, events, stated_version
from infra_mcp.errors import InfraError

_PIECE = 65_536
_PAUSE = 1.0  # seconds before the server's own stream is opened again


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
            self._tell(*lines.refusals())
        with self._lock:
            flights = list(self._flights.values())
        for flight in flights:
            flight.cut()
        if self._http.id is not None:
            self._send("DELETE", None)

    def _take(self, line: bytes) -> None:
        if parsed(line) is None:
            self._tell(error_frame(None, failure("invalid-argument", "The line is not a JSON-RPC message.")))
            return
        with self._lock:
            frame = parsed(self._conversation.to_server(line) or b"")
        if frame is None:
            return
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
        flight = self._flights.get(json.dumps(subject(frame)))
        if flight is None or not flight.modern:
            return False
        flight.cut()
        return True

    def _request(self, frame: dict[str, Any], flight: Flight) -> None:
        try:
            try:
                self._ask(frame, flight)
            except SessionGoneError:
                self._renew(frame)
                self._ask(frame, flight)
        except (InfraError, OSError, SessionGoneError) as error:
            if not flight.cancelled:
                # reported first: the host may end this process once it has its answer
                reported = report(error if isinstance(error, InfraError) else lost_answer())
                self._tell(error_frame(frame["id"], reported))
        finally:
            key = json.dumps(frame["id"])
            with self._lock:
                if self._flights.get(key) is flight:
                    del self._flights[key]

    def _ask(self, frame: dict[str, Any], flight: Flight) -> None:
        for line, _ in self._http.answers(frame, flight):
            self._tell(line)

    def _renew(self, asked: dict[str, Any]) -> None:
        """Open the host's session anew; requests that still wait in the old one have lost their answer.

        Raises:
            InfraError: `server-unreachable`, when the server does not open it.
        """
        lost = self._http.id
        with self._renewing:
            if self._http.id != lost:
                return  # another request found out before
            error = lost_answer("The server does not know the session any more; what was asked in it may go on.")
            with self._lock:
                opening, ready = self._conversation.opening(), self._conversation.ready()
                for line in self._conversation.lost(error, keep=asked["id"]):
                    self._write(line)
            if opening is None:
                raise error
            self._http.id = self._http.version = None
            answers = self._http.answers(opening, Flight())
            answer = next(frame for _, frame in answers if "method" not in frame)
            if not isinstance(answer.get("result"), dict):
                raise error
            if ready is not None:
                self._send("POST", parsed(ready))
                self._listen()

    def _listen(self) -> None:
        """Hand on what the server says of its own accord in a session of the 2025 era, as long as that lasts."""
        if self._http.id is not None:
            threading.Thread(target=self._hear, args=(self._http.id,), daemon=True).start()

    def _hear(self, session: str) -> None:
        with suppress(OSError, InfraError):  # the next request finds out what became of the server
            while session == self._http.id:
                with self._http.request("GET", None, Flight()) as response:
                    if response.status != http.client.OK:
                        return
                    for data in events(response):
                        self._tell(b" ".join(data.split(b"\n")))
                time.sleep(_PAUSE)

    def _send(self, method: str, frame: dict[str, Any] | None) -> None:
        """Send what has no answer; where that fails, the next request tells."""
        with suppress(OSError, InfraError), self._http.request(method, frame, Flight()) as response:
            response.read(_PIECE)

    def _tell(self, *lines: bytes) -> None:
        with self._lock:
            for line in lines:
                if self._conversation.expects(line):
                    self._write(self._conversation.to_host(line))

    def _write(self, line: bytes) -> None:
        left = memoryview(line + b"\n")
        try:
            while left:
                left = left[os.write(self._stdout, left) :]
        except OSError:  # the host has closed its end: all threads end
            os._exit(0)
