"""Runs code in a child that may only compute for so long: what grows faster than its input dies of that."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["run_limited"]

MEMORY = 2 << 30  # bytes of address space


def run_limited(
    code: str, *arguments: str, cpu: int = 20, seconds: float = 120, at: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python code with arguments; what it printed, and how it ended (negative: killed, e.g. by the limit).

    Args:
        code: the program.
        *arguments: its `sys.argv[1:]`.
        cpu: seconds of computing it may take.
        seconds: the longest wait.
        at: its working directory.
    """
    command: Sequence[str] = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", timeout=seconds, cwd=at,
        preexec_fn=lambda: _limit(cpu), check=False,
    )  # fmt: skip


def _limit(cpu: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
