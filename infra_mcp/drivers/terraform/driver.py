"""The driver for Terraform workspaces: plans with OpenTofu or Terraform, and applies exactly what was approved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio import to_thread

from infra_mcp.clients.terraform import end_work, find_program
from infra_mcp.drivers.base import Context, Owner, Place, Prepared, Question, Setup, Share, Undone
from infra_mcp.drivers.terraform.apply import apply, confirmed, shows
from infra_mcp.drivers.terraform.folder import remove
from infra_mcp.drivers.terraform.observe import addresses, status
from infra_mcp.drivers.terraform.plan import plan
from infra_mcp.drivers.terraform.runner import Runner
from infra_mcp.drivers.terraform.runs import Runs
from infra_mcp.errors import InfraError
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.policy.grammar import seconds
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.terraform import WORKSPACE


def place(policy: Policy, name: str) -> Place:
    """What a workspace's name stands for in a policy.

    Raises:
        InfraError: `policy-invalid`: the policy names no such workspace.
    """
    rules = policy.workspaces.get(name)
    if rules is None:
        raise InfraError("policy-invalid", "The policy has no such workspace.")
    return Place(f"workspace {name} ({rules.path})", (name, rules))


@asynccontextmanager
async def connect(setup: Setup, policy: Policy, name: str) -> AsyncIterator[Terraform]:
    """Have a folder for the runs of a workspace.

    Raises:
        InfraError: `policy-invalid`.
    """
    place(policy, name)
    base = setup.state.absolute() / "terraform" / name
    runs = Runs(base)
    await to_thread.run_sync(_clean, runs)
    runner = Runner(name, policy.workspaces[name], setup, await setup.key("terraform"), runs)
    try:
        yield Terraform(runner)
    finally:
        runner.last = None
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(_clean, runs)


class Terraform:
    """Carries out one workspace. Its runs are made one at a time; a saved plan lives as long as the plan it is for."""

    carries_out = True

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._one = anyio.Lock()
        self.where = runner.where

    async def read(self, _: Context, __: Target) -> dict[str, Any] | None:
        """Nothing: an edit needs no live resource, and a state holds secrets."""
        return None

    async def owner(self, _: Context, __: Target) -> Owner | None:
        """None: what is in a workspace's state is its own."""
        return None

    async def plan(self, context: Context, share: Share) -> Prepared:
        """Plan the workspace as its files say. See `plan.plan`."""
        async with self._one:
            await self._runner.runs.wait(seconds(self._runner.rules.timeout), context.say)
            return await plan(self._runner, context, share)

    async def apply(self, context: Context, prepared: Prepared) -> None:
        """Apply the saved plan. See `apply.apply`."""
        async with self._one:
            await apply(self._runner, context, prepared.own)

    async def verify(self, context: Context, prepared: Prepared, seconds: float) -> str:
        """Confirm it by a second plan. See `apply.confirmed`."""
        async with self._one:
            return await confirmed(self._runner, context, prepared.own, seconds)

    async def present(self, _: Context, target: Target) -> bool:
        """Whether a resource is in the state."""
        return target.kind == WORKSPACE or target.name in await self._in_state()

    async def observe(self, _: Context, written: Sequence[Written]) -> bool:
        """Whether the state changed since the writes were planned."""
        return await shows(self._runner, written)

    async def undo(self, context: Context, written: Sequence[Written]) -> Undone:
        """Nothing is undone: only a plan of the former configuration says what that would destroy."""
        step = f"roll the request {context.request} back, and a person approves that plan"
        return Undone(skipped=tuple(f"{one.target} stays: Terraform has no undo; {step}" for one in written))

    async def settled(self, _: Context, __: Sequence[Written], ___: float) -> str:
        """Nothing was restored."""
        raise InfraError("undo-incomplete", f"{self.where} stays as it is: Terraform has no undo.")

    async def _in_state(self) -> list[str]:
        last = self._runner.last
        if last is None:
            raise InfraError("cannot-observe", f"The state of {self.where} cannot be read before there is a plan.")
        shown = await self._runner.told(last.cli.show)
        return addresses(shown.get("values") or {})

    async def answers(self) -> bool:
        """Whether there is a program to run."""
        try:
            await find_program(self._runner.rules.program)
        except InfraError:
            return False
        return True

    async def excess(self) -> str:
        """Nothing: which rights its credentials have, only their own systems know."""
        return ""

    async def status(self, context: Context, question: Question) -> dict[str, Any]:
        """What is in the workspace's state, its outputs, and its drift. See `observe.status`.

        Raises:
            InfraError: `not-found`: the question is about no workspace.
        """
        if question.scope != self._runner.name or question.tree is None:
            raise InfraError("not-found", "There is no such workspace, or it is not yours.")
        async with self._one:
            return await status(self._runner, context, question.tree)


def _clean(runs: Runs) -> None:
    """Remove the folders of former runs, but for those that still run: they hold saved plans, and so secrets.

    A server may be killed before it noted what it started: that is ended first.
    """
    busy = {one.folder for one in runs.left() if one.lives}
    for path in runs.base.glob("run-*") if runs.base.is_dir() else ():
        if str(path) not in busy and not end_work(path):
            remove(path)
