"""The splice between a host's pipes and servers that come and go, with sockets and pipes and no server of ours."""

from __future__ import annotations

import array
import fcntl
import json
import os
import queue
import select
import socket
import termios
import threading
from contextlib import contextmanager

import pytest
from server_process import wait_until

from infra_mcp.cli.conversation import MAX_LINE
from infra_mcp.cli.splice import Link, Splice
from infra_mcp.errors import InfraError

DEADLINE = 20.0


class Rig:
    """A splice in a thread, with the host's ends of its pipes, and each server's end as it is dialled."""

    def __init__(self):
        (hosts_out, self.write), (self.read, hosts_in) = os.pipe(), os.pipe()
        self.servers = queue.Queue()
        self.failures = []  # what the next dials raise
        self.ended = threading.Event()
        self._pipes = (hosts_out, hosts_in)
        self._thread = threading.Thread(target=self._run, args=(hosts_out, hosts_in), daemon=True)
        self._thread.start()
        self._buffer = b""

    def _run(self, stdin, stdout):
        Splice(self._dial, (stdin, stdout)).run()
        self.ended.set()

    def _dial(self, conversation):  # noqa: ARG002 - as the real one is called
        if self.failures:
            raise self.failures.pop()
        ours, theirs = socket.socketpair()
        theirs.settimeout(DEADLINE)
        self.servers.put(theirs)
        return Link(ours, DEADLINE)

    def server(self):
        return self.servers.get(timeout=DEADLINE)

    def say(self, *frames):
        for frame in frames:
            left = memoryview((frame if isinstance(frame, bytes) else json.dumps(frame).encode()) + b"\n")
            while left:
                left = left[os.write(self.write, left) :]

    def give(self, piece):
        """Write, and wait until the splice has read it."""
        os.write(self.write, piece)
        left = array.array("i", [1])
        wait_until(lambda: fcntl.ioctl(self.write, termios.FIONREAD, left) == 0 and left[0] == 0)

    def hear(self):
        while b"\n" not in self._buffer:
            assert select.select([self.read], [], [], DEADLINE)[0]
            self._buffer += os.read(self.read, 1 << 20)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def end(self):
        if self.write is not None:
            os.close(self.write)
            self.write = None


@contextmanager
def rig():
    made = Rig()
    try:
        yield made
    finally:
        made.end()
        while not made.servers.empty():
            made.servers.get().close()


def received(server):
    """The next line at a server's end."""
    line = b""
    while not line.endswith(b"\n"):
        part = server.recv(1)
        assert part, "the splice ended the connection"
        line += part
    return json.loads(line)


def reply(server, frame):
    server.sendall(json.dumps(frame).encode() + b"\n")


def request(identity, method="tools/call"):
    return {"jsonrpc": "2.0", "id": identity, "method": method}


def test_frames_of_megabytes_pass_both_ways_unchanged():
    with rig() as at:
        server, got = at.server(), []
        big = request(1) | {"params": {"text": "é" * 1_000_000}}
        reader = threading.Thread(target=lambda: got.append(json.loads(server.makefile("rb").readline())))
        reader.start()
        at.say(big)
        reader.join(DEADLINE)
        threading.Thread(target=reply, args=(server, {"id": 1, "result": big})).start()

        assert got == [big]
        assert at.hear() == {"id": 1, "result": big}
        server.close()


def test_the_host_is_read_no_faster_than_the_server_reads():
    with rig() as at:
        server, frame, sent = at.server(), json.dumps(request(1) | {"params": "x" * 50_000}).encode() + b"\n", 0
        os.set_blocking(at.write, False)
        while select.select([], [at.write], [], 1.0)[1] and sent < (64 << 20):
            sent += os.write(at.write, frame[sent % len(frame) :])

        assert sent < 4 << 20
        got, passed = b"", 0
        while passed < sent // len(frame):
            got += server.recv(1 << 20)
            passed += got.count(b"\n")
            got = got.rpartition(b"\n")[2]
        server.close()


def test_the_server_is_read_no_faster_than_the_host_reads():
    with rig() as at:
        server, frame, sent = at.server(), b'{"method":"x","params":"' + b"y" * 50_000 + b'"}\n', 0
        server.setblocking(False)
        while select.select([], [server], [], 1.0)[1] and sent < (64 << 20):
            sent += server.send(frame[sent % len(frame) :])

        assert sent < 4 << 20
        for _ in range(sent // len(frame)):
            assert at.hear()["method"] == "x"
        server.close()


def test_when_the_host_ends_the_server_hears_the_last_frame_and_its_last_words_are_passed_on():
    with rig() as at:
        server = at.server()
        at.say(request(1))
        at.end()

        assert received(server)["id"] == 1
        assert server.recv(1) == b""  # the end
        reply(server, {"id": 1, "result": {}})
        server.close()
        assert at.hear()["id"] == 1
        assert at.ended.wait(DEADLINE)


def test_a_host_that_no_longer_listens_ends_it():
    with rig() as at:
        server = at.server()
        os.close(at.read)
        reply(server, {"method": "x"})

        assert at.ended.wait(DEADLINE)
        server.close()


def test_a_line_too_long_is_refused_and_the_next_one_passes():
    with rig() as at:
        server = at.server()
        at.say(b"x" * (MAX_LINE + 200_000), request(2))

        assert at.hear()["error"]["data"]["code"] == "invalid-argument"
        assert received(server)["id"] == 2
        server.close()


@pytest.mark.promise("process.one-owner")
def test_what_was_under_way_is_told_and_the_next_server_is_called_at_once():
    with rig() as at:
        first = at.server()
        at.say(request(1), request(2))
        assert received(first)["id"] == 1
        assert received(first)["id"] == 2
        first.sendall(b'{"id":1,"result":{}}\n{"id":2,"resu')  # it dies in the middle of a word
        first.close()

        assert at.hear() == {"id": 1, "result": {}}
        told = at.hear()
        assert (told["id"], told["error"]["data"]["code"]) == (2, "server-unreachable")
        second = at.server()
        at.say(request(3))
        assert received(second)["id"] == 3
        second.close()


def test_a_server_that_stopped_stays_stopped_until_it_is_needed():
    with rig() as at:
        at.server().close()
        line = json.dumps(request(1)).encode() + b"\n"
        for piece in (line[:5], line[5:10]):  # once both are taken, the end of the server has long been seen
            at.give(piece)
        assert at.servers.empty()
        at.give(line[10:])
        second = at.server()

        assert received(second)["id"] == 1
        second.close()


def test_while_there_is_no_next_server_every_request_is_told_why():
    with rig() as at:
        at.failures = [InfraError("setup-failed", "no") for _ in range(2)]
        at.server().close()
        for identity in (1, 2):
            at.say(request(identity))
            told = at.hear()
            assert (told["id"], told["error"]["message"]) == (identity, str(InfraError("setup-failed", "no")))
            assert told["error"]["data"]["code"] == "setup-failed"
        at.say({"jsonrpc": "2.0", "method": "notifications/x"}, request(3))

        third = at.server()
        assert received(third)["method"] == "notifications/x"
        assert received(third)["id"] == 3
        third.close()


def test_what_a_server_says_before_it_takes_no_more_is_heard():
    with rig() as at:
        server = at.server()
        reply(server, {"method": "last"})
        server.shutdown(socket.SHUT_RD)
        at.give(json.dumps(request(1)).encode() + b"\n")

        assert at.hear()["method"] == "last"
        server.close()
        assert at.hear()["error"]["data"]["code"] == "server-unreachable"
        at.say(request(2))
        second = at.server()
        assert received(second)["id"] == 2
        second.close()
