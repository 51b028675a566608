"""What every driver must do, whatever its system: one suite. A kit plugs a driver and its real system in.

A driver that others deliver for is held to the same, but for `CarryingOut`; one that plans no changes, and confirms by
evidence, to `Evident` instead of `Comparing`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Protocol

import anyio
import pytest

from infra_mcp import effects
from infra_mcp.drivers.base import Context, Driver, Prepared, Share
from infra_mcp.errors import InfraError, Moved
from infra_mcp.masking import Masker
from infra_mcp.model.effect import Effect, Part
from infra_mcp.model.target import Target
from infra_mcp.policy.policy import Policy

__all__ = ["NEW", "OLD", "CarryingOut", "Comparing", "Conformance", "Evident", "Holding", "Kit", "Undoing"]

OLD, NEW = "1.0.0", "2.0.0"
_LONG = 60.0  # seconds, for waits that end long before


class Kit(Protocol):
    """A driver's system in a test: two things, both at `OLD`, and what a test does to them.

    Attributes:
        names: the two things.
        policy: by which it is worked.
        circle: on whose behalf.
        masker: what the driver was connected with.
        secret: what nobody may see of what `secret_share` brings.
        slow: a version that is not up at once.
        writes: how many writes bring both there: one where that happens at once or not at all.
    """

    names: tuple[str, str]
    policy: Policy
    circle: str
    masker: Masker
    secret: str
    slow: str
    writes: int

    def connect(self) -> AbstractAsyncContextManager[Driver]:
        """A driver of its own, as after a restart."""

    def share(self, version: str) -> Share:
        """Both things brought to a version."""

    def secret_share(self) -> Share:
        """Something with the secret in it."""

    def target(self, name: str) -> Target:
        """A thing as plans name it; also one that is not there."""

    async def live(self) -> dict[str, str]:
        """The version of each thing."""

    async def ground(self) -> object:
        """Something that every write changes, and nothing else."""

    async def by_others(self, name: str, version: str) -> None:
        """Somebody else changes a thing."""

    async def delivered(self, version: str) -> None:
        """Where others deliver: they bring both things to a version. Nothing where the driver does."""


class _Dead(BaseException):
    """What stops a driver at a point; nothing of the product catches it for good."""


class _Stop:
    """Stops a driver's work at the nth point: before or after an effect."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.passed = at, 0

    def __call__(self, _: str, __: str) -> None:
        self.passed += 1
        if self.at is not None and self.passed >= self.at:
            raise _Dead


@contextmanager
def _observed(observer: Callable[[str, str], None]) -> Iterator[None]:
    effects.observe(observer)
    try:
        yield
    finally:
        effects._observers.remove(observer)


def _context(kit: Kit, **more: object) -> Context:
    return Context("req-conformance", kit.circle, kit.policy, nonce="n" * 32, commit="c" * 40, **more)


async def _landed(kit: Kit, driver: Driver, prepared: Prepared, context: Context | None = None) -> str:
    """Bring it live, by whom it is brought live, and confirm it."""
    context = context or _context(kit)
    if driver.carries_out and prepared.writes:
        await driver.apply(context, prepared)
    await kit.delivered(NEW)
    return await driver.verify(context, prepared, _LONG)


async def _plan(kit: Kit, driver: Driver, context: Context | None = None) -> Prepared:
    """Plan until the ground holds still, as the engine does: what was just written is still being worked on."""
    with anyio.fail_after(_LONG):
        while True:
            with suppress(Moved):
                return await driver.plan(replace(context or _context(kit), seen={}), kit.share(NEW))
            await anyio.sleep(0.01)


class Conformance:
    """What every driver must do."""

    async def test_a_plan_writes_nothing_and_is_the_same_on_equal_ground(self, kit: Kit):
        before, plans = await kit.ground(), []
        for _ in range(2):
            async with kit.connect() as driver:
                plans.append(await _plan(kit, driver))

        assert await kit.ground() == before
        first, second = (Effect(action={}, parts=(_part(one),), files=()) for one in plans)
        assert first.model_dump_json() == second.model_dump_json()
        assert first.digest == second.digest
        assert plans[0].before == plans[1].before

    async def test_progress_is_told_while_it_waits(self, kit: Kit):
        said: list[str] = []
        async with kit.connect() as driver:
            prepared = await driver.plan(_context(kit), kit.share(kit.slow))
            if driver.carries_out:
                await driver.apply(_context(kit), prepared)
            await kit.delivered(kit.slow)
            async with anyio.create_task_group() as group:
                group.start_soon(driver.verify, _context(kit, say=said.append), prepared, _LONG)
                with anyio.fail_after(_LONG):
                    while not said:  # noqa: ASYNC110 - words, and no event
                        await anyio.sleep(0.01)
                group.cancel_scope.cancel()

        assert any(name in said[0] for name in kit.names)
        # A cancelled wait takes nothing back. Meanwhile the loop ends what was cut off, TLS's farewell included.
        assert set(await kit.live()) == set(kit.names)

    async def test_what_does_not_come_in_time_has_not_landed(self, kit: Kit):
        async with kit.connect() as driver:
            prepared = await _plan(kit, driver)
            if driver.carries_out:
                await driver.apply(_context(kit), prepared)
            await kit.by_others(kit.names[0], "9.0.0")
            with pytest.raises(InfraError) as caught:
                await driver.verify(_context(kit), prepared, 0.5)

        assert caught.value.code in {"not-landed", "object-moved"}
        assert kit.names[0] in caught.value.what

    async def test_a_secret_is_in_no_change_no_record_and_no_word(self, kit: Kit):
        said: list[str] = []
        async with kit.connect() as driver:
            context = _context(kit, say=said.append)
            prepared = await driver.plan(context, kit.secret_share())
            if driver.carries_out:
                await driver.apply(context, prepared)
                said.append(await driver.verify(context, prepared, _LONG))

        shown = [one.model_dump_json() for one in (*prepared.changes, *prepared.writes)]
        shown += [json.dumps(prepared.before)] if prepared.before is not None else []
        assert shown
        for text in (*shown, *prepared.notes, *map(str, prepared.drift), *said):
            assert kit.secret not in text
        assert kit.secret not in kit.masker.mask(f"it was {kit.secret} that was read")


