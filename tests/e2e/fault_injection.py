"""Kills a server at a chosen point of a request, starts another, and has the outcome judged.

A point is an effect (see `infra_mcp.effects`), before or after it, the how-manieth time; or the moment a git child was
started that will outlive the server. The server stops itself there by SIGKILL: nothing is cleaned up, nothing flushed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from e2e.journal import Journal
from e2e.scenario import Scenario

from infra_mcp import effects

__all__ = ["INVARIANTS", "KillCase", "Point"]
__all__ += ["MAIL_INVARIANTS", "kill", "look", "now", "observe", "points", "undisturbed", "verdict", "verdict_on_mail"]

INVARIANTS = Path(__file__).with_name("invariants.py")
MAIL_INVARIANTS = Path(__file__).with_name("mail_invariants.py")


class Point(NamedTuple):
    """Where a server is killed: at the `nth` time (from 1) that the effect is about to happen, or has."""

    effect: str
    when: str
    nth: int = 1

    def __str__(self) -> str:
        """As it stands in a test's name."""
        return f"{self.when}-{self.effect}-{self.nth}"


# -- in the server's process
def observe(
    noted: str, at: Point | None, nth: int = 0, *, recovering: bool = False, first: str = "ledger.accept"
) -> None:
    """Note every point that is passed, and die at the chosen one. Called in the server's process.

    Args:
        noted: the file to note them in.
        at: the point to die at.
        nth: or: die at the how-manieth point, whatever it is.
        recovering: count from the start on; else from the first effect of what is asked.
        first: that effect.
    """
    handle = os.open(noted, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    seen: Counter[tuple[str, str]] = Counter()

    def passed(name: str, when: str) -> None:
        if not recovering and not seen and (name, when) != (first, "before"):
            return
        seen[name, when] += 1
        os.write(handle, f"{json.dumps([name, when, seen[name, when]])}\n".encode())
        if (name, when, seen[name, when]) == at or seen.total() == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    effects.observe(passed)
    _orphan(passed)


def _orphan(passed: Callable[[str, str], None]) -> None:
    """Count the start of a git child that writes as a point, too: killed there, the child outlives the server."""
    from infra_mcp.clients.git.runner import Runner  # noqa: PLC0415 - only in the server's process

    start = Runner.start

    def started(self: Runner, *args: str, **options: Any) -> Any:
        child = start(self, *args, **options)
        if args[0] in {"merge", "update-ref"}:
            passed(f"child.{args[0]}", "during")
        return child

    Runner.start = started  # type: ignore[method-assign,assignment]


# -- what is asked
@dataclass(frozen=True)
class KillCase:
    """A request that a server is killed at.

    Args:
        name: for people.
        send: asks for it and waits for its end; asked again it must be the same request, or find everything done.
        ends: how requests may end.
        paths: the lists of the API server that it touches, `{0}` for the namespace.
        place: the namespace it is about.
        so: whether the scenario is as asked.
        first: the first effect of it.
        journal: what its clients were told, where that is to be judged too.
    """

    name: str
    send: Callable[[Scenario, int], Awaitable[object]]
    ends: frozenset[str]
    paths: Sequence[str]
    place: Callable[[Scenario, int], str]
    so: Callable[[Scenario, int], bool]
    first: str = "ledger.accept"
    journal: Callable[[Scenario], Journal] | None = None


# -- the course of it
async def points(scenario: Scenario, case: KillCase, number: int = 0) -> list[Point]:
    """Run the scenario whole, and list the points it went through, in order."""
    noted = scenario.home / f"points-{number}"
    await scenario.start(partial(observe, str(noted), None, first=case.first))
    since = now(scenario)
    await case.send(scenario, number)
    await scenario.settled()
    await scenario.stop()
    faults = await look(scenario, case, number, since)
    assert faults == [], faults
    return _read(noted)


async def kill(
    scenario: Scenario,
    case: KillCase,
    at: Point,
    number: int,
    again: int = 0,
    between: Callable[[Scenario], object] | None = None,
) -> list[str]:
    """Kill the server at the point, start another, ask again as a client would, and judge; what is wrong.

    Args:
        world: one whose server does not run.
        scenario: what is asked.
        at: where the server is killed.
        number: of this run in this scenario.
        again: kill the server that recovers, too, at the how-manieth point it passes; 0 for not.
        between: called while no server runs.

    Raises:
        EOFError: the recovery was through before that point.
    """
    noted, since, earlier = scenario.home / f"points-{number}", now(scenario), len(scenario.requests())
    await scenario.start(partial(observe, str(noted), at, first=case.first))
    assert scenario.server is not None
    async with anyio.create_task_group() as group:
        group.start_soon(undisturbed, partial(case.send, scenario, number))
        code = await scenario.gone(120)
        group.cancel_scope.cancel()
    if code != -signal.SIGKILL:
        passed = ", ".join(map(str, _read(noted)))
        return [f"{at} was not reached; the server ended with {code}, after {passed}"]
    if between is not None:
        between(scenario)
    if again:
        await _kill_recovery(scenario, again)
    await scenario.start()
    await case.send(scenario, number)
    rows = (await scenario.settled())[earlier:]
    await scenario.stop()
    wrong = [row for row in rows if row["state"] not in case.ends]
    faults = [f"{row['id']} ended as {row['state']}: {row['receipt']}" for row in wrong]
    return faults + await look(scenario, case, number, since)


async def _kill_recovery(scenario: Scenario, nth: int) -> None:
    """Start a server that dies at the nth point it passes while it takes up what was interrupted."""
    try:
        await scenario.start(partial(observe, str(scenario.home / "recovery"), None, nth, recovering=True))
    except RuntimeError:
        return  # it died before it took calls
    assert scenario.server is not None
    with anyio.fail_after(120):
        while scenario.server.alive and any(row["open"] for row in scenario.requests()):  # noqa: ASYNC110 - not ours
            await anyio.sleep(0.02)
    if await scenario.gone(0.2) is None:
        await scenario.stop()
        raise EOFError(nth)


async def undisturbed(send: Callable[[], Awaitable[object]]) -> None:
    """What a client meets when its server dies is the client's to bear."""
    try:
        await send()
    except Exception:  # noqa: BLE001 - whatever its libraries make of a lost connection
        return


async def look(scenario: Scenario, case: KillCase, number: int, since: str) -> list[str]:
    """Ask the judge, a process of its own, and look whether it came out as asked."""
    faults = await verdict(scenario, [path.format(case.place(scenario, number)) for path in case.paths], since)
    if case.journal is not None:
        faults += await verdict_on_mail(scenario, case.journal(scenario).told())
    return faults if case.so(scenario, number) else [*faults, f"{case.name} did not come out as asked"]


async def verdict(scenario: Scenario, paths: Sequence[str], since: str, **more: object) -> list[str]:
    """What the judge finds wrong. `more` goes into its question."""
    cluster_setup = scenario.cluster_setup
    question = {
        "ledger": str(scenario.settings.state_dir / "ledger.sqlite3"),
        "repo": str(scenario.repo),
        "branch": "main",
        "base": scenario.git("rev-list", "--max-parents=0", "HEAD").strip(),
        "kubectl": [
            str(cluster_setup.kubectl),
            "--kubeconfig",
            str(cluster_setup.kubeconfig),
            "--context",
            cluster_setup.context,
        ],
        "since": since,
        "paths": list(paths),
    } | more
    argv = [sys.executable, "-I", str(INVARIANTS)]
    done = await anyio.run_process(argv, input=json.dumps(question).encode(), check=False)
    assert done.stdout, done.stderr.decode()
    return list(json.loads(done.stdout)["faults"])


async def verdict_on_mail(scenario: Scenario, told: dict[str, Any], **more: object) -> list[str]:
    """What the check of the mail finds wrong with what clients were told. `more` goes into its question."""
    question = {"ledger": str(scenario.settings.state_dir / "ledger.sqlite3"), "told": told} | more
    argv = [sys.executable, "-I", str(MAIL_INVARIANTS)]
    done = await anyio.run_process(argv, input=json.dumps(question).encode(), check=False)
    assert done.stdout, done.stderr.decode()
    return list(json.loads(done.stdout)["faults"])


def now(scenario: Scenario) -> str:
    """Where the API server's history is now."""
    found = json.loads(scenario.kubectl("get", "--raw", "/api/v1/namespaces?limit=1"))
    return str(found["metadata"]["resourceVersion"])


def _read(noted: Path) -> list[Point]:
    lines = noted.read_text(encoding="utf-8").splitlines() if noted.exists() else []
    return [Point(*json.loads(line)) for line in lines]
