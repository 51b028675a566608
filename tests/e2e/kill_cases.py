"""The requests that servers are killed at: how each is asked for, and what is so when it has come to its end."""

from __future__ import annotations

from functools import partial
from typing import Any

from e2e.fault_injection import KillCase
from e2e.scenario import Scenario

__all__ = ["DEPLOYMENTS", "INSIDE", "KILL_CASES"]

DEPLOYMENTS = "/apis/apps/v1/namespaces/{0}/deployments"
INSIDE = (
    "/api/v1/namespaces?fieldSelector=metadata.name%3D{0}",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{0}/rolebindings",
    "/api/v1/namespaces/{0}/serviceaccounts",
    "/api/v1/namespaces/{0}/secrets",
)


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
