"""Stops an engine in the test's own process: from the chosen point on no effect happens any more."""

from collections import Counter
from contextlib import contextmanager

from infra_mcp import effects

__all__ = ["KilledError", "Killer", "observed"]


class KilledError(BaseException):
    """What ends everything at the chosen point; nothing of the product catches it for good."""


class Killer:
    """Stops the engine at a point: an effect, before or after it, the how-manieth time."""

    def __init__(self, at=None):
        self.at, self.dead = at, False
        self.passed = Counter()
        self.points = []

    def __call__(self, name, when):
        if self.dead:
            raise KilledError
        if not self.passed and (name, when) != ("ledger.accept", "before"):
            return
        self.passed[name, when] += 1
        self.points.append((name, when, self.passed[name, when]))
        if self.points[-1] == self.at:
            self.dead = True
            raise KilledError


@contextmanager
def observed(killer):
    """Let a killer see every effect."""
    effects.observe(killer)
    try:
        yield killer
    finally:
        effects._observers.remove(killer)