class Comparing:
    """What those must do besides that compare a change with what is live."""

    async def test_a_plan_names_every_target_and_what_is_done_to_it(self, kit: Kit):
        async with kit.connect() as driver:
            plan = await _plan(kit, driver)

        targets = {kit.target(name) for name in kit.names}
        assert {one.target for one in plan.writes} == targets
        assert [one.operation for one in plan.changes if one.target in targets] == ["update", "update"]

    async def test_what_landed_is_planned_as_unchanged_and_nothing_more_is_written(self, kit: Kit):
        async with kit.connect() as driver:
            prepared = await _plan(kit, driver)
            said = await _landed(kit, driver, prepared)
            after = await kit.ground()
            again = await _plan(kit, driver)
            await _landed(kit, driver, again)

        assert said
        assert await kit.live() == dict.fromkeys(kit.names, NEW)
        assert ({one.operation for one in again.changes}, again.writes) == ({"unchanged"}, ())
        assert await kit.ground() == after

    async def test_whether_our_write_shows_and_whether_a_target_is_there_is_told(self, kit: Kit):
        async with kit.connect() as driver:
            prepared = await _plan(kit, driver)
            early = await driver.observe(_context(kit), prepared.writes)
            await _landed(kit, driver, prepared)

            assert (early, await driver.observe(_context(kit), prepared.writes)) == (False, True)
            assert await driver.present(_context(kit), kit.target(kit.names[0]))
            assert not await driver.present(_context(kit), kit.target("nobody"))


class Evident:
    """What those must do instead that plan no changes: what was there before confirms nothing, also after a restart."""

    async def test_a_plan_holds_no_change_and_no_write_and_says_what_is_waited_for(self, kit: Kit):
        async with kit.connect() as driver:
            plan = await _plan(kit, driver)

        assert (plan.changes, plan.writes, plan.confirms) == ((), (), True)
        assert all(any(name in note for note in plan.notes) for name in kit.names)

    async def test_what_is_live_before_the_commit_confirms_nothing(self, kit: Kit):
        async with kit.connect() as driver:
            await kit.delivered(NEW)
            plan = await _plan(kit, driver)

        assert not plan.confirms
        assert plan.before is None

    async def test_another_that_knows_what_was_noted_confirms_what_became_live_meanwhile(self, kit: Kit):
        async with kit.connect() as driver:
            noted = (await _plan(kit, driver)).before
        await kit.delivered(NEW)
        async with kit.connect() as driver:
            context = replace(_context(kit), before=noted, resumed=True)
            again = await driver.plan(context, kit.share(NEW))
            said = await driver.verify(context, again, _LONG)

        assert (again.confirms, again.before) == (True, noted)
        assert all(name in said for name in kit.names)

    async def test_a_revert_is_live_when_the_evidence_is_as_it_was(self, kit: Kit):
        async with kit.connect() as driver:
            prepared = await _plan(kit, driver)
            await _landed(kit, driver, prepared)
            context = replace(_context(kit), before=prepared.before)
            undone = await driver.undo(context, prepared.writes)
            with pytest.raises(InfraError, match="not within"):
                await driver.settled(context, prepared.writes, 1.0)
            await kit.delivered(OLD)
            said = await driver.settled(context, prepared.writes, _LONG)

        assert len(undone.restored) == len(kit.names)
        assert undone.skipped == ()
        assert all(name in said for name in kit.names)
        assert await kit.live() == dict.fromkeys(kit.names, OLD)


