"""`make soak`: a week of messages through one server, and whether its memory and its answers stay as they were.

A seeded generator lets 200 peers ask each other, notify, look into their inboxes, ack and mark as read, over HTTP and
the unix socket, one call after the other on a handful of connections. Every call's time is noted, and the server's
resident memory all along. At the end: how large the ledger is and how long a search takes, on what the traffic left,
and in another ledger at 10^4, 10^5 and 10^6 events.

The rule, over the second half of the run, by a straight line fitted to it (what a server takes when it is new is not
held against it): memory may rise by 10 % and 8 MiB, the server's own computing for a call by 20 % and 0.5 ms, the
median of a tenth's calls by 25 % and 1 ms, and its 99th percentile by 100 % and 20 ms. What rises more is a leak, or
something that grows with what was there before; the exit code is 1 then.

    make soak                                    the whole: 100,000 messages
    make soak ARGS='--messages 2000 --search 10000,100000'
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import archive  # noqa: E402 - found by the path above
from town import TICK, Resident, Town, asks_in, memory, notes_in, town  # noqa: E402
from wire import FailedError, Peer  # noqa: E402

__all__ = ["Rule", "flat", "percentile", "rise"]

TENTHS = 10
WORDS = (
    "build",
    "green",
    "schema",
    "review",
    "staging",
    "timeout",
    "docs",
    "search",
    "cache",
    "index",
    "merge",
    "later",
)


# -- the rule
@dataclass(frozen=True)
class Rule:
    """What may rise how far in the second half: a share of where it was, and an amount that is nothing to speak of."""

    name: str
    share: float
    grace: float
    unit: str


MEMORY = Rule("resident memory", 0.10, 8.0, "MiB")
WORK = Rule("computing for a call", 0.20, 0.5, "ms")
MEDIAN = Rule("median of a call", 0.25, 1.0, "ms")
SLOWEST = Rule("99th percentile of a call", 1.00, 20.0, "ms")


def rise(values: Sequence[float]) -> tuple[float, float]:
    """Where the line through the second half begins, and by how much it has risen at the end."""
    half = values[len(values) // 2 :]
    count = len(half)
    if count < 2:
        return (half[0] if half else 0.0), 0.0
    middle, mean = (count - 1) / 2, sum(half) / count
    across = sum((at - middle) ** 2 for at in range(count))
    slope = sum((at - middle) * (value - mean) for at, value in enumerate(half)) / across
    return mean - slope * middle, slope * (count - 1)


def flat(rule: Rule, values: Sequence[float]) -> tuple[bool, str]:
    """Whether it kept to the rule, and the same in words."""
    begin, more = rise(values)
    most = begin * rule.share + rule.grace
    kept = more <= most
    verdict = "flat" if kept else "NOT FLAT"
    return (
        kept,
        f"{rule.name}: {begin:.1f} {rule.unit} {more:+.1f} over the second half, allowed {most:+.1f}: {verdict}",
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


# -- the traffic
@dataclass
class Course:
    """What happened, by tenths of the messages."""

    messages: int
    done: int = 0
    times: list[list[float]] = field(default_factory=lambda: [[] for _ in range(TENTHS)])
    kinds: dict[str, list[float]] = field(default_factory=dict)
    held: list[dict[str, int]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        return sum(map(len, self.times))

    @property
    def tenth(self) -> int:
        return min(TENTHS - 1, self.done * TENTHS // self.messages)

    def note(self, kind: str, seconds: float) -> None:
        self.times[self.tenth].append(seconds * 1000)
        self.kinds.setdefault(kind, []).append(seconds * 1000)


class Traffic:
    """The generator: every worker takes the next exchange, until the messages are used up."""

    def __init__(self, place: Town, messages: int, seed: int) -> None:
        self.place = place
        self.course = Course(messages)
        self.random = random.Random(seed)
        self.given = 0  # messages handed out to workers

    def pair(self) -> tuple[Resident, Resident]:
        """Two peers of one circle; a few talk much, as it is in teams."""
        residents = self.place.residents
        first = residents[min(int(self.random.expovariate(3 / len(residents))), len(residents) - 1)]
        others = [one for one in residents if one.circle == first.circle and one is not first]
        return first, self.random.choice(others)

    def words(self) -> str:
        """A message: short as most are, at times long, and each of its own."""
        size = 400 if self.random.random() < 0.02 else self.random.randint(3, 25)
        return f"{' '.join(self.random.choice(WORDS) for _ in range(size))} {self.random.randrange(10**9):09d}"

    async def timed(self, kind: str, peer: Peer, **arguments: object) -> dict[str, object]:
        """Call a tool and note its time; told that it is too much, come again a little later."""
        while True:
            begin = time.perf_counter()
            try:
                result = await peer.tool(kind, **arguments)
            except FailedError as error:
                if error.code != "too-many":
                    raise
                self.course.counts["told to slow down"] += 1
                await asyncio.sleep(0.2)
                continue
            self.course.note(kind, time.perf_counter() - begin)
            return result

    async def exchange(self, sender: Peer, receiver: Peer, to: Resident) -> None:
        """A few asks or notifies, read and answered by their receiver, and what comes back read by the sender."""
        count = min(self.random.randint(1, 4), self.course.messages - self.given)
        self.given += count
        asking = self.random.random() < 0.5
        asked = []
        for _ in range(count):
            if asking:
                sent = await self.timed("ask", sender, peer_name=to.name, query=self.words())
                asked.append(str(sent["structuredContent"]["result"]))
            else:
                await self.timed("notify_peer", sender, peer_name=to.name, message=self.words())
            self.course.counts["asks" if asking else "notifies"] += 1
        box = (await self.timed("inbox", receiver))["structuredContent"]
        for ask in asks_in(box):
            if ask in asked:  # what another worker's sender asked is that worker's
                await self.timed("ack", receiver, correlation_id=ask, message=self.words())
        if notes := notes_in(box):
            await self.timed("inbox", receiver, mark_read=notes)
        for ask in asked:
            acked = await self.timed("wait_on_ack", sender, correlation_id=ask, timeout_seconds=0)
            if acked["structuredContent"]["status"] != "resolved":
                self.course.faults.append(f"{ask} was acked and is not resolved")
        if asked:
            await self.timed("inbox", sender, mark_read=asked)
        self.course.done += count

    async def by_http(self) -> None:
        """A worker with one HTTP connection for all peers it plays."""
        http = self.place.http()
        while self.given < self.course.messages:
            first, second = self.pair()
            await self.exchange(self.place.over(http, first), self.place.over(http, second), second)

    async def by_socket(self) -> None:
        """A worker whose peers come, stay a while, and leave: connections, too, must leave nothing behind."""
        while self.given < self.course.messages:
            first, second = self.pair()
            async with self.seated(first) as sender, self.seated(second) as receiver:
                for _ in range(10):
                    if self.given < self.course.messages:
                        await self.exchange(sender, receiver, second)

    @asynccontextmanager
    async def seated(self, who: Resident) -> AsyncIterator[Peer]:
        """A peer at the unix socket."""
        peer = await self.place.socket(who)
        try:
            yield peer
        finally:
            await peer.close()

    async def watch(self, every: float) -> None:
        """Note what the server holds, twenty times a tenth at least."""
        while True:
            self.note_held()
            await asyncio.sleep(every)

    def note_held(self) -> None:
        """What the server holds now, and how far the traffic is."""
        course = self.course
        course.held.append(memory(self.place.server.pid) | {"done": course.done, "calls": course.calls})


async def soak(place: Town, messages: int, seed: int, connections: int) -> Course:
    """All of the traffic."""
    traffic = Traffic(place, messages, seed)
    watcher = asyncio.create_task(traffic.watch(min(2.0, max(0.05, messages / 20000))))
    sockets = max(1, connections // 4)
    try:
        async with asyncio.TaskGroup() as workers:
            for number in range(max(2, connections)):
                workers.create_task(traffic.by_socket() if number < sockets else traffic.by_http())
        traffic.note_held()
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
    return traffic.course


# -- the result
def show(course: Course, seconds: float) -> bool:
    """Print the course of it; whether it was flat."""
    what = ", ".join(f"{count} {name}" for name, count in sorted(course.counts.items()))
    rate = course.calls / seconds
    print(f"\n{course.done} messages ({what}), {course.calls} calls in {seconds:.0f} s: {rate:.0f} calls a second")
    print("\ntenth    calls   p50 ms   p99 ms   CPU ms  RSS MiB  files  threads")
    work = _work(course)
    for number, times in enumerate(course.times):
        held = [one for one in course.held if one["done"] * TENTHS // course.messages == number] or course.held[-1:]
        last = held[-1]
        print(
            f"{number + 1:>5} {len(times):>8} {percentile(times, 0.5):>8.1f} {percentile(times, 0.99):>8.1f}"
            f" {work[number]:>8.2f} {last['rss'] / 2**20:>8.1f} {last['files']:>6} {last['threads']:>8}"
        )
    print(f"\n{'call':<14} {'n':>8} {'p50 ms':>8} {'p99 ms':>8}")
    for kind, times in sorted(course.kinds.items()):
        print(f"{kind:<14} {len(times):>8} {percentile(times, 0.5):>8.1f} {percentile(times, 0.99):>8.1f}")
    print()
    kept = [
        flat(MEMORY, [one["rss"] / 2**20 for one in course.held]),
        flat(WORK, work),
        flat(MEDIAN, [percentile(times, 0.5) for times in course.times]),
        flat(SLOWEST, [percentile(times, 0.99) for times in course.times]),
    ]
    for _, words in kept:
        print(words)
    for fault in course.faults[:20]:
        print(f"WRONG: {fault}")
    return all(good for good, _ in kept) and not course.faults


def _work(course: Course) -> list[float]:
    """Milliseconds that the server computed for a call, by tenths."""
    edges = [
        next((one for one in course.held if one["done"] * TENTHS >= course.messages * at), None) for at in range(11)
    ]
    ends = [edge or course.held[-1] for edge in edges]
    return [
        (after["ticks"] - before["ticks"]) * TICK / max(1, after["calls"] - before["calls"])
        for before, after in pairwise(ends)
    ]


async def main() -> int:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000, help="asks and notifies in all")
    parser.add_argument("--peers", type=int, default=200, help="in circles of ten")
    parser.add_argument("--connections", type=int, default=12, help="a quarter of them at the unix socket")
    parser.add_argument("--seed", type=int, default=20_261_115)
    parser.add_argument("--search", default="10000,100000,1000000", help="ledger sizes to search at; empty for none")
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.messages} messages from {given.peers} peers over {given.connections} connections")
    levels = [int(level) for level in given.search.split(",") if level]
    with tempfile.TemporaryDirectory(prefix="infra-mcp-soak-") as folder:
        async with town(Path(folder), max(1, given.peers // 10), 10) as place:
            begin = time.perf_counter()
            course = await soak(place, given.messages, given.seed, given.connections)
            spent = time.perf_counter() - begin
            good = show(course, spent)
            print(f"\n{archive.COLUMNS}   searches in ms, of what the traffic left")
            await archive.searched(place)
    if levels:
        with tempfile.TemporaryDirectory(prefix="infra-mcp-soak-") as folder:
            async with town(Path(folder), max(1, given.peers // 10), 10) as place:
                print(f"\n{archive.COLUMNS}   the same in a ledger of its own, filled by the ledger's own writer")
                good = await archive.grow(place, levels) and good
    print(f"\nload now {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0 if good else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers started here are ended, too
    sys.exit(asyncio.run(main()))
