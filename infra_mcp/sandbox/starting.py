"""Starting what a sandbox's folder describes, and waiting until callers need wait for nothing more."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio

from infra_mcp.sandbox import config, processes
from infra_mcp.sandbox.places import Note, Place
from infra_mcp.sandbox.probe import Probe

_LONGEST_START = 120.0  # seconds; some four when the machine has nothing else to do
_POLL = 0.1  # seconds; each look costs the API server a handshake
_OK, _CREATED = 200, 201
_POD = f"/api/v1/namespaces/default/pods/{config.POD['metadata']['name']}"
_UNREADY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")  # the controllers' own taints
_TELLING = re.compile(r"error|fatal|fail|panic|already in use", re.IGNORECASE)


class Unstarted(Exception):  # noqa: N818 - a reason to look further, never shown
    """The sandbox did not become ready.

    Args:
        died: the component that ended meanwhile; empty when time ran out or kwokctl refused.
    """

    def __init__(self, died: str = "") -> None:
        super().__init__(died)
        self.died = died


async def start(place: Place, note: Note) -> None:
    """Start the components and wait until the API server, the node and the default ServiceAccount are ready.

    Raises:
        Unstarted: it did not come to that; what was started is left running.
    """
    for file in (place.cluster / "pids").glob("*.pid"):
        file.unlink()  # their numbers may be anybody's by now, and kwokctl would believe them
    died, begun = "", False

    def ended() -> str:
        """A component that was started and does not run; empty when there is none."""
        started = {file.stem for file in (place.cluster / "pids").glob("*.pid")}
        expected = started.intersection(processes.COMPONENTS) if not begun else set(processes.COMPONENTS)
        return min(expected - processes.components(place), default="")

    async def watch() -> None:
        """Notice a component that ends, which kwokctl would wait for in vain."""
        nonlocal died
        while not died:
            died = ended()
            await anyio.sleep(_POLL)
        tasks.cancel_scope.cancel()

    refused = False
    with anyio.move_on_after(_LONGEST_START) as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            refused = not await _kwokctl(place, Path(note.bin_dir))
            if not refused:
                begun = True
                await _ready(Probe(place, note.port))
                died = ended()  # one may have ended since the watch looked
            tasks.cancel_scope.cancel()
    if died or refused or scope.cancelled_caught:
        raise Unstarted(died)


def why(place: Place, died: str) -> str:
    """The line that tells most, of the log of the component that ended, or of kwokctl's."""
    file = place.logs / f"{died}.log" if died else place.folder / "kwokctl.log"
    try:
        lines = file.read_text("utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    lines = [line for line in lines if line.strip() and not line[0].isspace()]  # without a usage or a stack
    telling = [line for line in lines if _TELLING.search(line)]
    return (telling[-1:] or lines[:1] or [f"{file.name} says nothing"])[0]


async def _kwokctl(place: Place, bin_dir: Path) -> bool:
    """Let kwokctl make keys and start what does not run; False when it refuses."""
    home = place.folder / "home"
    home.mkdir(exist_ok=True)
    argv = [os.fspath(bin_dir / "kwokctl"), "create", "cluster", "--name", place.name, "--timeout", "100s"]
    files = ["--config", os.fspath(place.config), "--kubeconfig", os.fspath(place.kubeconfig)]
    # an environment of its own: the user's could configure etcd or kwok, and ~/.kube must stay as it is
    path = f"{bin_dir}{os.pathsep}{os.defpath}"
    environment = {"PATH": path, "HOME": os.fspath(home), "KWOK_WORKDIR": os.fspath(place.work)}
    done = await anyio.run_process(
        [*argv, *files],
        env=environment,
        cwd=place.folder,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        check=False,
        start_new_session=True,
    )
    (place.folder / "kwokctl.log").write_bytes(done.stdout)
    return done.returncode == 0


async def _ready(probe: Probe) -> None:
    """Wait for what callers would otherwise have to wait for; each step needs the one before."""
    await _until(probe, "/readyz", lambda _: True)
    await probe.post("/api/v1/nodes", config.NODE)
    # once the node takes pods, kwok runs our stages, and the controllers that take its taint off run too
    await _until(probe, f"/api/v1/nodes/{config.NODE_NAME}", _takes_pods)
    await _until(probe, "/api/v1/namespaces/default/serviceaccounts/default", lambda _: True)
    # nothing above needs the scheduler, which still gives up when the API server came slowly
    await probe.delete(_POD)
    if await probe.post("/api/v1/namespaces/default/pods", config.POD) == _CREATED:  # the user's quota may refuse it
        await _until(probe, _POD, _considered)
        await probe.delete(_POD)


async def _until(probe: Probe, path: str, good: Callable[[Any], bool]) -> None:
    while True:
        code, body = await probe.get(path)
        if code == _OK and good(body):
            return
        await anyio.sleep(_POLL)


def _takes_pods(node: Any) -> bool:  # noqa: ANN401 - JSON
    taints = {taint["key"] for taint in node["spec"].get("taints", [])}
    return _conditions(node).get("Ready") == "True" and taints.isdisjoint(_UNREADY)


def _considered(pod: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether the scheduler has placed it, or said why not: the user may have cordoned the node."""
    return "PodScheduled" in _conditions(pod)


def _conditions(item: Any) -> dict[str, str]:  # noqa: ANN401 - JSON
    return {one["type"]: one["status"] for one in item.get("status", {}).get("conditions", [])}
