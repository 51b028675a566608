"""Applies a saved plan in the folder it was made in, and confirms by a second plan that nothing is left to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from anyio import to_thread

from infra_mcp.clients.terraform import Cli, Stream, TerraformError
from infra_mcp.drivers.base import Context
from infra_mcp.drivers.terraform.effect import PlanView
from infra_mcp.drivers.terraform.plan import Serial, Work, file_digest
from infra_mcp.drivers.terraform.runner import Runner
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.outcome import Written
from infra_mcp.text import one_line

_CONFIRMING: Final = 30.0  # seconds that a second plan has at least, also where the apply took all the time
_NAMED: Final = 10  # resources or outputs named in a message
_SHOWN: Final = 200  # characters of an output


async def apply(runner: Runner, context: Context, work: Work) -> None:
    """Apply exactly the plan that was shown, in exactly its folder.

    Raises:
        Moved: the state, the plan or the folder changed since: nothing was written, plan again.
        InfraError: `not-landed`: it failed, with what was done by then; `workspace-locked`, `run-stopped`.
    """
    on = (work.serial.lineage, work.serial.number)
    runner.unwritten.discard(on)
    try:
        await _apply(runner, context, work)
    except Moved:
        runner.unwritten.add(on)
        raise


async def _apply(runner: Runner, context: Context, work: Work) -> None:
    await _require_unmoved(runner, work)
    prepared = replace(work.prepared, cli=replace(work.prepared.cli, say=context.say, place=_sealed(work)))

    async def run(cli: Cli, started: Callable[[int], None]) -> Stream:
        return await cli.apply(work.plan, prepared.apply_files, started)

    try:
        await runner.locking(prepared, run, is_apply=True)
    except TerraformError as error:
        if error.is_stale:
            raise Moved(runner.where) from error
        if error.lock is not None:
            raise error.translate(runner.where, runner.setup.masker.mask) from error
        raise _failed(runner, error) from error


async def confirmed(runner: Runner, context: Context, work: Work, seconds: float) -> str:
    """Plan again, and say what is now true when that plan is empty.

    Raises:
        InfraError: `not-landed`: the second plan would change something still; `plan-failed`, `workspace-locked`.
    """
    view = work.view
    if not view.is_empty:
        place = replace(_sealed(work), seconds=max(seconds, _CONFIRMING))
        prepared = replace(work.prepared, cli=replace(work.prepared.cli, say=context.say, place=place))
        path = prepared.folder.path / "plan-confirming"

        async def run(cli: Cli, started: Callable[[int], None]) -> object:
            return await cli.plan(path, started=started)

        try:
            await runner.told(partial(runner.locking, prepared, run, is_apply=False))
        except InfraError as error:
            if error.code != "run-stopped":
                raise
            what = f"{runner.where} was applied ({_some([one.address for one in view.resources])}), and not confirmed: "
            raise InfraError("not-landed", what + error.what) from error
        shown = await runner.told(partial(prepared.cli.show, path))
        await to_thread.run_sync(path.unlink)
        prepared.reader.learn(shown)
        view = prepared.reader.view(shown)
        if not view.is_empty:
            raise InfraError("not-landed", _left(runner, view))
        await to_thread.run_sync(partial(work.plan.unlink, missing_ok=True))
    return _facts(runner, work, view)


async def shows(runner: Runner, written: Sequence[Written]) -> bool:
    """Whether the state is another one than these writes were planned on, or that cannot be told.

    A run that was killed may have made what it never wrote into the state. One that was refused because others had
    changed the state wrote nothing.

    Raises:
        InfraError: `cannot-observe`: nothing has been planned here, so that the state cannot be read.
    """
    if any(one.is_apply for one in await to_thread.run_sync(runner.runs.left)):
        return True
    if runner.last is None:
        raise InfraError("cannot-observe", f"The state of {runner.where} cannot be read before there is a plan.")
    now = Serial.of(await runner.told(runner.last.cli.state))
    planned = {(one.undo.get("lineage"), one.undo.get("serial")) for one in written if isinstance(one.undo, dict)}
    return not planned <= {(now.lineage, now.number), *runner.unwritten}


async def _require_unmoved(runner: Runner, work: Work) -> None:
    """A plan that was made on an empty state is not refused by itself when there is one by now: so look."""
    folder = work.prepared.folder
    contents = await to_thread.run_sync(folder.contents)
    if contents != work.contents or await to_thread.run_sync(_digest_or_none, work) != work.plan_digest:
        raise Moved(f"the folder of {runner.where}")
    if not work.serial.lineage or work.view.is_empty_state:
        now = Serial.of(await runner.told(work.prepared.cli.state))
        if now != work.serial:
            raise Moved(runner.where)


def _digest_or_none(work: Work) -> str | None:
    return file_digest(work.plan) if work.plan.is_file() else None


def _sealed(work: Work) -> Any:  # noqa: ANN401 - a place
    return replace(work.prepared.cli.place, sealed=work.prepared.folder.tree)


def _failed(runner: Runner, error: TerraformError) -> InfraError:
    """What an apply had done when it failed, and what it was doing: that may exist and be in no state."""
    mask = runner.setup.masker.mask
    done = [address for address, _ in error.stream.done]
    what = f"The apply of {runner.where} failed: {error.reason(mask).rstrip('.')}."
    what += f" Done by then: {_some(done)}." if done else " Nothing was done by then."
    if error.code < 0 and error.stream.started:
        what += f" It was ended while it worked on {_some(error.stream.started)}, which may exist outside of the state."
    return InfraError("not-landed", what)


def _left(runner: Runner, view: PlanView) -> str:
    names = [f"{one.operation} {one.address}" for one in view.resources]
    names += [f"set output {one.path[-1]}" for one in view.outputs]
    return f"{runner.where} was applied, and a second plan would still {_some(names)}."


def _facts(runner: Runner, work: Work, view: PlanView) -> str:
    """What is now true: what was done, the outputs, and which checks warn."""
    done = [f"{_DONE.get(one.operation, one.operation)} {one.address}" for one in work.view.resources]
    said = f"{runner.where} applied: {_some(done)}" if done else f"{runner.where} is as planned"
    outputs = [f"{name} = {one_line(json.dumps(value), _SHOWN)}" for name, value in view.values.items()]
    said += f"; outputs {_some(outputs)}" if outputs else ""
    return said + "".join(f"; check {one_line(one, _SHOWN)} warns" for one in view.checks)


_DONE: Final = {"create": "created", "update": "updated", "replace": "replaced", "delete": "destroyed", "run": "read"}


def _some(names: Sequence[str] | dict[str, str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more
