"""`connect` beside a bare one-tool stdio server: from the start of the process until a host's first frame is answered.

Both eras, with our server running and with our server still to be started; and what both servers weigh in memory once
they have answered calls. Rounds alternate. Nothing here needs a cluster: python bench/connect.py
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

from mesh import CONNECT, Line  # noqa: E402 - found by the path above
from town import memory  # noqa: E402

BARE = [sys.executable, str(HERE / "bare_stdio.py")]
CALLS = 200  # before memory is looked at
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
FIRST = {
    "2026-07-28": ("server/discover", {"_meta": META}),
    "2025-06-18": (
        "initialize",
        {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "0"}},
    ),
}


class Host:
    """A host with its stdio server.

    Args:
        argv: what it runs.
        repo: the folder it runs in.
        env: its environment.
    """

    def __init__(self, argv: list[str], repo: Path, env: dict[str, str]) -> None:
        self._began = time.perf_counter()
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(argv, cwd=repo, env=env, stdin=pipe, stdout=pipe, stderr=null)

    @property
    def pid(self) -> int:
        """Of its stdio server."""
        return self._process.pid

    def ask(self, method: str, params: dict) -> dict:
        """One request and its answer."""
        frame = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self._process.stdin.write(json.dumps(frame).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "result" not in answer:
            raise SystemExit(f"{method} was answered with {answer}")
        return answer

    def up(self, era: str) -> float:
        """Milliseconds from its start until its first frame is answered."""
        self.ask(*FIRST[era])
        return (time.perf_counter() - self._began) * 1000

    def close(self) -> None:
        """End it, as hosts do."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


@contextmanager
def running(argv: list[str], repo: Path, env: dict[str, str]) -> Iterator[Host]:
    """A host, ended with the block."""
    host = Host(argv, repo, env)
    try:
        yield host
    finally:
        host.close()


def owner(state: Path) -> int:
    """The process id of the server that `connect` has started."""
    return int(json.loads((state / "run" / "http.json").read_text(encoding="utf-8"))["pid"])


def stop(state: Path) -> None:
    """End the server that `connect` has started, and wait until the state directory is free."""
    pid = owner(state)
    os.kill(pid, signal.SIGTERM)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.01)


def weight(repo: Path, env: dict[str, str]) -> Line:
    """What both servers weigh after the same number of calls."""
    row = Line(f"memory of the server after {CALLS} calls", "MiB", ratio=2.0)
    with running(CONNECT, repo, env) as ours, running(BARE, repo, env) as bare:
        for host, name, arguments in ((ours, "whoami", {}), (bare, "echo", {"text": "x"})):
            for _ in range(CALLS):
                host.ask("tools/call", {"name": name, "arguments": arguments, "_meta": META})
        row.ours.append(memory(owner(Path(env["INFRA_MCP_STATE"])))["rss"] / 2**20)
        row.rival.append(memory(bare.pid)["rss"] / 2**20)
    return row


def measure(rounds: int) -> list[Line]:
    """All rounds of all contests."""
    with tempfile.TemporaryDirectory(prefix="infra-mcp-bench-") as folder:
        repo, state = Path(folder) / "infra", Path(folder) / "state"
        subprocess.run(["git", "init", "-q", "-b", "main", repo], check=True)
        # Both sides with their byte code on disk, as where they are installed.
        left_out = ("INFRA_MCP_", "PYTHONDONTWRITEBYTECODE")
        env = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
        env["INFRA_MCP_STATE"] = str(state)
        with running(CONNECT, repo, env) as host:  # the first start of all makes the ledger
            host.up("2026-07-28")
        stop(state)
        rows = []
        for era in FIRST:
            started = Line(f"connect -> first answer, {era}, server to be started", "ms", ratio=1.3)
            found = Line(f"connect -> first answer, {era}, server running", "ms", ratio=0.1)
            for turn in range(rounds):
                for row in (started, found):  # the one that is started is the one that is found
                    for argv, times in ((CONNECT, row.ours), (BARE, row.rival)):
                        with running(argv, repo, env) as host:
                            times.append(host.up(era))
                if turn == 0 and era == "2026-07-28":
                    rows.append(weight(repo, env))
                stop(state)
            rows += [found, started]
        return rows


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    for row in measure(rounds):
        row.show()
    print(f"\n{rounds} rounds, alternating; medians. Load now {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
