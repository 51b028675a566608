"""Where the server's time goes: every effect with its begin and end, written beside the ledger."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from infra_mcp.effects import observe

__all__ = ["VARIABLE", "spans", "start"]

VARIABLE = "INFRA_MCP_BENCH_SPANS"


def start() -> None:
    """Called in the server's process before it serves."""
    file = Path(os.environ[VARIABLE]).open("a", encoding="utf-8", buffering=1 << 16)  # noqa: SIM115 - open for life

    def note(name: str, phase: str) -> None:
        file.write(json.dumps([time.time(), name, phase]) + "\n")
        if name == "ledger.finish" and phase == "after":
            file.flush()

    observe(note)


def spans(file: Path, begin: float, end: float) -> dict[str, float]:
    """Seconds in which at least one effect of each kind (`git`, `kube`, `ledger`) was under way, within a window."""
    busy: dict[str, list[tuple[float, int]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        at, name, phase = json.loads(line)
        if begin <= at <= end:
            busy.setdefault(name.split(".")[0], []).append((at, 1 if phase == "before" else -1))
    return {kind: _union(marks) for kind, marks in busy.items()}


def _union(marks: list[tuple[float, int]]) -> float:
    total, depth, since = 0.0, 0, 0.0
    for at, step in sorted(marks):
        if depth == 0:
            since = at
        depth += step
        if depth == 0:
            total += at - since
    return total
