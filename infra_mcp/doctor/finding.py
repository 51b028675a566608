"""Findings, and the one table of checks that makes them: the command, its JSON and the documentation read it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from infra_mcp.doctor.look import Look


ANSWERS: Final = "cluster.answers"
SEE_ANSWERS: Final = f"infra-mcp doctor {ANSWERS}"  # the fix of what fails only since a cluster does not answer


class Level(StrEnum):
    """How bad a finding is."""

    PASS = "pass"  # noqa: S105 - a level, no password
    EMPTY = "empty"  # there is nothing to look at
    SKIPPED = "skipped"  # it could not be looked at, for a reason that is no fault, or that another check reports
    RISK = "risk"  # it works, and somebody could do harm by it or it ends soon
    FAILED = "failed"  # it is wrong


class Finding(NamedTuple):
    """One thing that a check found.

    Attributes:
        level: how bad it is.
        what: what is so, in a sentence.
        fix: the shell command that mends it; empty where nothing is to be mended.
    """

    level: Level
    what: str
    fix: str = ""


def failed(what: str, fix: str) -> Finding:
    """Something is wrong."""
    return Finding(Level.FAILED, what, fix)


def risk(what: str, fix: str) -> Finding:
    """Something works and is not as it should be."""
    return Finding(Level.RISK, what, fix)


def skipped(what: str) -> Finding:
    """Something could not be looked at."""
    return Finding(Level.SKIPPED, what)


def empty(what: str) -> Finding:
    """There is nothing to look at."""
    return Finding(Level.EMPTY, what)


Run = Callable[["Look"], AsyncIterator[Finding]]


class Check(NamedTuple):
    """One check.

    Attributes:
        id: `area.name`.
        title: what holds when it passes.
        run: yields what it finds; nothing where all is well.
        seconds: how long it may take.
    """

    id: str
    title: str
    run: Run
    seconds: float

    @property
    def area(self) -> str:
        """The first half of its id."""
        return self.id.partition(".")[0]


CHECKS: dict[str, Check] = {}


def check(identity: str, *, seconds: float = 30.0) -> Callable[[Run], Run]:
    """Make a function a check of that id; the first line of its docstring is what holds when it passes."""

    def register(run: Run) -> Run:
        title = (inspect.getdoc(run) or "").partition("\n")[0]
        CHECKS[identity] = Check(identity, title, run, seconds)
        return run

    return register
