"""A sandbox's life: up, status, down.

`up` returns when callers need wait for nothing more, and leaves processes that outlive it. One killed on its way leaves
a note that says `starting`; the next `up` or `down` ends what it had started.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from infra_mcp.errors import InfraError
from infra_mcp.sandbox import config, processes
from infra_mcp.sandbox.binaries import Source, ensure
from infra_mcp.sandbox.locks import exclusive
from infra_mcp.sandbox.places import Note, Place
from infra_mcp.sandbox.probe import Probe
from infra_mcp.sandbox.progress import Progress
from infra_mcp.sandbox.starting import Unstarted, start, why

_TRIES = 3  # a port that was free can be taken, and a controller gives up on an API server that is slow to come
_OK = 200


@dataclass(frozen=True)
class Sandbox:
    """A control plane that is up.

    Args:
        name: its name.
        kubeconfig: the kubeconfig of its administrator.
        context: the context in it.
        bin_dir: its binaries.
    """

    name: str
    kubeconfig: Path
    context: str
    bin_dir: Path

    @property
    def kubectl(self) -> Path:
        """A kubectl of its version."""
        return self.bin_dir / "kubectl"


@dataclass(frozen=True)
class Status:
    """What is there of a sandbox.

    Args:
        name: the sandbox.
        state: `up`; `none`; or `broken`, when some of its processes are not there or an `up` has not ended.
        kubeconfig: the path of its kubeconfig.
        context: the context in it.
        server: the API server's URL; empty when there is none.
        kubectl: the path of a kubectl of its version; empty when there is none.
        pids: its processes, by name.
    """

    name: str
    state: str
    kubeconfig: str
    context: str
    server: str
    kubectl: str
    pids: dict[str, int]


async def up(
    name: str = "infra", *, progress: Progress | None = None, fresh: bool = False, source: Source | None = None
) -> Sandbox:
    """Bring the sandbox called `name` up, or say at once that it is.

    One whose processes are gone (the machine was restarted) starts again with its objects.

    Args:
        name: lower-case letters, digits and hyphens; each name is a cluster of its own.
        progress: told about what takes long.
        fresh: remove what there is of it first.
        source: the only way to have the binaries; see `binaries.ensure`.

    Returns:
        The sandbox: its API server is ready, its node takes pods, and the default ServiceAccount is there.

    Raises:
        InfraError: `setup-failed`, with the reason and where the logs are; `invalid-argument` for the name.
    """
    place = Place.of(name)
    progress = progress or Progress()
    async with exclusive(place.lock, lambda: progress.say(f"another command works on sandbox {name}; waiting")):
        note = place.read()
        if fresh or note is None or note.state != "ready":
            bin_dir = await ensure(progress, source)
            progress.say(f"starting sandbox {name}")
            await _create(place, bin_dir)
        else:
            bin_dir = Path(note.bin_dir)
            if not await _alive(place, note):
                progress.say(f"starting sandbox {name} again, with its objects")
                await _again(place, note)
        return Sandbox(name, place.kubeconfig, place.context, bin_dir)


async def down(name: str = "infra") -> bool:
    """Remove the sandbox called `name`: every process and every file of it, and nothing else.

    Returns:
        Whether there was anything of it.

    Raises:
        InfraError: `setup-failed`, when a process of it cannot be ended.
    """
    place = Place.of(name)
    if not place.folder.exists() and not place.lock.exists() and not processes.running(place):
        return False
    async with exclusive(place.lock):
        there = place.folder.exists()
        ended = await _remove(place)
        place.lock.unlink(missing_ok=True)
        return there or ended > 0


async def status() -> list[Status]:
    """Every sandbox there is, by name."""
    return [await status_of(place.name) for place in Place.all()]


async def status_of(name: str) -> Status:
    """What there is of the sandbox called `name`.

    Raises:
        InfraError: `invalid-argument` for the name.
    """
    place = Place.of(name)
    note = place.read()
    alive = note is not None and note.state == "ready" and await _alive(place, note)
    return Status(
        name=place.name,
        state="up" if alive else "broken" if place.folder.exists() or processes.running(place) else "none",
        kubeconfig=os.fspath(place.kubeconfig),
        context=place.context,
        server=f"https://127.0.0.1:{note.port}" if note else "",
        kubectl=os.fspath(Path(note.bin_dir) / "kubectl") if note else "",
        pids={child.name: child.pid for child in processes.running(place)},
    )


async def _alive(place: Place, note: Note) -> bool:
    there = processes.components(place)
    return there.issuperset(processes.COMPONENTS) and (await Probe(place, note.port).get("/readyz"))[0] == _OK


async def _remove(place: Place) -> int:
    """End and delete all of it but the lock; returns how many processes there were."""
    ended = await processes.end(place)
    if place.folder.exists():
        await anyio.to_thread.run_sync(shutil.rmtree, place.folder)
    return ended


async def _create(place: Place, bin_dir: Path) -> None:
    """Make and start it, from nothing each time it is tried; what fails leaves no process, but its logs."""
    for attempt in range(1, _TRIES + 1):
        await _remove(place)
        place.folder.mkdir(mode=0o700, parents=True)
        ports = config.free_ports()
        note = Note("starting", os.fspath(bin_dir), ports["kubeApiserver"])
        place.write(note)
        config.write(place, bin_dir, ports)
        if await _started(place, note, last=attempt == _TRIES):
            return


async def _again(place: Place, note: Note) -> None:
    """Start what its folder describes, all of it, on its ports, with its data and the binaries it was made with."""
    if not os.access(Path(note.bin_dir) / "kwokctl", os.X_OK):
        what = f"The binaries that sandbox {place.name} was made with are gone from {note.bin_dir}."
        step = f"`infra-mcp sandbox up --name {place.name} --fresh` makes it anew, without its objects."
        raise InfraError("setup-failed", what, next_step=step)
    for attempt in range(1, _TRIES + 1):
        if await _started(place, note, last=attempt == _TRIES):
            return


async def _started(place: Place, note: Note, *, last: bool) -> bool:
    """Try to start it; False when a component ended and there is one more try."""
    try:
        await processes.end(place)
        await start(place, note)
    except Unstarted as reason:
        await processes.end(place)
        if reason.died and not last:
            return False
        raise _failure(place, reason) from None
    except BaseException:
        with anyio.CancelScope(shield=True):
            await processes.end(place)
        raise
    place.write(Note("ready", note.bin_dir, note.port))
    return True


def _failure(place: Place, reason: Unstarted) -> InfraError:
    how = f"{reason.died} ended" if reason.died else "it was not ready in time"
    what = f"Sandbox {place.name} did not start: {how}. {why(place, reason.died)[:500]}"
    step = f"See {place.logs}; `infra-mcp sandbox up --name {place.name} --fresh` starts with nothing."
    return InfraError("setup-failed", what, next_step=step)