class Undoing:
    """What those must do besides whose writes can be taken back."""

    async def test_an_undo_restores_what_was_and_twice_writes_once(self, kit: Kit):
        async with kit.connect() as driver:
            prepared = await _plan(kit, driver)
            await _landed(kit, driver, prepared)
        async with kit.connect() as driver:
            undone = await driver.undo(_context(kit), prepared.writes)
            await kit.delivered(OLD)
            said = await driver.settled(_context(kit), prepared.writes, _LONG)
            after = await kit.ground()
            again = await driver.undo(_context(kit), prepared.writes)

        assert set(undone.restored) == {str(kit.target(name)) for name in kit.names}
        assert (undone.skipped, bool(said)) == ((), True)
        assert await kit.live() == dict.fromkeys(kit.names, OLD)
        assert (await kit.ground(), set(again.restored)) == (after, set(undone.restored))

    async def test_an_undo_leaves_what_others_changed_since_and_names_it(self, kit: Kit):
        mine, theirs = kit.names
        async with kit.connect() as driver:
            prepared = await _plan(kit, driver)
            await _landed(kit, driver, prepared)
            await kit.by_others(theirs, "9.0.0")
            undone = await driver.undo(_context(kit), prepared.writes)

        assert undone.restored == (str(kit.target(mine)),)
        assert len(undone.skipped) == 1
        assert undone.skipped[0].startswith(str(kit.target(theirs)))
        assert (await kit.live())[theirs] == "9.0.0"


class Holding:
    """What those must do instead whose writes cannot be taken back: say so, and write nothing."""

    async def test_an_undo_writes_nothing_and_names_everything_that_stays(self, kit: Kit):
        async with kit.connect() as driver:
            prepared = await _plan(kit, driver)
            await _landed(kit, driver, prepared)
            after = await kit.ground()
            undone = await driver.undo(_context(kit), prepared.writes)

        assert prepared.on_failure == "hold"
        assert (undone.restored, len(undone.skipped)) == ((), len(kit.names))
        for name, said in zip(kit.names, sorted(undone.skipped), strict=True):
            assert said.startswith(str(kit.target(name)))
        assert await kit.ground() == after


class CarryingOut:
    """What those must do besides that make changes live themselves."""

    async def test_where_the_ground_moved_nothing_is_written_and_it_is_planned_again(self, kit: Kit):
        async with kit.connect() as driver:
            prepared = await _plan(kit, driver)
            for name in kit.names:
                await kit.by_others(name, "9.0.0")
            moved = await kit.ground()
            with pytest.raises(Moved):
                await driver.apply(_context(kit), prepared)

            assert await kit.ground() == moved
            await _landed(kit, driver, await _plan(kit, driver))
        assert await kit.live() == dict.fromkeys(kit.names, NEW)

    async def test_an_apply_cancelled_between_two_writes_is_finished_by_a_plan_and_another(self, kit: Kit):
        scope = anyio.CancelScope()

        def cancel(_: str, when: str) -> None:
            if when == "after":
                scope.cancel()

        async with kit.connect() as driver:
            prepared = await _plan(kit, driver)
            with _observed(cancel), scope:
                await driver.apply(_context(kit), prepared)
        assert scope.cancel_called
        await self._finished(kit, prepared)

    async def test_one_killed_between_any_two_steps_is_followed_by_another_that_comes_to_the_same_end(self, kit: Kit):
        at, whole = 0, False
        while not whole:
            at += 1
            async with kit.connect() as driver:
                prepared = await _plan(kit, driver)
                stop = _Stop(at)
                with suppress(_Dead, BaseExceptionGroup), _observed(stop):
                    await driver.apply(_context(kit), prepared)
            whole = stop.passed < at  # there is no such point: it came through
            await self._finished(kit, prepared)
            await self._taken_back(kit, prepared)
            assert await kit.live() == dict.fromkeys(kit.names, OLD), at
        assert at > kit.writes * 2  # a point before and after each write

    async def _taken_back(self, kit: Kit, prepared: Prepared) -> None:
        """Bring both back to what they were."""
        if prepared.on_failure == "hold":
            for name in kit.names:
                await kit.by_others(name, OLD)
            return
        async with kit.connect() as driver:
            await driver.undo(_context(kit), prepared.writes)
            await driver.settled(_context(kit), prepared.writes, _LONG)

    async def _finished(self, kit: Kit, prepared: Prepared) -> None:
        """Another driver, which knows what was noted before the first write, comes to the end; nothing is doubled."""
        async with kit.connect() as driver:
            context = replace(_context(kit), resumed=True, written=prepared.writes)
            left = await _plan(kit, driver, context)
            noted = {one.target.key for one in prepared.writes}
            assert {one.target.key for one in left.writes} <= noted
            await _landed(kit, driver, left, context)
            after = await kit.ground()
            await _landed(kit, driver, await _plan(kit, driver, context), context)
        assert await kit.live() == dict.fromkeys(kit.names, NEW)
        assert await kit.ground() == after


def _part(prepared: Prepared) -> Part:
    return Part(driver="it", place="here", stage=0, changes=prepared.changes)
