"""The splice: a host's standard input and output on one side, the server's unix socket on the other.

Standard library only, one thread, whole lines. It reads from a side only as fast as the other one takes it. When the
server goes, requests without an answer get an error that says so, and the conversation goes on with the next server:
at once when something was under way, since that server continues it, and else with the host's next line, so that a
server that was stopped stays stopped until it is needed.
"""

from __future__ import annotations

import json
import os
import select
import socket
from collections import deque

from infra_mcp.cli.conversation import MAX_LINE, Conversation, Lines, error_frame, parsed
from infra_mcp.cli.failures import lost_answer, report

TYPE_CHECKING = False  # as type checkers know it; typing takes 5 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PIECE = 65_536  # bytes read at once, and held for a side that does not take them
_WHOLE = 4096  # bytes that a pipe which can be written takes without blocking (PIPE_BUF on Linux)


class Link:
    """A connection to a server.

    Args:
        connection: a connected socket.
        patience: seconds a server may take for an answer while the connection is being opened.
    """

    def __init__(self, connection: socket.socket, patience: float) -> None:
        connection.settimeout(patience)
        self.connection = connection
        self.lines = Lines()
        self.early: list[bytes] = []  # lines that came while another one was waited for
        self.outgoing = bytearray()
        self.deaf = False  # it takes nothing any more; what it sent before is still to be read

    def exchange(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Send a request and wait for its answer; None when the server ends the connection instead.

        Raises:
            TimeoutError: it does neither.
        """
        try:
            self.connection.sendall(json.dumps(request).encode() + b"\n")
            while piece := self.connection.recv(_PIECE):
                for line in self.lines.feed(piece):
                    frame = parsed(line)
                    if frame is not None and "method" not in frame and frame.get("id") == request["id"]:
                        return frame
                    self.early.append(line)
        except TimeoutError:
            raise
        except OSError:
            return None
        return None

    def end(self) -> None:
        """Send nothing more, and go on reading."""
        self.deaf = True
        try:
            self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it is gone already, which the next read finds out


class Splice:
    """One host's conversation.

    Args:
        dial: connects to a server, opens the conversation with it, and returns the connection.
        host: the descriptors to read the host from and to write to it.
    """

    def __init__(self, dial: Callable[[Conversation], Link], host: tuple[int, int] = (0, 1)) -> None:
        self._dial = dial
        self._stdin, self._stdout = host
        self._conversation = Conversation()
        self._link: Link | None = None
        self._lines = Lines(MAX_LINE)
        self._queue: deque[bytes] = deque()  # lines of the host that no server has got
        self._to_host = bytearray()
        self._over = False  # the host has ended its input
        self._eager = False  # something was under way when the server went

    def run(self) -> None:
        """Splice until the host ends it.

        Raises:
            Exception: what `dial` raises for the first connection.
        """
        self._take(self._dial(self._conversation))
        try:
            self._splice()
        finally:
            if self._link is not None:
                self._link.connection.close()

    def _splice(self) -> None:
        while not self._over or self._link is not None or self._to_host:
            if self._link is None and not self._to_host and (self._queue or self._eager):
                self._redial()
                continue
            self._fill()
            readable, writable = self._ready()
            try:
                if self._stdout in writable:
                    self._write()
            except (BrokenPipeError, ConnectionResetError):
                return  # the host has gone
            if self._link is not None and self._link.connection in writable:
                self._send(self._link)
            if self._link is not None and self._link.connection in readable:
                self._receive(self._link)
            if self._stdin in readable:
                self._read()

    def _ready(self) -> tuple[list[Any], list[Any]]:
        """What can be read from and written to, once something can be."""
        link = self._link
        sources: list[Any] = []
        sinks: list[Any] = [self._stdout] if self._to_host else []
        if not self._over and not self._queue and (link is None or not link.outgoing):
            sources.append(self._stdin)
        if link is not None and len(self._to_host) < _PIECE:
            sources.append(link.connection)
        if link is not None and link.outgoing:
            sinks.append(link.connection)
        return select.select(sources, sinks, [])[:2]

    def _fill(self) -> None:
        """Hand the next lines to the server, and the end when the host has ended."""
        link = self._link
        if link is None or link.deaf:
            return
        while self._queue and len(link.outgoing) < _PIECE:
            line = self._conversation.to_server(self._queue.popleft())
            if line is not None:
                link.outgoing += line + b"\n"
        if self._over and not self._queue and not link.outgoing:
            link.end()

    def _read(self) -> None:
        try:
            piece = os.read(self._stdin, _PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""  # a terminal that hung up
        if piece:
            self._queue.extend(self._lines.feed(piece))
            for line in self._lines.refusals():
                self._to_host += line + b"\n"
            return
        self._over = True
        if self._lines.rest.strip():
            self._queue.append(self._lines.rest)

    def _write(self) -> None:
        try:
            written = os.write(self._stdout, self._to_host[:_WHOLE])
        except BlockingIOError:
            return
        del self._to_host[:written]

    def _send(self, link: Link) -> None:
        try:
            sent = link.connection.send(link.outgoing)
        except BlockingIOError:
            return
        except OSError:
            link.outgoing.clear()
            link.deaf = True
            return
        del link.outgoing[:sent]

    def _receive(self, link: Link) -> None:
        try:
            piece = link.connection.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        for line in link.lines.feed(piece):
            self._to_host += self._conversation.to_host(line) + b"\n"
        if piece:
            return
        link.connection.close()
        self._link = None
        if not self._over:
            self._eager = self._conversation.waits
            for line in self._conversation.lost(lost_answer()):
                self._to_host += line + b"\n"

    def _take(self, link: Link) -> None:
        link.connection.setblocking(False)
        for line in link.early:
            self._to_host += self._conversation.to_host(line) + b"\n"
        self._link = link

    def _redial(self) -> None:
        self._eager = False
        try:
            self._take(self._dial(self._conversation))
        except Exception as error:  # noqa: BLE001 - reported to the host; the next line tries again
            reported = report(error)
            while self._queue:
                frame = parsed(self._queue.popleft())
                if frame is not None and "method" in frame and frame.get("id") is not None:
                    self._to_host += error_frame(frame["id"], reported) + b"\n"
