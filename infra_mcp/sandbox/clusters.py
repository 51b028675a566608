"""A sandbox's life: up, status, down.

`up` returns when callers need wait for nothing more, and leaves processes that outlive it. When it is killed, its note
still says `starting`; the next `up` or `down` ends what it had started.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio import to_thread

from infra_mcp.binaries.locks import exclusive
from infra_mcp.binaries.progress import Progress
from infra_mcp.errors import InfraError
from infra_mcp.sandbox import config, processes
from infra_mcp.sandbox.binaries import Source, ensure
from infra_mcp.sandbox.places import Note, Place
from infra_mcp.sandbox.starting import NotStarted, is_ready, start

_TRIES = 3  # a port that was free can be taken, and a controller gives up on an API server that starts slowly


@dataclass(frozen=True)
class Status:
    """The state of a sandbox."""

    name: str
    state: str  # `up`; `none`; or `broken`, when some of its processes are missing or an `up` has not ended
    kubeconfig: str  # the path of its administrator's kubeconfig
    context: str  # in the kubeconfig
    server: str  # the API server's URL; empty when there is none
    kubectl: str  # the path of a kubectl of its version; empty when there is none
    pids: dict[str, int]  # its processes, by name


async def up(
    name: str = "infra", *, progress: Progress | None = None, fresh: bool = False, source: Source | None = None
) -> Status:
    """Start the sandbox called `name`, unless it is up.

    One whose processes are gone (the machine was restarted) starts again with its objects.

    Args:
        name: lower-case letters, digits and hyphens; each name is a cluster of its own.
        progress: reports what takes long.
        fresh: remove the former sandbox of that name first.
        source: the only source of the binaries; see `binaries.ensure`.

    Returns:
        The sandbox: its API server is ready, its node takes pods, and the default ServiceAccount is there.

    Raises:
        InfraError: `setup-failed`, with the reason and where the logs are; `invalid-argument` for the name.
    """
    place = Place(name)
    progress = progress or Progress()
    async with exclusive(place.lock, lambda: progress.say(f"another command works on sandbox {name}; waiting")):
        note = place.read()
        if fresh or note is None or note.state != "ready":
            bin_dir = await ensure(progress, source)
            progress.say(f"starting sandbox {name}")
            note = await _start(place, bin_dir)
        elif not await _is_alive(place, note):
            if not os.access(Path(note.bin_dir) / "kwokctl", os.X_OK):
                what = f"The binaries that sandbox {name} was created with are gone from {note.bin_dir}."
                step = f"`infra-mcp sandbox up --name {name} --fresh` creates it anew, without its objects."
                raise InfraError("setup-failed", what, next_step=step)
            progress.say(f"starting sandbox {name} again, with its objects")
            note = await _start(place, Path(note.bin_dir), note)
        return _status(place, note, "up")


async def down(name: str = "infra") -> bool:
    """Remove every process and every file of the sandbox called `name`; returns whether there were any.

    Raises:
        InfraError: `setup-failed`, when one of its processes cannot be ended.
    """
    place = Place(name)
    if not place.folder.exists() and not place.lock.exists() and not processes.running(place):
        return False
    async with exclusive(place.lock):
        existed = place.folder.exists()
        ended = await processes.end(place)
        await _delete(place)
        place.lock.unlink(missing_ok=True)
        return existed or ended > 0


async def status() -> list[Status]:
    """The status of every sandbox, by name."""
    return [await status_of(place.name) for place in Place.all()]


async def status_of(name: str) -> Status:
    """The status of the sandbox called `name`.

    Raises:
        InfraError: `invalid-argument` for the name.
    """
    place = Place(name)
    note = place.read()
    if note is not None and note.state == "ready" and await _is_alive(place, note):
        return _status(place, note, "up")
    return _status(place, note, "broken" if place.folder.exists() or processes.running(place) else "none")


def _status(place: Place, note: Note | None, state: str) -> Status:
    return Status(
        name=place.name,
        state=state,
        kubeconfig=os.fspath(place.kubeconfig),
        context=place.context,
        server=f"https://127.0.0.1:{note.port}" if note else "",
        kubectl=os.fspath(Path(note.bin_dir) / "kubectl") if note else "",
        pids={child.name: child.pid for child in processes.running(place)},
    )


async def _is_alive(place: Place, note: Note) -> bool:
    return processes.components(place).issuperset(processes.COMPONENTS) and await is_ready(place, note)


async def _delete(place: Place) -> None:
    if place.folder.exists():
        await to_thread.run_sync(shutil.rmtree, place.folder)


async def _create(place: Place, bin_dir: Path) -> Note:
    """Write a new sandbox's folder; whatever was there is removed."""
    await _delete(place)
    place.folder.mkdir(mode=0o700, parents=True)
    ports = config.free_ports()
    note = Note("starting", os.fspath(bin_dir), ports["kubeApiserver"])
    place.write(note)
    config.write(place, bin_dir, ports)
    return note


async def _start(place: Place, bin_dir: Path, kept: Note | None = None) -> Note:
    """Start the kept sandbox or a new one, again when a component ends; a failure leaves its logs and no process."""
    for last in [False] * (_TRIES - 1) + [True]:
        try:
            await processes.end(place)
            note = kept or await _create(place, bin_dir)
            await start(place, note)
            break
        except NotStarted as reason:
            await processes.end(place)
            if last or not reason.died:
                raise reason.as_error(place) from None
        except BaseException:
            with anyio.CancelScope(shield=True):
                await processes.end(place)
            raise
    ready = replace(note, state="ready")
    place.write(ready)
    return ready
