"""How large a ledger is, and how long it takes to search it, as it grows to a million events."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import statistics
import time
from functools import partial
from pathlib import Path

from server_process import start_server
from town import Town
from wire import Socket

from infra_mcp.ledger import Ledger, clock, events
from infra_mcp.ledger.database import Tx
from infra_mcp.server.ownership import owned

__all__ = ["COLUMNS", "NEEDLE", "fill", "grow", "searched"]

_A_TIME = 2000  # events a transaction
_TURNS = 7
_WORDS = ("namespace", "staging", "registry", "rollout", "image", "quota", "probe", "secret", "owner", "window")
NEEDLE, _EVERY = "xylophone", 5_000  # a rare word, and how many events there are to one with it

COLUMNS = f"{'events':>9} {'MiB':>7} {'start s':>8} {'rare word':>10} {'three words':>12} {'newest':>8} {'peer':>8}"


async def searched(place: Town) -> None:
    """Start the server anew on what it wrote, and search that."""
    await asyncio.to_thread(place.server.stop)
    await _measure(place, await _start(place))


async def grow(place: Town, levels: list[int]) -> bool:
    """Bring an empty ledger to each size and search it through a running server; whether every search was right.

    It is filled by the ledger's own writer, many events a transaction, while no server runs.
    """
    right = True
    for level in levels:
        await asyncio.to_thread(place.server.stop)
        await fill(place, level)
        rare, every = await _measure(place, await _start(place))
        if every < level or rare < level // _EVERY:
            print(f"WRONG: searches found {rare} of {level // _EVERY} rare words, and {every} of {level} events")
            right = False
    return right


async def _start(place: Town) -> float:
    """Start the server; how many seconds it took."""
    begin = time.perf_counter()
    place.server = await asyncio.to_thread(partial(start_server, place.settings))
    return time.perf_counter() - begin


def _size(place: Town) -> tuple[int, float]:
    file = place.settings.state_dir / "ledger.sqlite3"
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=20)
    try:
        count = connection.execute("SELECT max(seq) FROM events").fetchone()[0] or 0
    finally:
        connection.close()
    whole = sum(Path(f"{file}{end}").stat().st_size for end in ("", "-wal") if Path(f"{file}{end}").exists())
    return count, whole / 2**20


async def fill(place: Town, level: int) -> None:
    """Add events until there are so many: of all circles, with words of the trade, some with a rare one."""
    chosen = random.Random(level)
    with owned(place.settings.state_dir):
        ledger = await Ledger.open_in(place.settings.state_dir)
        try:
            there = _size(place)[0]
            while there < level:
                count = min(_A_TIME, level - there)
                await ledger._database.write(partial(_add, place, chosen, there, count))  # noqa: SLF001 - the ledger has no method to write many events
                there += count
        finally:
            await ledger.aclose()


def _add(place: Town, chosen: random.Random, there: int, count: int, tx: Tx) -> None:
    for number in range(there + 1, there + count + 1):
        who = chosen.choice(place.residents)
        words = " ".join(chosen.choice(_WORDS) for _ in range(chosen.randint(5, 20)))
        rare = f" {NEEDLE}" if number % _EVERY == 0 else ""
        entry = events.Entry(
            clock.now(),
            "notified",
            who.name,
            who.circle,
            f"{words} {number}{rare}",
            {"receiver": "infra", "to": number},
        )
        events.append(tx, entry)


async def _measure(place: Town, up: float) -> tuple[int, int]:
    """Search as the operator does, and as a peer; the median of a few turns each. How many had the rare word, and all.

    Args:
        place: where.
        up: the seconds its server took to start.
    """
    count, size = _size(place)
    operator = await Socket.open(place.server.socket, channel="cli")
    try:
        questions = (
            {"query": NEEDLE},
            {"query": "namespace rollout window"},
            {"query": ""},
            {"query": "registry", "peer": place.residents[0].name},
        )
        times, found = [], []
        for question in questions:
            took = []
            for _ in range(_TURNS):
                begin = time.perf_counter()
                page = await operator.data("search_audit", limit=20, **question)
                took.append(time.perf_counter() - begin)
            times.append(statistics.median(took) * 1000)
            found.append(page["total"])
    finally:
        await operator.close()
    rare, many, newest, peer = times
    print(f"{count:>9} {size:>7.1f} {up:>8.2f} {rare:>10.1f} {many:>12.1f} {newest:>8.1f} {peer:>8.1f}")
    return found[0], found[2]
