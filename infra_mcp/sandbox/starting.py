"""Starts what a sandbox's folder describes, and waits until callers need wait for nothing more."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from infra_mcp.errors import InfraError
from infra_mcp.sandbox import config, processes
from infra_mcp.sandbox.places import Note, Place

_MAX_START = 120.0  # seconds; about four when the machine has nothing else to do
_MAX_ANSWER = 5.0  # seconds
_POLL = 0.1  # seconds; each request costs the API server a handshake
_OK, _CREATED = 200, 201
_PODS = "/api/v1/namespaces/default/pods"
_POD = f"{_PODS}/{config.POD['metadata']['name']}"
_UNREADY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")  # the controllers' own taints
_REASON = re.compile(r"error|fatal|fail|panic|already in use", re.IGNORECASE)


@dataclass(eq=False)
class NotStarted(Exception):  # noqa: N818 - a reason to try again, never shown
    """The sandbox did not become ready."""

    died: str  # the component that ended meanwhile; empty when time ran out or kwokctl refused

    def as_error(self, place: Place) -> InfraError:
        """The failure, with the best line of the log of the component that ended, or of kwokctl's."""
        file = place.logs / f"{self.died}.log" if self.died else place.folder / "kwokctl.log"
        try:
            lines = file.read_text("utf-8", errors="replace").strip().splitlines()
        except OSError:
            lines = []
        lines = [line for line in lines if line.strip() and not line[0].isspace()]  # without a usage or a stack
        reasons = [line for line in lines if _REASON.search(line)]
        line = (reasons[-1:] or lines[:1] or [f"{file.name} is empty"])[0]
        how = f"{self.died} ended" if self.died else "it was not ready in time"
        step = f"See {place.logs}; `infra-mcp sandbox up --name {place.name} --fresh` starts with nothing."
        return InfraError("setup-failed", f"Sandbox {place.name} did not start: {how}. {line[:500]}", next_step=step)


async def start(place: Place, note: Note) -> None:
    """Start the components and wait until the API server, the node and the default ServiceAccount are ready.

    Raises:
        NotStarted: they did not become ready; what was started is left running.
    """
    pids = place.cluster / "pids"
    for file in pids.glob("*.pid"):
        file.unlink()  # their numbers may be anybody's by now, and kwokctl would believe them
    died, refused, begun = "", False, False

    def ended() -> str:
        """A component that was started and does not run; empty when there is none."""
        expected = {name for name in processes.COMPONENTS if begun or (pids / f"{name}.pid").exists()}
        return min(expected - processes.components(place), default="")

    async def watch() -> None:
        """Notice a component that ends, which kwokctl would wait for in vain."""
        nonlocal died
        while not died:
            died = ended()
            await anyio.sleep(_POLL)
        tasks.cancel_scope.cancel()

    with anyio.move_on_after(_MAX_START) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            refused = not await _run_kwokctl(place, Path(note.bin_dir))
            if not refused:
                begun = True
                await _ready(place, note)
                died = ended()  # one may have ended since the watch looked
            tasks.cancel_scope.cancel()
    if died or refused or scope.cancelled_caught:
        raise NotStarted(died)


async def is_ready(place: Place, note: Note) -> bool:
    """Whether the API server says that it is ready."""
    return (await _ask(place, note, "GET", "/readyz"))[0] == _OK


async def _run_kwokctl(place: Place, bin_dir: Path) -> bool:
    """Let kwokctl create keys and start what does not run; False when it refuses."""
    home = place.folder / "home"
    home.mkdir(exist_ok=True)
    argv = [os.fspath(bin_dir / "kwokctl"), "create", "cluster", "--name", place.name, "--timeout", "100s"]
    argv += ["--config", os.fspath(place.config), "--kubeconfig", os.fspath(place.kubeconfig)]
    # an environment of its own: the user's could configure etcd or kwok, and ~/.kube must stay as it is
    path = f"{bin_dir}{os.pathsep}{os.defpath}"
    done = await anyio.run_process(
        argv,
        env={"PATH": path, "HOME": os.fspath(home), "KWOK_WORKDIR": os.fspath(place.work)},
        cwd=place.folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        check=False,
        start_new_session=True,
    )
    (place.folder / "kwokctl.log").write_bytes(done.stdout)
    return done.returncode == 0


async def _ready(place: Place, note: Note) -> None:
    """Wait for what callers would otherwise have to wait for; each step needs the one before."""

    async def until(path: str, good: Callable[[Any], bool] = lambda _: True) -> None:
        while True:
            code, body = await _ask(place, note, "GET", path)
            if code == _OK and good(body):
                return
            await anyio.sleep(_POLL)

    async def delete_pod() -> None:
        await _ask(place, note, "DELETE", _POD, {"gracePeriodSeconds": 0})

    await until("/readyz")
    await _ask(place, note, "POST", "/api/v1/nodes", config.NODE)
    # once the node takes pods, kwok runs our stages, and the controllers that take its taint off run too
    await until(f"/api/v1/nodes/{config.NODE_NAME}", _takes_pods)
    await until("/api/v1/namespaces/default/serviceaccounts/default")
    # nothing above needs the scheduler, which still gives up when the API server starts slowly
    await delete_pod()
    if (await _ask(place, note, "POST", _PODS, config.POD))[0] == _CREATED:  # the user's quota may refuse it
        # it is placed, or the scheduler says why not: the user may have cordoned the node
        await until(_POD, lambda pod: "PodScheduled" in _conditions(pod))
        await delete_pod()


async def _ask(place: Place, note: Note, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Ask the sandbox's API server as its administrator; status 0 when nothing answers, and the body where it is JSON.

    Without a kubeconfig or a client library, over loopback, checking its certificate.
    """

    def ask() -> tuple[int, Any]:
        pki = place.cluster / "pki"
        try:
            context = ssl.create_default_context(cafile=pki / "ca.crt")
            context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
            server = http.client.HTTPSConnection("127.0.0.1", note.port, timeout=_MAX_ANSWER, context=context)
            with closing(server):
                content = None if body is None else json.dumps(body)
                server.request(method, path, content, {"Content-Type": "application/json"})
                answer = server.getresponse()
                data = answer.read()
        except (OSError, http.client.HTTPException):
            return 0, None
        try:
            return answer.status, json.loads(data)
        except ValueError:
            return answer.status, None

    return await to_thread.run_sync(ask)


def _takes_pods(node: Any) -> bool:  # noqa: ANN401 - JSON
    taints = {taint["key"] for taint in node["spec"].get("taints", [])}
    return _conditions(node).get("Ready") == "True" and taints.isdisjoint(_UNREADY)


def _conditions(item: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    return {one["type"]: one["status"] for one in item.get("status", {}).get("conditions", [])}
