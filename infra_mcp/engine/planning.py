"""From an action to its plan: its edits, the drivers that carry them out, and the effect."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from anyio import to_thread

from infra_mcp.actions.base import Look, census_of
from infra_mcp.actions.registry import EDITS
from infra_mcp.drivers.base import Context, Share
from infra_mcp.engine.advice import advise
from infra_mcp.engine.reach import Reach, reach
from infra_mcp.engine.repositories import once_there
from infra_mcp.engine.run import Dependencies, Planned, PlannedPart, PlannedStage, Run
from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ActionModel
from infra_mcp.model.effect import Change, Effect, FileChange, Part, Reached
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.decide import rendering_refusals, unread_refusals
from infra_mcp.policy.grants import Grant, Refusal, grants
from infra_mcp.policy.guard.taken import with_taken
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.reach import refusals
from infra_mcp.policy.systems import CARRIED_OUT
from infra_mcp.repository.edits import Beside, Edit, Location
from infra_mcp.repository.rebase import changed, file_changes
from infra_mcp.repository.value import NotInRepository, Tree


async def plan(deps: Dependencies, run: Run, head: str = "") -> Planned:
    """Plan a request on the head of the branch and on the live state. Writes nothing.

    Args:
        deps: what the engine works with.
        run: the request.
        head: of the branch, where it was fetched a moment ago.

    Raises:
        Moved: the branch or the live state changed meanwhile.
    """
    policy, action = deps.policy(), run.request.action
    ask = partial(deps.git.latest, policy.tree.branch)
    head = head or await (ask() if run.request.dry_run else once_there(ask, run.say))
    place = RULES[action.action].about(policy, run.action).place
    tree = await deps.tree(policy, head, place)
    context = context_of(run, policy)

    async def live(target):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as `Look` says
        return await (await deps.places.of(policy, target)).read(context, target)

    look = Look(run.request.id, context.circle, policy, place, tree, live, run.past)
    try:
        made = await EDITS[action.action](look, action)
    except NotInRepository as error:
        driver = await deps.places.of(policy, error.ref.target)
        raise await advise(driver, context, tree, action, error) from error
    edits = made if isinstance(made, tuple) else (made,)
    stages: list[PlannedStage] = []
    files: list[FileChange] = []
    reached: list[Reached] = []
    before, created, others = tree, frozenset[str](), set[str]()
    changed_by: dict[str, int] = {}  # the step that changes a target, by its key
    for number, edit in enumerate(edits):
        files += await to_thread.run_sync(file_changes, before, edit.tree, number)
        parts = []
        census = look.census if before is tree else await to_thread.run_sync(census_of, policy, before)
        with in_step(action, number):
            found = await reach(policy, census, before, edit, deps.builds, place)
            for one in found.reached:
                renders = await to_thread.run_sync(with_taken, edit.tree, one.renders)
                reached.append(one.model_copy(update={"stage": number, "renders": renders}))
            _require_reach(policy, run, number, found)  # before a driver looks at what is others'
            asked = replace(context, require=partial(_require, policy, run, number))
            shares = _routed(policy, before, edit, place, found)
            _require_delivered(deps, before, edit, found, shares)
            for delivery, at, share in shares:
                if not deps.places.serves(policy, delivery, at):
                    others.add(delivery)  # refused before the commit: see `pipeline._require_deliverable`
                    continue
                known = run.record.part((number, delivery, at))
                given = replace(asked, made=created, before=known.before if known else None)
                part = await plan_part(deps, given, delivery, at, number, share)
                parts.append(part)
                reached += _unseen(policy, part, [*found.reached])
                _require_one_step(action, part, changed_by)
                created |= {one.target.key for one in part.prepared.changes if one.operation == "create"}
            if number < len(edits) - 1 and any(part.prepared.last for part in parts):
                what = "It can neither be undone nor be kept when a later step fails, so it must be the last."
                raise InfraError("invalid-argument", what)
        stages.append(PlannedStage(number, before, edit, tuple(parts)))
        before = edit.tree
    effect = Effect(
        action=action.model_dump(mode="json", exclude_none=True),
        parts=tuple(
            Part(driver=part.delivery, place=part.place, stage=part.stage, changes=part.prepared.changes)
            for stage in stages
            for part in stage.parts
        ),
        files=tuple(files),
        reach=tuple(dict.fromkeys(reached)),
    )
    others |= {one.delivery for one in reached} - deps.places.deliveries.keys()
    return Planned(effect, tuple(stages), await to_thread.run_sync(_unread, tree, effect), tuple(sorted(others)))


def _unseen(policy: Policy, part: PlannedPart, reached: list[Reached]) -> list[Reached]:
    """The delivery by others of a part that no build and no comparison shows: policy judges it as unrendered."""
    paths = changed(part.share.before, part.share.after)
    if part.driver.carries_out or part.prepared.changes or any(one.delivery == part.delivery for one in reached):
        return []
    roots = {root.path for path in paths if (root := policy.root_of(path)) and root.delivery == part.delivery}
    cluster = part.place or None
    return [
        Reached(delivery=part.delivery, root=root, cluster=cluster, own=True, stage=part.stage)
        for root in sorted(roots)
    ]


def _require_delivered(
    deps: Dependencies, before: Tree, edit: Edit, found: Reach, shares: list[tuple[str, str, Share]]
) -> None:
    """Refuse a change of files of which nothing would become live: all that reads them could not be built here."""
    unbuilt = [f"{one.root}: {one.unbuilt}" for one in found.reached if one.unbuilt]
    by_us = all(one.delivery in deps.places.deliveries for one in found.reached)
    if unbuilt and not shares and by_us and changed(before, edit.tree):
        raise InfraError("build-failed", f"Nothing that reads the changed files can be built. {unbuilt[0]}")


def _require_one_step(action: ActionModel, part: PlannedPart, changed_by: dict[str, int]) -> None:
    """Of two steps that change one target the second could not be shown: its plan is for what the first one leaves."""
    for change in part.prepared.changes:
        if change.operation == "unchanged":
            continue
        former = changed_by.setdefault(change.target.key, part.stage)
        if former != part.stage and action.step_names:
            what = f"{change.target} is changed by step {action.step_names[former]} already."
            step = "Make it one step, or send the second change when the first has landed."
            raise InfraError("invalid-argument", what, next_step=step)


@contextmanager
def in_step(action: ActionModel, number: int) -> Iterator[None]:
    """Say of a failure in which step of a change set it is."""
    try:
        yield
    except InfraError as error:
        if number >= len(action.step_names):
            raise
        raise error.of_step(action.step_names[number]) from error


def _require_reach(policy: Policy, run: Run, number: int, found: Reach) -> None:
    action = _step(run, number)
    caller, about = run.request.caller, RULES[action.action].about(policy, action)
    effect = Effect(action={}, parts=(), files=(), reach=found.reached)
    _refuse(refusals(policy, caller, _granted(policy, run), about, effect))
    _refuse(rendering_refusals(policy, _granted(policy, run), action, found.renders))


def _require(policy: Policy, run: Run, number: int, changes: Iterable[Change]) -> None:
    """Raise what policy has against changes that a driver is about to look at."""
    _refuse(unread_refusals(policy, _granted(policy, run), _step(run, number), tuple(changes)))


def _step(run: Run, number: int) -> ActionModel:
    return run.action.steps_of[number] if run.action.step_names else run.action


def _granted(policy: Policy, run: Run) -> tuple[Grant, ...]:
    return grants(policy, run.request.caller, attendant=run.request.attendant is not None)


def _refuse(against: Iterable[Refusal]) -> None:
    for one in against:
        raise InfraError("policy-denied", f"{one.reason} (rule {one.rule})", next_step=one.would_pass, rule=one.rule)


def _unread(tree: Tree, effect: Effect) -> tuple[str, ...]:
    names = {(change.target.kind.rpartition("/")[2], change.target.name) for change in effect.changes}
    return tuple(sorted({problem for kind, name in names for problem in tree.unread(kind, name)}))


def context_of(run: Run, policy: Policy) -> Context:
    """The context in which drivers work for a request."""
    return Context(
        request=run.request.id,
        circle=run.request.caller.circle or "",
        policy=policy,
        say=run.say,
        resumed=run.begun,
        nonce=run.record.nonce,
        written=tuple(one for part in run.record.parts for one in part.written),
    )


async def plan_part(
    deps: Dependencies, context: Context, delivery: str, place: str, stage: int, share: Share
) -> PlannedPart:
    """Have one driver plan its share."""
    driver = await deps.places.driver(context.policy, delivery, place)
    prepared = await driver.plan(context, share)
    changes = await to_thread.run_sync(with_taken, share.after, prepared.changes)
    return PlannedPart(delivery, place, stage, driver, context, share, replace(prepared, changes=changes))


def _routed(policy: Policy, before: Tree, edit: Edit, place: str, found: Reach) -> list[tuple[str, str, Share]]:
    """An edit's shares, one for each delivery and place, in the order of the edit."""
    shares: dict[tuple[str, str], tuple[list[Location], list[Beside]]] = {key: ([], []) for key in found.builds}

    def route(path: str) -> tuple[str, str]:
        return (found.carriers[path], place) if path in found.carriers else _route(policy, path, place)

    for one in found.reached:
        if one.delivery not in CARRIED_OUT and one.own:
            shares.setdefault((one.delivery, place), ([], []))  # others build it from the files that it reads
    for location in edit.addressed:
        if location.path not in found.files:
            shares.setdefault(route(location.path), ([], []))[0].append(location)
    for path in changed(before, edit.tree):
        if path not in found.files:
            shares.setdefault(route(path), ([], []))
    for work in edit.beside:
        shares.setdefault((work.driver, work.target.place), ([], []))[1].append(work)
    return [
        (
            delivery,
            at,
            Share(
                tuple(locations),
                tuple(beside),
                before,
                edit.tree,
                edit.goal,
                tuple(found.builds.get((delivery, at), ())),
                edit.instance,
                edit.changes,
            ),
        )
        for (delivery, at), (locations, beside) in shares.items()
    ]


def _route(policy: Policy, path: str, place: str) -> tuple[str, str]:
    """The delivery and the place of a path: those of the longest root above it."""
    root = policy.root_of(path)
    if root is None:
        raise InfraError("not-in-repository", f"{path} is not below a root of the policy.")
    if not root.is_delivered:
        raise InfraError("delivery-unsupported", f"Nothing delivers {path}: its root {root.path} has delivery none.")
    at = policy.place_of(path, place)
    if at is None:
        what = f"{path} is below {root.path}, which {root.delivery} delivers, and infra.toml names no place for it."
        step = (
            "An operator adds the [zones.NAME] or [workspaces.NAME] that it is of, or names it in a workspace's reads."
        )
        raise InfraError("policy-denied", what, next_step=step, rule="tree.roots")
    if root.by_cluster and root.cluster not in (None, place):
        what = f"{path} is delivered to cluster {root.cluster}, and the request is for {place}."
        raise InfraError("policy-denied", what, next_step=f"Name the cluster {root.cluster}.", rule="effect.cluster")
    return policy.delivery_at(root, at), at
