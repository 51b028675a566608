"""Drivers whose world is a JSON file: one carries changes out, one confirms what somebody else delivers.

The file outlives a server that was killed, and keeps every write in order, so that a test sees what was doubled. A
thing is one file of the repository with one object in it; how it fares stands in its value, as with the tags of the
sandbox's images: `2-denied` cannot be written, `2-broken` never comes up, `2-slow` comes up when the test says so.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from infra_mcp.drivers.base import Context, Delivery, Owner, Place, Prepared, Question, Setup, Share, Undone
from infra_mcp.effects import effect
from infra_mcp.errors import InfraError, Moved
from infra_mcp.masking import Masker
from infra_mcp.model.digest import digest
from infra_mcp.model.effect import Change, FieldChange
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import Policy

__all__ = ["KIND", "SCOPE", "Json", "JsonWorld", "body", "deliveries"]

KIND, SCOPE = "ConfigMap", "docs-live"
SECRET = "password"
_STEP = 0.005  # seconds between two looks

Data = dict[str, str]


def body(name: str, **data: str) -> bytes:
    """The file of a thing, as the repository has it."""
    metadata = {"name": name, "namespace": SCOPE}
    return (json.dumps({"apiVersion": "v1", "kind": KIND, "metadata": metadata, "data": data}) + "\n").encode()


@dataclass(frozen=True)
class JsonWorld:
    """What is live: things by name, and every write there ever was.

    Args:
        path: the file.
    """

    path: Path

    def things(self) -> dict[str, Any]:
        """Each thing: its `data`, whether it is `ready`, and `by` whom it was written last."""
        return self._load()["things"]

    def data(self, name: str) -> Data | None:
        """What is live of a thing; None when it is not there."""
        one = self.things().get(name)
        return one["data"] if one else None

    def writes(self) -> list[tuple[str, str, str]]:
        """Every write in order: by whom, of which thing, to which value; empty for one taken away."""
        return [tuple(one) for one in self._load()["writes"]]

    def put(self, name: str, data: Data | None, *, by: str, on: tuple[Data | None] | None = None) -> None:
        """Write a thing, atomically; with `on` only if it is still as said there.

        Raises:
            Moved: it is not.
        """
        with self._locked() as world:
            live = world["things"].get(name, {}).get("data")
            if on is not None and _public(live) != on[0]:
                raise Moved(name)
            if data is None:
                world["things"].pop(name, None)
            else:
                world["things"][name] = {"data": data, "by": by, "ready": not _fate(data)}
            world["writes"].append([by, name, (data or {}).get("value", "")])

    def ready(self, name: str) -> None:
        """Let a thing come up."""
        with self._locked() as world:
            world["things"][name]["ready"] = True

    def _load(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {"things": {}, "writes": []}

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """The world to be changed; nobody else changes it meanwhile, and what is killed in between changed nothing."""
        lock = os.open(f"{self.path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            world = self._load()
            yield world
            fresh = self.path.with_suffix(".new")
            fresh.write_text(json.dumps(world), encoding="utf-8")
            fresh.replace(self.path)
        finally:
            os.close(lock)


class Json:
    """A driver on such a world. Holds no state.

    Args:
        system: what holds its targets.
        place: policy's name of the place.
        world: what is live there.
        masker: learns every secret that is read.
        carries_out: whether it writes, or waits for who does.
    """

    def __init__(self, system: str, place: str, world: JsonWorld, masker: Masker, *, carries_out: bool) -> None:
        self.where = f"{place} ({system})"
        self.carries_out = carries_out
        self._system, self._place = system, place
        self._world, self._masker = world, masker

    def target(self, name: str) -> Target:
        """A thing as plans and records name it."""
        return Target(system=self._system, place=self._place, scope=SCOPE, kind=KIND, name=name)

    async def read(self, _: Context, target: Target) -> dict[str, Any] | None:
        """What is live of a thing."""
        return self._world.data(target.name)

    async def owner(self, _: Context, target: Target) -> Owner | None:
        """What a thing says that delivers it."""
        name = (self._world.data(target.name) or {}).get("owner")
        return Owner("Json", "file", name) if name else None

    async def plan(self, context: Context, share: Share) -> Prepared:
        """Compare the files of the share with the world."""
        wanted = {name: data for path in _paths(share) for name, data in _things(share, path)}
        changes, writes, needs = [], [], {}
        for name, data in sorted(wanted.items()):
            live = self._world.data(name)
            for secret in filter(None, ((live or {}).get(SECRET), data.get(SECRET))):
                self._masker.learn(secret)
            need = self._need(context, data)
            if need is not None:
                needs[need.key] = need
            change = self._change(name, live, data, late=need is not None)
            changes.append(change)
            if change.operation != "unchanged":
                undo = {"before": _public(live), "after": _public(data)}
                writes.append(Written(target=change.target, operation=change.operation, undo=undo))
        goal = share.goal
        notes = tuple(f"{target} is not there yet" for _, target in sorted(needs.items()))
        return Prepared(
            tuple(changes), tuple(writes), goal.on_failure, goal.timeout, wanted, tuple(needs.values()), notes=notes
        )

    def _need(self, context: Context, data: Data) -> Target | None:
        """What an earlier part of the same request must make first."""
        if "needs" not in data:
            return None
        system, name = data["needs"].split("/")
        target = Target(system=system, place=self._place, scope=SCOPE, kind=KIND, name=name)
        return target if target.key in context.made else None

    def _change(self, name: str, live: Data | None, data: Data, *, late: bool) -> Change:
        operation = "create" if live is None else "unchanged" if live == data else "update"
        fields = tuple(
            FieldChange(
                path=("data", key),
                before=_shown(key, (live or {}).get(key)),
                after=_shown(key, data.get(key)),
                had=key in (live or {}),
                has=key in data,
            )
            for key in sorted({*(live or {}), *data})
            if (live or {}).get(key) != data.get(key)
        )
        checked = "none" if operation == "unchanged" else "schema" if late else "server-dry-run"
        target, intent = self.target(name), digest(_public(data))
        return Change(target=target, operation=operation, fields=fields, checked=checked, intent=intent)

    async def apply(self, context: Context, prepared: Prepared) -> None:
        """Write what differs, each on what it was planned on."""
        assert self.carries_out, "what others deliver is not applied"
        for one in prepared.writes:
            await anyio.lowlevel.checkpoint()
            undo: Any = one.undo
            context.say(f"writing {one.target}")
            if "-denied" in undo["after"]["value"]:
                raise InfraError("object-invalid", f"{one.target} may not be written.")
            data = prepared.own[one.target.name]
            await _write(self._world, one.target.name, data, context.request, undo["before"])

    async def verify(self, context: Context, prepared: Prepared, seconds: float) -> str:
        """Wait until every thing is as asked and has come up."""
        for name, data in sorted(prepared.own.items()):
            await self._comes(context, name, _public(data), seconds)
        return ", ".join(f"{name} says {data['value']}" for name, data in sorted(prepared.own.items()))

    async def _comes(self, context: Context, name: str, data: Data | None, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            while True:
                live = self._world.things().get(name)
                if _public(live and live["data"]) == data:
                    if data is not None and "-broken" in data["value"]:
                        raise InfraError("not-landed", f"{self.target(name)} does not come up.")
                    if live is None or live["ready"]:
                        return
                context.say(f"{self.target(name)}: waiting")
                await anyio.sleep(_STEP)
        raise InfraError("not-landed", f"{self.target(name)} did not come to be as asked.")

    async def present(self, _: Context, target: Target) -> bool:
        """Whether a thing is there, come up or not."""
        return self._world.data(target.name) is not None

    async def observe(self, _: Context, written: Sequence[Written]) -> bool:
        """Whether any thing is as we left it."""
        return any(_public(self._world.data(one.target.name)) == one.undo["after"] for one in written)

    async def undo(self, context: Context, written: Sequence[Written]) -> Undone:
        """Put back each thing that is still as we left it; where others deliver, only say which that are."""
        restored, skipped = [], []
        for one in reversed(written):
            undo: Any = one.undo
            raw = self._world.data(one.target.name)
            live = _public(raw)
            if live not in (undo["before"], undo["after"]):
                skipped.append(f"{one.target} (someone else changed it since)")
                continue
            if live != undo["before"] and self.carries_out:
                by, kept = f"{context.request}.undo", {SECRET: raw[SECRET]} if SECRET in raw else {}
                former = None if undo["before"] is None else undo["before"] | kept  # a secret is in no record
                await _take_back(self._world, one.target.name, former, by, undo["after"])
            restored.append(str(one.target))
        return Undone(tuple(restored), tuple(skipped))

    async def settled(self, context: Context, written: Sequence[Written], seconds: float) -> str:
        """Wait until each thing is what it was."""
        for one in written:
            await self._comes(context, one.target.name, one.undo["before"], seconds)
        return ", ".join(f"{one.target} is what it was" for one in written)

    async def answers(self) -> bool:
        """A file always answers."""
        return True

    async def excess(self) -> str:
        """A file knows no rights."""
        return ""

    async def status(self, _: Context, question: Question) -> dict[str, Any]:
        """Everything that is there."""
        return {"scope": question.scope, "things": self._world.things()}


def _paths(share: Share) -> list[str]:
    return list(dict.fromkeys(location.path for location in share.addressed))


def _things(share: Share, path: str) -> list[tuple[str, Data]]:
    data = share.after.read(path)
    found = json.loads(data) if data is not None else None
    return [(found["metadata"]["name"], found["data"])] if found else []


def _fate(data: Data) -> str:
    return data["value"].partition("-")[2]


def _shown(key: str, value: str | None) -> str | None:
    return digest(value) if key == SECRET and value is not None else value


def _public(data: Data | None) -> Any:
    """The same without what nobody is shown: what records keep and comparisons use."""
    return data and {key: _shown(key, value) for key, value in data.items()}


@effect("json.write")
async def _write(world: JsonWorld, name: str, data: Data, by: str, on: Data | None) -> None:
    world.put(name, data, by=by, on=(on,))


@effect("json.undo")
async def _take_back(world: JsonWorld, name: str, data: Data | None, by: str, on: Data) -> None:
    world.put(name, data, by=by, on=(on,))


def deliveries(folder: Path) -> dict[str, Delivery]:
    """Both kinds under names that policy's roots may have: `kubernetes` carries out, `external` confirms.

    Args:
        folder: where the world lies, `world.json`.
    """
    world = JsonWorld(folder / "world.json")

    def made(name: str, system: str, *, carries_out: bool) -> Delivery:
        @asynccontextmanager
        async def connect(setup: Setup, _: Policy, place: str) -> AsyncIterator[Json]:
            yield Json(system, place, world, setup.masker, carries_out=carries_out)

        return Delivery(name, system, lambda _, place: Place(f"{place} ({system})", place), connect)

    return {
        "kubernetes": made("kubernetes", "json", carries_out=True),
        "external": made("external", "told", carries_out=False),
    }
