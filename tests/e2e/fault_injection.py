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

__all__ = ["DEPLOYMENTS", "INSIDE", "INVARIANTS", "KILL_CASES", "KillCase", "Point"]
__all__ += ["MAIL_INVARIANTS", "kill", "look", "now", "observe", "points", "undisturbed", "verdict", "verdict_on_mail"]

INVARIANTS = Path(__file__).with_name("invariants.py")
MAIL_INVARIANTS = Path(__file__).with_name("mail_invariants.py")
DEPLOYMENTS = "/apis/apps/v1/namespaces/{0}/deployments"
INSIDE = (
    "/api/v1/namespaces?fieldSelector=metadata.name%3D{0}",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{0}/rolebindings",
    "/api/v1/namespaces/{0}/serviceaccounts",
    "/api/v1/namespaces/{0}/secrets",
)


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


async def _provision(scenario: Scenario, number: int) -> object:
    return await scenario.ask(f"I need a namespace '{_place(scenario, number)}' with image-pull secret X")


def _place(scenario: Scenario, number: int) -> str:
    return scenario.fresh(f"n{number}")


def _provisioned(scenario: Scenario, number: int) -> bool:
    account = scenario.live_object("serviceaccount", "default", _place(scenario, number)) or {}
    secret = scenario.live_object("secret", "registry-x", _place(scenario, number))
    return secret is not None and account.get("imagePullSecrets") == [{"name": "registry-x"}]


async def _deploy(scenario: Scenario, number: int, *, version: str = "1.{0}.0") -> object:
    version = version.format(number)
    return await scenario.tool("deploy", app="docs", version=version, idempotency_key=f"kill-{number}", wait_seconds=60)


def _deployed(scenario: Scenario, number: int) -> bool:
    return scenario.image().endswith(f":1.{number}.0") and f":1.{number}.0" in scenario.manifest.read_text(
        encoding="utf-8"
    )


async def _restart(scenario: Scenario, number: int) -> object:
    key = f"kill-{number}"
    return await scenario.tool(
        "change", action="restart", arguments={"app": "docs"}, idempotency_key=key, wait_seconds=60
    )


def _restarted(scenario: Scenario, _number: int) -> bool:
    live = scenario.live_object("deployment", "docs", scenario.namespace) or {}
    mark = live["spec"]["template"]["metadata"].get("annotations", {}).get("infra-mcp.dev/restart")
    return bool(mark == scenario.requests()[-1]["id"])


async def _scale(scenario: Scenario, number: int) -> object:
    arguments = {"app": "docs", "replicas": _replicas(number)}
    return await scenario.tool(
        "change", action="scale", arguments=arguments, idempotency_key=f"kill-{number}", wait_seconds=60
    )


def _replicas(number: int) -> int:
    """Another number than the time before."""
    return 3 + number % 2


def _scaled(scenario: Scenario, number: int) -> bool:
    live, text = (
        scenario.live_object("deployment", "docs", scenario.namespace) or {},
        scenario.manifest.read_text("utf-8"),
    )
    return live["spec"]["replicas"] == _replicas(number) and f"replicas: {_replicas(number)} " in text


async def _configure(scenario: Scenario, number: int) -> object:
    settings = {"memory": _memory(number), "replicas": _replicas(number)}
    return await scenario.tool(
        "configure", app="docs", settings=settings, idempotency_key=f"kill-{number}", wait_seconds=60
    )


def _memory(number: int) -> str:
    """Another amount than the time before."""
    return f"{65 + number % 2}Mi"


def _configured(scenario: Scenario, number: int) -> bool:
    live = scenario.live_object("deployment", "docs", scenario.namespace) or {}
    (container,) = live["spec"]["template"]["spec"]["containers"]
    memory = _memory(number)
    text = scenario.manifest.read_text("utf-8")
    return container["resources"]["requests"]["memory"] == memory and memory in text and _scaled(scenario, number)


def _taken_back(scenario: Scenario, _number: int) -> bool:
    image = scenario.image()
    return "unpullable" not in image and f'"{image}"' in scenario.manifest.read_text(encoding="utf-8")


async def _roll_back(scenario: Scenario, number: int) -> object:
    """A deploy, and its rollback."""
    made: Any = await _deploy(scenario, number)
    return await scenario.tool(
        "rollback", request=made.data["request"], idempotency_key=f"kill-{number}-back", wait_seconds=60
    )


def _rolled_back(scenario: Scenario, number: int) -> bool:
    last = scenario.requests()[-1]
    by = "SELECT data FROM events WHERE kind = 'rolled-back' AND json_extract(data, '$.by') = ?"
    back = scenario.rows(by, last["id"])
    return _taken_back(scenario, number) and not scenario.image().endswith(f":1.{number}.0") and len(back) == 1


async def _make_several(scenario: Scenario, number: int, *, last: dict[str, Any]) -> object:
    """A namespace, and then a change of the app."""
    space = {"name": "space", "action": "provision_namespace", "arguments": {"namespace": _place(scenario, number)}}
    steps = [space, {"name": "app", **last, "arguments": {"app": "docs", **last["arguments"](number)}}]
    key = f"kill-{number}"
    arguments = {"steps": steps}
    return await scenario.tool("change", action="change_set", arguments=arguments, idempotency_key=key, wait_seconds=60)


def _made_several(scenario: Scenario, number: int) -> bool:
    return _kept(scenario, number) and _scaled(scenario, number)


def _kept(scenario: Scenario, number: int) -> bool:
    """Whether the namespace is there, live and in git."""
    name = _place(scenario, number)
    in_git = scenario.git("grep", "-l", f"name: {name}", "HEAD", check=False)
    return scenario.live_object("namespace", name) is not None and bool(in_git.strip())


def _kept_and_taken_back(scenario: Scenario, number: int) -> bool:
    return _kept(scenario, number) and _taken_back(scenario, number)


def _live(scenario: Scenario, _number: int) -> str:
    return scenario.namespace


KILL_CASES = {
    case.name: case
    for case in (
        KillCase("provision", _provision, frozenset({"landed", "unchanged"}), INSIDE, _place, _provisioned),
        KillCase("deploy", _deploy, frozenset({"landed"}), (DEPLOYMENTS,), _live, _deployed),
        KillCase(
            "undo",
            partial(_deploy, version="1.{0}.0-unpullable"),
            frozenset({"rolled_back"}),
            (DEPLOYMENTS,),
            _live,
            _taken_back,
        ),
        KillCase("rollback", _roll_back, frozenset({"landed"}), (DEPLOYMENTS,), _live, _rolled_back),
        KillCase("restart", _restart, frozenset({"landed"}), (DEPLOYMENTS,), _live, _restarted),
        KillCase("scale", _scale, frozenset({"landed"}), (DEPLOYMENTS,), _live, _scaled),
        KillCase("configure", _configure, frozenset({"landed"}), (DEPLOYMENTS,), _live, _configured),
        KillCase(
            "set",
            partial(_make_several, last={"action": "scale", "arguments": lambda n: {"replicas": _replicas(n)}}),
            frozenset({"landed"}),
            (DEPLOYMENTS,),
            _live,
            _made_several,
        ),
        KillCase(
            "set-undo",
            partial(
                _make_several, last={"action": "deploy", "arguments": lambda n: {"version": f"1.{n}.0-unpullable"}}
            ),
            frozenset({"failed"}),
            (DEPLOYMENTS,),
            _live,
            _kept_and_taken_back,
        ),
    )
}


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
