"""The mesh, measured: ours beside Repowire's daemon, waking, a thousand peers, a reading call, and what a job costs.

The rival is Repowire as its users have it, with its own MCP tools on both sides, and ours with ours; its bare wire is
there for information. Rounds alternate, and what is printed is the median over rounds. Ours writes every message to
disk before it answers; the rival keeps asks in memory. A sender of ours may send
200 messages at once and 20 a second from then on, so each round has senders of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import repowire  # noqa: E402 - found by the path above
from town import TICK, Resident, Town, asks_in, memory, notes_in, town  # noqa: E402
from wire import Peer, Stdio, spread  # noqa: E402

__all__ = ["Line", "contest", "measure"]

CONNECT = [str(Path(sys.executable).parent / "infra-mcp"), "connect"]
CHANNELS = {
    "connect": "each side's own MCP tools over stdio",
    "HTTP": "our MCP tools over HTTP, the rival's over stdio",
    "socket": "the bare wire of each side (for information)",
}
EACH = 15  # peers of a circle: five for each channel
BATCH = 20  # asks a round
NOTIFIES = 150  # a round; below what one sender may send at once
CROWD = 1000
LONGEST = 180.0  # seconds for the crowd


@dataclass
class Line:
    """One line of the result: ours, beside a rival or an aim of its own.

    Args:
        what: was measured.
        unit: `ms`, `/s`, `MiB`, `tokens`.
        ours: a value a round.
        rival: likewise.
        ratio: what ours is to reach as a share of the rival's: at most for what should be small, at least for `/s`.
        below: what ours is to stay below by itself.
    """

    what: str
    unit: str
    ours: list[float] = field(default_factory=list)
    rival: list[float] = field(default_factory=list)
    ratio: float | None = None
    below: float | None = None
    note: str = ""

    def show(self) -> None:
        """Print it."""
        print(f"\n{self.what}")
        if not self.ours:
            print(f"  not measured: {self.note}")
            return
        ours = statistics.median(self.ours)
        words = f"  ours {ours:8.1f} {self.unit}"
        if self.rival:
            rival = statistics.median(self.rival)
            words += f"   rival {rival:8.1f} {self.unit}   ours is {ours / rival:.2f} of it"
            if self.ratio is not None:
                met = ours / rival >= self.ratio if self.unit == "/s" else ours / rival <= self.ratio
                bound = "at least" if self.unit == "/s" else "at most"
                words += f"   aim {bound} {self.ratio:g}: {'met' if met else 'NOT met'}"
        elif self.ratio is not None:
            words += "   no rival"
        if self.below is not None:
            words += f"   aim below {self.below:g} {self.unit}: {'met' if ours < self.below else 'NOT met'}"
        print(words + (f"   ({self.note})" if self.note else ""))


# -- ours
class Pair:
    """Two peers of one circle, by one channel. The second answers whatever it is asked."""

    def __init__(self, place: Town, first: Resident, second: Resident, channel: str) -> None:
        self.place, self.first, self.second, self.channel = place, first, second, channel
        self._stack = AsyncExitStack()

    async def peer(self, who: Resident) -> Peer:
        """A connection of its own."""
        if self.channel == "connect":
            env = {key: value for key, value in os.environ.items() if not key.startswith("INFRA_MCP_")}
            env |= {"INFRA_MCP_STATE": str(self.place.settings.state_dir), "INFRA_MCP_TOKEN": who.token}
            host = await Stdio.run(CONNECT, env, self.place.settings.repo)
            self._stack.push_async_callback(host.close)
            return host
        if self.channel == "HTTP":
            http = self.place.http()
            self._stack.callback(http.close)
            return self.place.over(http, who)
        socket = await self.place.socket(who)
        self._stack.push_async_callback(socket.close)
        return socket

    async def __aenter__(self) -> Self:
        self.asker, self.answerer = await self.peer(self.first), await self.peer(self.second)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def answer(self) -> None:
        """Answer what comes, until cancelled."""
        while True:
            box = await self.answerer.data("inbox", wait_seconds=30)
            for ask in asks_in(box):
                await self.answerer.tool("ack", correlation_id=ask, message="done")

    async def round_trip(self) -> float:
        """Milliseconds from the ask to its ack at the asker."""
        begin = time.perf_counter()
        ask = await self.asker.say("ask", peer_name=self.second.name, query="is the schema migrated?")
        await self.asker.tool("wait_on_ack", correlation_id=ask)
        return (time.perf_counter() - begin) * 1000

    async def wake(self) -> float:
        """Milliseconds from the answer to `ack` until the waiting `wait_on_ack` is answered."""
        ask = await self.asker.say("ask", peer_name=self.second.name, query="are you done?")
        waiting = asyncio.create_task(_timed(self.asker.tool("wait_on_ack", correlation_id=ask)))
        await asyncio.sleep(0.1)  # so that it waits
        acked = await _timed(self.answerer.tool("ack", correlation_id=ask, message="yes"))
        return (await waiting - acked) * 1000

    async def notify(self, side_by_side: int) -> float:
        """Notifies a second, until the receiver has read the last."""
        if self.channel == "connect":  # a host has one stdio server, and calls it side by side
            senders = [self.asker] * side_by_side
        else:
            senders = [self.asker, *[await self.peer(self.first) for _ in range(side_by_side - 1)]]
        for sender in senders:
            await sender.tool("whoami")
        begin = time.perf_counter()
        received = asyncio.create_task(self._received(NOTIFIES))
        await spread(senders, NOTIFIES, lambda sender: sender.tool(
            "notify_peer", peer_name=self.second.name, message="build 41 is green"
        ))  # fmt: skip
        await received
        return NOTIFIES / (time.perf_counter() - begin)

    async def _received(self, wanted: int) -> None:
        while wanted > 0:
            notes = notes_in(await self.answerer.data("inbox", wait_seconds=30))
            wanted -= len(notes)
            if notes:
                await self.answerer.tool("inbox", mark_read=notes)


async def _timed(call: Awaitable[object]) -> float:
    await call
    return time.perf_counter()


# -- all of it
async def contest(home: Path, rounds: int, many_peers: int) -> list[Line]:
    """The lines about peers among themselves."""
    trip = {channel: Line(f"ask -> ack between two peers, by {words}", "ms") for channel, words in CHANNELS.items()}
    wake = {channel: Line(f"wake-up of wait_on_ack, by {channel}", "ms", below=20.0) for channel in CHANNELS}
    sent = {
        (channel, many): Line(f"notifies a second, {many} at a time, by {words}", "/s")
        for channel, words in CHANNELS.items()
        for many in (1, 16)
    }
    for channel in ("connect", "HTTP"):  # the rest is for information
        trip[channel].ratio = 1.0
        sent[channel, 1].ratio = sent[channel, 16].ratio = 3.0
    crowd = _crowd_lines(many_peers)
    async with AsyncExitStack() as stack:
        (home / "ours").mkdir()
        (home / "rival").mkdir()
        place = await stack.enter_async_context(town(home / "ours", (many_peers + EACH * rounds) // EACH + 1, EACH))
        others = tooled = None
        try:
            daemon = await stack.enter_async_context(repowire.daemon(home / "rival"))
            others = await stack.enter_async_context(repowire.Others(daemon))
            tooled = await stack.enter_async_context(repowire.Tooled(daemon))
        except repowire.UnavailableError as error:
            print(f"\nno rival: {error}")
        for turn in range(rounds):
            for at, channel in enumerate(CHANNELS):
                first = turn * EACH + at * 5
                asker, answerer, waker, many_sender, reader = place.residents[first : first + 5]
                async with Pair(place, asker, answerer, channel) as pair:
                    answering = asyncio.create_task(pair.answer())
                    trip[channel].ours += [statistics.median([await pair.round_trip() for _ in range(BATCH)])]
                    answering.cancel()
                    await asyncio.gather(answering, return_exceptions=True)
                async with Pair(place, waker, answerer, channel) as pair:
                    wake[channel].ours += [statistics.median([await pair.wake() for _ in range(3)])]
                for many, sender in ((1, waker), (16, many_sender)):
                    async with Pair(place, sender, reader, channel) as pair:
                        sent[channel, many].ours.append(await pair.notify(many))
                rival = others if channel == "socket" else tooled
                if rival is not None:
                    trip[channel].rival += [statistics.median([await rival.round_trip() for _ in range(BATCH)])]
                    for many in (1, 16):
                        sent[channel, many].rival.append(await rival.notify(NOTIFIES, many))
        await _crowded(place, others, crowd, rounds, many_peers)
    return [*trip.values(), *wake.values(), *sent.values(), *crowd]


def _crowd_lines(many: int) -> list[Line]:
    what = f"{many} connected peers, each waiting at its inbox"
    return [
        Line(f"memory for each of {what}", "KiB"),
        Line(f"the server's computing for {what}, while nothing happens", "% of a core"),
        Line(f"ask -> ack beside {what}", "ms"),
    ]


async def _crowded(place: Town, others: repowire.Others | None, lines: list[Line], rounds: int, many: int) -> None:
    """Many peers, connected and waiting, and what that does to the server and to two who talk."""
    try:
        async with asyncio.timeout(LONGEST):
            await _our_crowd(place, lines, rounds, many)
    except TimeoutError:
        for line in lines:
            line.note = f"not done in {LONGEST:.0f} s"
    if others is None:
        return
    held, idle, trip = lines
    before = memory(others.daemon.pid)["rss"]
    crowd = [await repowire.Rival.join(others.daemon, f"peer{number}") for number in range(many)]
    idle.rival.append(await _computing(others.daemon.pid))
    held.rival.append((memory(others.daemon.pid)["rss"] - before) / 1024 / many)
    trip.rival += [statistics.median([await others.round_trip() for _ in range(BATCH)]) for _ in range(rounds)]
    for one in crowd:
        one.close()


async def _our_crowd(place: Town, lines: list[Line], rounds: int, many: int) -> None:
    held, idle, trip = lines
    talkers, crowd = place.residents[-2:], place.residents[-many - 2 : -2]
    before = memory(place.server.pid)["rss"]
    async with AsyncExitStack() as stack:
        waiting = []
        for who in crowd:
            peer = await place.socket(who)
            stack.push_async_callback(peer.close)
            waiting.append(asyncio.create_task(peer.tool("inbox", wait_seconds=600)))
            stack.callback(waiting[-1].cancel)
        idle.ours.append(await _computing(place.server.pid))
        held.ours.append((memory(place.server.pid)["rss"] - before) / 1024 / many)
        async with Pair(place, *talkers, "socket") as pair:
            answering = asyncio.create_task(pair.answer())
            try:
                trip.ours += [statistics.median([await pair.round_trip() for _ in range(BATCH)]) for _ in range(rounds)]
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)


async def _computing(pid: int) -> float:
    """How much of a core a process takes, by what it computes in some seconds, once it has settled."""
    await asyncio.sleep(2)
    before, begin = memory(pid)["ticks"], time.perf_counter()
    await asyncio.sleep(5)
    return (memory(pid)["ticks"] - before) * TICK / 10 / (time.perf_counter() - begin)


async def measure(rounds: int, crowd: int = CROWD) -> list[Line]:
    """Measure in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="infra-mcp-mesh-") as folder:
        return await contest(Path(folder), rounds, crowd)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers started here are ended, too
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--crowd", type=int, default=CROWD, help="how many peers are connected at once")
    given = parser.parse_args()
    found = asyncio.run(measure(given.rounds, given.crowd))
    print(f"medians over rounds; load now {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for line in found:
        line.show()
