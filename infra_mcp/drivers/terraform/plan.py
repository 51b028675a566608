"""Plans a workspace: twice on the same ground, judged before anything runs, and kept with the folder it was made in."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
from anyio import to_thread
from pydantic import JsonValue

from infra_mcp.clients.terraform import Cli, Diagnostic
from infra_mcp.drivers.base import Context, Share
from infra_mcp.drivers.base import Prepared as PlannedShare
from infra_mcp.drivers.terraform.compare import as_before, volatile, without
from infra_mcp.drivers.terraform.effect import UNKNOWN, PlanView, ResourceChange
from infra_mcp.drivers.terraform.folder import lasting
from infra_mcp.drivers.terraform.runner import Prepared, Runner
from infra_mcp.errors import InfraError
from infra_mcp.gather import gather_pair
from infra_mcp.model.digest import digest
from infra_mcp.model.effect import Change, Drift, FieldChange, show_path
from infra_mcp.model.outcome import Written
from infra_mcp.model.target import Target
from infra_mcp.policy.grammar import matches
from infra_mcp.policy.kinds import WorkspaceRules
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.terraform import SYSTEM, WORKSPACE, nested, source_refusals
from infra_mcp.repository.hcl.configuration import is_code, module
from infra_mcp.repository.hcl.workspace import Workspace
from infra_mcp.repository.rebase import changed

_NAMED: Final = 5  # fields or files named in a message


@dataclass(frozen=True)
class Serial:
    """Which state a plan was made on: a saved plan is refused for any other one, but for the first."""

    lineage: str
    number: int

    @classmethod
    def of(cls, state: dict[str, Any] | None) -> Serial:
        """Of a state as it is stored."""
        return cls(str((state or {}).get("lineage") or ""), int((state or {}).get("serial") or 0))


@dataclass(frozen=True)
class Work:
    """What is approved and applied: the saved plan, and the folder it was made in."""

    prepared: Prepared
    plan: Path
    plan_digest: str  # of the file
    contents: dict[str, str]  # of the folder
    view: PlanView
    serial: Serial


async def plan(runner: Runner, context: Context, share: Share) -> PlannedShare:
    """Plan what a workspace's files say. Writes nothing but the private folder.

    Raises:
        InfraError: `policy-denied`: policy does not allow what the configuration runs; `plan-failed`, `plan-differs`,
            `workspace-locked`, `setup-failed`, `manifest-invalid`, `build-refused`, `run-stopped`.
    """
    workspace = await to_thread.run_sync(runner.read, context.policy, share.after)
    require_allowed(runner, ((one.rule, one.where, one.value) for one in workspace.facts))
    await to_thread.run_sync(_require_alone, runner.name, context.policy, share)
    prepared = await runner.prepare(workspace, context.say)
    require_allowed(runner, await to_thread.run_sync(_downloaded, prepared))
    view, path, contents, warnings = await _planned(runner, prepared)
    if context.resumed:
        view = as_before(view, _unknown(context.written))
    await to_thread.run_sync(prepared.folder.seal)
    serial = await _serial(runner, prepared, path)
    work = Work(prepared, path, await to_thread.run_sync(file_digest, path), contents, view, serial)
    made = workspace_change(runner, work)
    changes = (made, *(change_of(runner.name, one) for one in view.resources))
    return PlannedShare(
        changes=tuple(sorted(changes, key=lambda one: one.target.key)),
        writes=tuple(_writes(runner, work)),
        on_failure="hold",
        last=True,
        timeout=prepared.cli.place.seconds,
        own=work,
        drift=tuple(drift_of(runner.name, view.drift)),
        notes=(*prepared.notes, *_notes(runner, work), *(runner.setup.masker.mask(one) for one in warnings)),
    )


def target_of(name: str, one: ResourceChange) -> Target:
    """A resource of a workspace."""
    return Target(system=SYSTEM, place=name, scope=name, kind=one.type, name=one.address)


def workspace_target(name: str) -> Target:
    """A workspace itself."""
    return Target(system=SYSTEM, place=name, scope=name, kind=WORKSPACE, name=name)


def change_of(name: str, one: ResourceChange) -> Change:
    """What a plan does to one resource, as plans show it."""
    return Change(
        target=target_of(name, one),
        operation=one.operation,
        fields=one.fields,
        checked="plan",
        intent=one.intent,
        traits=one.objects or None,
    )


def workspace_change(runner: Runner, work: Work) -> Change:
    """The run as a whole: what it is made of, and the outputs that change."""
    view, lasts = work.view, lasting(work.contents)
    made = {
        "program": str(work.prepared.program),
        "folder": digest({name: one for name, one in lasts.items() if not _is_volatile(runner.rules, name)}),
    }
    return Change(
        target=workspace_target(runner.name),
        operation="unchanged" if view.is_empty else "run",
        fields=() if view.is_empty else view.outputs,
        checked="none" if view.is_empty else "plan",
        intent="" if view.is_empty else digest(made),
    )


async def _planned(runner: Runner, prepared: Prepared) -> tuple[PlanView, Path, dict[str, str], Sequence[str]]:
    """A plan, its file, and the contents of the folder; what differs between two plans is hidden, or refused."""
    folder, cli = prepared.folder, prepared.cli
    first, second = folder.path / "plan", folder.path / "plan-again"

    async def locked(cli: Cli, started: Callable[[int], None]) -> list[Diagnostic]:
        return await cli.plan(first, started=started)

    # It validates the configuration, too.
    found = await runner.told(partial(runner.locking, prepared, locked, is_apply=False))
    contents = await to_thread.run_sync(folder.contents)
    warnings = [str(one) for one in found]
    shown, again = await gather_pair(
        partial(runner.told, partial(cli.show, first)), partial(_again, runner, prepared, second)
    )
    prepared.reader.learn(shown)
    view = prepared.reader.view(shown)
    if not view.is_empty:
        prepared.reader.learn(again)
        other = prepared.reader.view(again)
        contents_again = await to_thread.run_sync(folder.contents)
        differing = volatile(view, other)
        names = sorted(contents.keys() | contents_again.keys())
        differing += [name for name in names if contents.get(name) != contents_again.get(name)]
        _require_volatile(runner, differing)
        view = without(view, partial(_is_volatile, runner.rules))
        contents = contents_again
    for secret in prepared.reader.secrets:
        runner.setup.masker.learn(secret)
    return view, first, contents, warnings


async def _again(runner: Runner, prepared: Prepared, path: Path) -> dict[str, Any]:
    """The same plan once more; its file goes at once."""
    if prepared.tells_time:
        await anyio.sleep(1.0)  # in the same second both would hold the same time
    await runner.told(partial(prepared.cli.plan, path, lock=False))
    shown = await runner.told(partial(prepared.cli.show, path))
    await to_thread.run_sync(path.unlink)
    return shown


def require_allowed(runner: Runner, facts: Iterable[tuple[str, str, str]]) -> None:
    """Refuse to run what policy does not allow.

    Raises:
        InfraError: `policy-denied`, with the rule.
    """
    for one in source_refusals(runner.name, runner.rules, facts):
        raise InfraError("policy-denied", f"{one.reason} (rule {one.rule})", next_step=one.would_pass, rule=one.rule)


def _require_alone(name: str, policy: Policy, share: Share) -> None:
    """Refuse a change of files that another workspace reads, too: it would become live there with its next plan.

    Raises:
        InfraError: `shared-place`, naming it.
    """
    paths = changed(share.before, share.after).keys()
    for other, rules in policy.workspaces.items() if paths else ():
        if other == name:
            continue
        try:
            apart = nested(policy.workspaces, other)
            read = paths & set(Workspace.of(share.after, rules.path, rules.var_files, apart).inputs(rules.reads))
        except InfraError:  # it cannot be read, and so not be planned either
            continue
        if read:
            what = f"{min(read)} is read by workspace {other}, too."
            step = f"Set the value in a file of workspace {name} alone, or change it by hand for both."
            raise InfraError("shared-place", what, next_step=step)


def _require_volatile(runner: Runner, differing: Sequence[str]) -> None:
    strange = [one for one in differing if not _is_volatile(runner.rules, one)]
    if strange:
        named = ", ".join(strange[:_NAMED]) + (", …" if len(strange) > _NAMED else "")
        what = f"Two plans of {runner.where} on the same ground differ in {named}: no approval could be for either."
        step = f'Give it a fixed value, or name it: volatile = ["{strange[0]}"] in [workspaces.{runner.name}].'
        raise InfraError("plan-differs", what, next_step=step)


def _is_volatile(rules: WorkspaceRules, name: str) -> bool:
    return any(matches(pattern, name) for pattern in rules.volatile)


def _downloaded(prepared: Prepared) -> list[tuple[str, str, str]]:
    """What policy must allow of the modules that `init` got."""
    listing = prepared.folder.path / "data" / "modules" / "modules.json"
    if not listing.is_file():
        return []
    found: list[tuple[str, str, str]] = []
    for one in json.loads(listing.read_bytes()).get("Modules") or ():
        folder = (prepared.folder.work / str(one.get("Dir"))).resolve()
        if folder.is_relative_to(prepared.folder.tree.resolve()):
            continue  # judged as it stands in the repository
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if is_code(path.name)}
        name = f"module.{one.get('Key')}"
        facts = (fact for fact in module(name, files).facts if fact.rule != "backend")
        found += [(fact.rule, f"{name}, {fact.where}", fact.value) for fact in facts]
    return found


async def _serial(runner: Runner, prepared: Prepared, path: Path) -> Serial:
    """Which state a plan was made on, as the saved plan has it; where that is encrypted, as it is stored."""
    found = await to_thread.run_sync(_serial_in, path)
    return found or Serial.of(await runner.told(prepared.cli.state))


def _serial_in(path: Path) -> Serial | None:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("tfstate") as file:
            return Serial.of(json.load(file))
    except (zipfile.BadZipFile, KeyError, ValueError):
        return None


def file_digest(path: Path) -> str:
    """The digest of a saved plan, which only this user may read."""
    path.chmod(0o600)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unknown(written: Iterable[Written]) -> dict[str, list[str]]:
    """The fields that were unknown when the writes were recorded, by address."""
    return {one.target.name: list(one.undo.get("unknown") or ()) for one in written if isinstance(one.undo, dict)}  # type: ignore[arg-type]


def _writes(runner: Runner, work: Work) -> list[Written]:
    """What is recorded before an apply: which state it was planned on, and what was not known then."""
    if work.view.is_empty:
        return []
    on: dict[str, JsonValue] = {"lineage": work.serial.lineage, "serial": work.serial.number}
    made = [
        Written(
            target=target_of(runner.name, one),
            operation=one.operation,
            undo={**on, "unknown": [show_path(field.path) for field in one.fields if field.after == UNKNOWN]},
        )
        for one in work.view.resources
    ]
    return made or [Written(target=workspace_target(runner.name), operation="run", undo=on)]


def drift_of(name: str, changes: Iterable[ResourceChange]) -> Iterator[Drift]:
    """What others changed since the last apply, field by field: in the state, and as it is."""
    for one in changes:
        for field in one.fields or (FieldChange(path=(), before="there", after=None, has=False),):
            live = field.after if field.has else "gone"
            yield Drift(target=target_of(name, one), field=show_path(field.path), git=field.before, live=live)


def _notes(runner: Runner, work: Work) -> list[str]:
    """The plan in a sentence, what `check` blocks warn of, and what is approved."""
    counts = dict.fromkeys(("create", "update", "replace", "delete"), 0)
    for one in work.view.resources:
        counts[one.operation] = counts.get(one.operation, 0) + 1
    said = ", ".join(f"{number} to {name}" for name, number in counts.items() if number)
    mask = runner.setup.masker.mask
    notes = [f"{runner.where}: {said}; applied is this plan in this folder"] if said else []
    return notes + [f"check {mask(one)}" for one in work.view.checks]
