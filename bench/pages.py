"""How long the dashboard's trail takes, beside Datasette on the same SQLite file: the first page, and searches.

Datasette reads a copy of the ledger, searches it by the ledger's own full-text index, and shows as many rows. Both are
asked over one kept connection, in turn. It is installed once into the cache, from `bench/datasette.txt`.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import archive
from server_process import start_server
from town import Town, town

from infra_mcp.settings import cache_home

HERE = Path(__file__).resolve().parent
LEVELS = (100_000, 1_000_000)  # events
_PATIENCE = 60.0  # seconds for Datasette to start
_SEARCH = """
select e.seq, e.at, e.kind, e.state, e.request, e.ask, e.peer, e.circle, e.objects, e.text
from events_search s join events e on e.seq = s.rowid where events_search match :q order by e.seq desc limit 50
"""
QUESTIONS = {"first page": "", "a rare word": archive.NEEDLE, "three common words": "namespace rollout window"}


@dataclass
class Page:
    """One line of the result: seconds of each round."""

    what: str
    ours: list[float]
    rival: list[float]

    def show(self) -> None:
        """Print it."""
        mine, theirs = statistics.median(self.ours), statistics.median(self.rival)
        print(f"\n{self.what}, beside Datasette")
        verdict = f"aim 1x the time: {'met' if mine <= theirs else 'NOT met'}"
        print(f"  ours {mine * 1000:7.1f} ms   rival {theirs * 1000:7.1f} ms   {mine / theirs:5.2f}x   {verdict}")


async def measure(rounds: int, levels: tuple[int, ...] = LEVELS) -> list[Page]:
    """Each question at each size of the ledger."""
    rows: list[Page] = []
    program = await asyncio.to_thread(_datasette)
    with tempfile.TemporaryDirectory() as folder:
        async with town(Path(folder), 10, 10) as place:
            for level in levels:
                await asyncio.to_thread(place.server.stop)
                await archive.fill(place, level)
                place.server = await asyncio.to_thread(partial(start_server, place.settings))
                rows += await asyncio.to_thread(_beside, place, program, level, Path(folder), rounds)
    return rows


def _beside(place: Town, program: Path, level: int, folder: Path, rounds: int) -> list[Page]:
    home, cookie = _session(place)
    with _rival(place, program, folder / f"rival-{level}") as rival, closing(_to(place.server.url)) as ours:
        made = []
        for what, words in QUESTIONS.items():
            mine = f"{home}/trail?{urlencode({'q': words})}" if words else f"{home}/trail"
            theirs = f"/ledger/search?{urlencode({'q': words})}" if words else "/ledger/events?_size=50&_sort_desc=seq"
            page = Page(f"{what}, {level:,} events", [], [])
            for _ in range(rounds + 1):
                page.ours.append(_time(ours, mine, {"Cookie": cookie}))
                page.rival.append(_time(rival, theirs, {}))
            del page.ours[0], page.rival[0]  # the first of each warms up
            made.append(page)
    return made


def _session(place: Town) -> tuple[str, str]:
    """The path of a session of the dashboard, and its cookie."""
    argv = [sys.executable, "-m", "infra_mcp.cli.main", "dashboard", "--print", "--repo", str(place.settings.repo)]
    env = os.environ | {"INFRA_MCP_STATE": str(place.settings.state_dir)}
    link = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout.strip()
    with closing(_to(link)) as connection:
        connection.request("GET", urlsplit(link).path)
        answer = connection.getresponse()
        cookie = str(answer.getheader("Set-Cookie"))
        answer.read()
    path = next(part for part in cookie.split("; ") if part.lower().startswith("path=")).partition("=")[2]
    return path, cookie.partition(";")[0]


def _to(url: str) -> http.client.HTTPConnection:
    at = urlsplit(url)
    return http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)


def _time(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> float:
    begin = time.perf_counter()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    took = time.perf_counter() - begin
    if answer.status != http.client.OK:
        sys.exit(f"{path}: {answer.status} {body[:400]!r}")
    return took


@contextmanager
def _rival(place: Town, program: Path, folder: Path) -> Iterator[http.client.HTTPConnection]:
    """Datasette on a copy of the ledger."""
    folder.mkdir()
    for end in ("", "-wal"):
        if (source := Path(f"{place.settings.state_dir / 'ledger.sqlite3'}{end}")).exists():
            shutil.copy(source, folder / source.name.replace("ledger.sqlite3", "ledger.db"))
    known = {"databases": {"ledger": {"queries": {"search": {"sql": _SEARCH}}}}}
    (folder / "metadata.json").write_text(json.dumps(known), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [program, "serve", folder / "ledger.db", "--metadata", folder / "metadata.json", "--port", str(port)]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        try:
            _await(port)
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                yield connection
        finally:
            child.terminate()


def _await(port: int) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("Datasette did not start")


def _datasette() -> Path:
    """Datasette's executable, installed once."""
    wanted = HERE / "datasette.txt"
    place = cache_home() / "bench" / f"datasette-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]}"
    program = place / "bin" / "datasette"
    if not program.exists():
        venv.create(place, with_pip=True, clear=True)
        pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--requirement", wanted], stdin=subprocess.DEVNULL, check=True)
    return program
