"""Reads a workspace for `status`: what is in its state, its outputs, and what differs from what is there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from anyio import to_thread

from infra_mcp.drivers.base import Context
from infra_mcp.drivers.terraform.plan import drift_of, require_allowed
from infra_mcp.drivers.terraform.runner import Runner
from infra_mcp.repository.value import Tree

_MAX_LISTED: Final = 50


async def status(runner: Runner, context: Context, tree: Tree) -> dict[str, Any]:
    """The resources and outputs of a workspace, and its drift by a refresh-only plan.

    What drifted is read from the plan itself: exit codes say of such plans what is not so.

    Raises:
        InfraError: as `plan.plan`.
    """
    workspace = await to_thread.run_sync(runner.read, context.policy, tree)
    require_allowed(runner, ((one.rule, one.where, one.value) for one in workspace.facts))
    prepared = await runner.prepare(workspace, context.say)
    path = prepared.folder.path / "plan-looking"
    await runner.told(partial(prepared.cli.plan, path, refresh_only=True, lock=False))
    shown = await runner.told(partial(prepared.cli.show, path))
    await to_thread.run_sync(path.unlink)
    prepared.reader.learn(shown)
    for secret in prepared.reader.secrets:
        runner.setup.masker.learn(secret)
    view = prepared.reader.view(shown)
    names = addresses((shown.get("prior_state") or {}).get("values") or {})
    drift = [str(one) for one in drift_of(runner.name, view.drift)]
    return {
        "program": str(prepared.program),
        "resources": names[:_MAX_LISTED],
        "resources_in_all": len(names),
        "outputs": dict(view.values),
        "drift": [runner.setup.masker.mask(one) for one in drift[:_MAX_LISTED]],
    }


def addresses(values: Mapping[str, Any]) -> list[str]:
    """The address of every managed resource of a state."""
    found: list[str] = []
    todo = [values.get("root_module") or {}]
    while todo:
        module = todo.pop(0)
        found += [str(one.get("address")) for one in module.get("resources") or () if one.get("mode") == "managed"]
        todo += module.get("child_modules") or ()
    return found
