"""The parts of the tests, and how `make` runs them: `python tests/parts.py test -k deny tests/policy`.

A part is an expression over the marks of pyproject.toml. Every test is in exactly one part (test_parts.py), and a make
target runs some of them, in one or more sessions of pytest.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["PARTS", "TARGETS", "expression"]

ROOT = Path(__file__).resolve().parent.parent
PARTS = {
    "quick": "not (core or cluster or process or slow or outside)",
    "core": "core and not (slow or outside)",
    "rest": "(cluster or process) and not (core or slow or outside)",
    "long": "slow and not outside",
    "outside": "outside",
}
# More than the cores of a small machine, since most tests wait most of their time. A test that hangs ends its worker,
# which xdist names and replaces: an event loop that a signal interrupts may wait for ever for tasks that do not end.
# Who is done takes over what another has before it: of one module, which stays together, up to its last long tests.
PARALLEL = ["-n", "4", "--dist", "worksteal", "--timeout-method=thread"]
# What a target runs, a session of pytest each: its parts, and how. Only `quick` needs no control plane.
TARGETS: dict[str, list[tuple[tuple[str, ...], list[str]]]] = {
    "test": [(("quick",), PARALLEL), (("core",), ["-n", "2", *PARALLEL[2:]])],
    "test-all": [(("quick", "core", "rest"), PARALLEL)],
    "kill": [(("long",), [])],
    "test-clients": [(("outside",), [])],
}
NOTHING_COLLECTED = 5  # pytest's exit code


def expression(parts: Sequence[str]) -> str:
    """What `pytest -m` takes to run these parts."""
    return " or ".join(f"({PARTS[part]})" for part in parts)


@contextmanager
def _binaries() -> Iterator[subprocess.Popen[bytes]]:
    """Get the control plane's binaries meanwhile; building them takes long, once."""
    with tempfile.TemporaryFile() as log:
        argv = [sys.executable, "-m", "infra_mcp.cli.main", "sandbox", "binaries"]
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT) as getting:
            try:
                yield getting
                if getting.wait():
                    log.seek(0)
                    sys.stderr.write(log.read().decode(errors="replace"))
            finally:
                getting.terminate()


def run(target: str, arguments: Sequence[str]) -> int:
    """Run what a make target runs; the first exit code of pytest that tells of a failure, or 0.

    Args:
        target: of TARGETS.
        arguments: of pytest, e.g. the files.
    """
    codes = []
    with _binaries() as getting:
        for parts, how in TARGETS[target]:
            if parts != ("quick",) and getting.poll() is None:
                _say("waiting for the control plane's binaries")
                getting.wait()
            _say(f"tests: {', '.join(parts)}")
            argv = [sys.executable, "-m", "pytest", "-m", expression(parts), *how, *arguments]
            codes.append(subprocess.run(argv, cwd=ROOT, check=False).returncode)
    if set(codes) == {NOTHING_COLLECTED}:
        _say(f"none of these tests is in {target}; make test-all has most")
        return NOTHING_COLLECTED
    return next((code for code in codes if code not in {0, NOTHING_COLLECTED}), 0)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == [] or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python tests/parts.py {'|'.join(TARGETS)} [arguments of pytest]")
    sys.exit(run(sys.argv[1], sys.argv[2:]))
