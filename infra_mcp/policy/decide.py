"""The decision: `admit` before anything is read, `judge` on the effect of a plan. Pure: equal input, equal verdict.

Default deny: only granted actions pass, and one reason against a request refuses it. A rule that cannot be evaluated
denies. The effect is checked like the request, so that no fault in between (a file with other content, a driver that
adds an object) exceeds the grant. Rule ids in verdicts are stable; docs/policy.md lists them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from infra_mcp.errors import InfraError
from infra_mcp.model.actions import ActionModel
from infra_mcp.model.approval import SIGNED, Need, Verdict
from infra_mcp.model.effect import Change, Effect
from infra_mcp.model.marks import CIRCLE
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy import grants, protected, reach, terraform, zones
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.actions.base import FAULT, KUBERNETES, About, ActionRules
from infra_mcp.policy.approvals import AT_FORGE, in_words
from infra_mcp.policy.grammar import format_duration, matches
from infra_mcp.policy.grants import Grant, Refusal, some
from infra_mcp.policy.guard import judge as guard
from infra_mcp.policy.guard.unrendered import requirement
from infra_mcp.policy.matching import Subject, active_freeze, denials, requirements
from infra_mcp.policy.owners import is_within
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.restrictions import OrderedFreeze
from infra_mcp.policy.signers import fingerprint
from infra_mcp.policy.systems import BY_CLUSTER, change_scope

_COMMAND = "`infra-mcp approve ID DIGEST`"
_SIGNED = "`infra-mcp approve ID DIGEST --sign KEY`"


def judge(
    policy: Policy,
    caller: Caller,
    action: ActionModel,
    effect: Effect | None,
    *,
    attendant: bool = False,
    now: datetime | None = None,
) -> Verdict:
    """Whether this caller may request this action, and a plan may have this effect.

    Args:
        policy: the policy in force.
        caller: the requester, as the transport identified it; for an attended ask, the asker.
        action: the requested action.
        effect: the effect of the plan; None before anything is read.
        attendant: whether an attending session acts: then the asker's circle and [attend] must both grant the action.
        now: the present, with its offset; None ignores freezes: for a release from a notify, which a freeze delays and
            does not refuse (see `engine.releases`), and for a change whose first write has begun.

    Returns:
        The verdict. A refusal reveals only the caller's own circle. `needs-approval` lists what every rule requires in
        `needs`; see `approvals.satisfied`.
    """
    against = list(_refusals(policy, caller, action, attendant=attendant))
    if effect is not None and not against:
        against += effect_refusals(policy, caller, action, effect, attendant=attendant)
    subjects = _subjects(policy, caller, action, effect)
    for subject in subjects:
        against += denials(policy.rules, subject)
        against += _frozen(policy, subject, now)
    if against:
        first = against[0]
        return Verdict(
            decision="refuse",
            rule=first.rule,
            reason=first.reason[:1000],
            would_pass=first.would_pass,
            policy=policy.digest,
        )
    wanted = dict.fromkeys(need for subject in subjects for need in requirements(policy.rules, subject))
    wanted |= dict.fromkeys(terraform.requirements(policy, action, effect))
    granted = grants.grants(policy, caller, attendant=attendant)
    for one, part in _steps(action, effect):
        wanted |= dict.fromkeys(requirement(policy, granted, one, part) if part is not None else ())
    if wanted:
        return _needs(policy, list(wanted))
    rule = f"circles.{caller.circle}.actions"
    reason = f"Circle {caller.circle} is granted {action.action} here."
    return Verdict(decision="allow", rule=rule, reason=reason, policy=policy.digest)


admit = partial(judge, effect=None)


def _subjects(policy: Policy, caller: Caller, action: ActionModel, effect: Effect | None) -> list[Subject]:
    """The request as rules match it, and each of its steps."""
    named = [(action, effect), *(_steps(action, effect) if action.steps_of != (action,) else ())]
    return [_subject(policy, caller, one, part) for one, part in named]


def _subject(policy: Policy, caller: Caller, action: ActionModel, effect: Effect | None) -> Subject:
    about = RULES[action.action].about(policy, action)
    namespaces: frozenset[str] | None = about.scopes
    if effect is not None:
        namespaces = (about.scopes | touched(effect)) or (None if effect.files else about.scopes)
    return Subject(action.action, caller.name, caller.circle or "", namespaces, about.apps, about.environments)


def _steps(action: ActionModel, effect: Effect | None) -> list[tuple[ActionModel, Effect | None]]:
    """Each step with what its stage does; a single action with all of it."""
    steps = action.steps_of
    if len(steps) == 1:
        return [(steps[0], effect)]
    return [(one, effect and effect.of_stage(number)) for number, one in enumerate(steps)]


def _frozen(policy: Policy, subject: Subject, now: datetime | None) -> Iterator[Refusal]:
    app = next(iter(subject.apps), None)
    freeze = now and active_freeze(
        policy,
        app=app,
        namespaces=subject.namespaces,
        circle=subject.circle,
        now=now,
        environments=subject.environments,
    )
    if freeze:
        until = freeze.until.isoformat()
        why = f" ({freeze.reason})" if freeze.reason else ""
        what = f"Nothing may change here until {until}{why}."
        lifted = ", or once an operator lifts the freeze" if isinstance(freeze, OrderedFreeze) else ""
        yield Refusal(f"freeze.{freeze.id}", what, f"The same request after {until}{lifted}.")


def refusal(verdict: Verdict, *, request: str = "ID", digest: str = "DIGEST") -> InfraError:
    """A verdict other than `allow` as an error; `request` and `digest` complete the command that approves it.

    Raises:
        ValueError: the verdict allows.
    """
    if verdict.decision == "allow":
        msg = "an allowing verdict is no refusal"
        raise ValueError(msg)
    code, next_step = "policy-denied", verdict.would_pass
    if verdict.decision == "needs-approval":
        code, next_step = "needs-approval", next_step.replace(_COMMAND, f"`infra-mcp approve {request} {digest}`")
    return InfraError(code, f"{verdict.reason} (rule {verdict.rule})", next_step=next_step, rule=verdict.rule)


def _needs(policy: Policy, wanted: list[tuple[Need, str]]) -> Verdict:
    """The verdict that names the required approvals and how to give them."""
    why = [
        f"Rule {need.rule.removeprefix('rules.')} requires {in_words(need)}" + (f" ({reason})" if reason else "")
        for need, reason in wanted
    ]
    passes = "; ".join(_passes(need) for need, _ in wanted)
    ours = [need.strength for need, _ in wanted if need.by not in AT_FORGE]
    command = _SIGNED if SIGNED in ours else _COMMAND
    return Verdict(
        decision="needs-approval",
        rule=wanted[0][0].rule,
        reason=("; ".join(why) + ".")[:1000],
        would_pass=f"{passes}, but not by the requester" + (f": {command}." if ours else "."),
        policy=policy.digest,
        signers={name: tuple(map(fingerprint, keys)) for name, keys in policy.signers.items()},
        needs=tuple(need for need, _ in wanted),
    )


def _passes(need: Need) -> str:
    """What a rule requires, and in which time or where."""
    where = "of its pull request" if need.by in AT_FORGE else f"within {format_duration(need.seconds)}"
    return f"{in_words(need)} {where}"


def _refusals(policy: Policy, caller: Caller, action: ActionModel, *, attendant: bool) -> Iterator[Refusal]:
    """Every reason against the action, the one to report first. The action is granted when there is none."""
    circle = caller.circle
    if circle is None:
        yield Refusal(
            "caller.circle",
            f"{caller.name} belongs to no circle, and so may read and approve but change nothing.",
            "The same request from a peer, with its own token.",
        )
        return
    if policy.circle(circle) is None:
        yield Refusal(
            f"circles.{circle}",
            f"The policy grants nothing to circle {circle}.",
            f"A section [circles.{circle}] in infra.toml, accepted by an operator.",
        )
        return
    for to in grants.grants(policy, caller, attendant=attendant):
        several = (one for one in action.steps_of if one is not action)
        against = [refused for one in (action, *several) for refused in _against(policy, caller, to, one)]
        yield from against
        if against:
            return  # do not reveal the session's grants for a request that the asker may not make


def _against(policy: Policy, caller: Caller, to: Grant, action: ActionModel) -> Iterator[Refusal]:
    name = action.action
    if name not in to.own.actions:
        own = [one for one in to.own.actions if policy.in_force(one)]
        yield Refusal(
            f"{to.rule}.actions",
            f"{to.name} may not {name}.",
            to.hint("actions", f"One of its actions: {some(own)}.", "No action is granted to this circle."),
        )
    elif not policy.in_force(name):
        yield Refusal(
            f"{to.rule}.actions",
            f"{to.name} may {name} once the policy is accepted again: the last acceptance is older than this action.",
            "An operator runs `infra-mcp policy accept`, or adds the action to a deployment's --policy-pin.",
        )
    else:
        yield from RULES[name].refusals(policy, caller, to, action)


def touched(effect: Effect) -> frozenset[str]:
    """The scopes of an effect, also those it only compares or that only others deliver."""
    homes = frozenset(scope for change in effect.changes if (scope := change.target.home) is not None)
    return homes | reach.scopes(effect)


def effect_refusals(
    policy: Policy, caller: Caller, action: ActionModel, effect: Effect, *, attendant: bool = False
) -> Iterator[Refusal]:
    """Every reason against an effect, beside those against the request."""
    granted = grants.grants(policy, caller, attendant=attendant)
    steps = _steps(action, effect)
    if strange := set(effect.stages) - set(range(len(steps))) if len(steps) > 1 else set():
        yield Refusal("effect.scope", f"The plan has a stage {max(strange)}, which is no step of the request.", FAULT)
    for one, part in steps:
        if part is not None:
            yield from _step_refusals(policy, caller, granted, one, part)


def _step_refusals(
    policy: Policy, caller: Caller, granted: Sequence[Grant], action: ActionModel, effect: Effect
) -> Iterator[Refusal]:
    """Every reason against what one step does."""
    about = RULES[action.action].about(policy, action)
    yield from _files(policy, caller, about, effect)
    yield from reach.refusals(policy, caller, granted, about, effect)
    built = reach.built(effect)
    rendered = [one for each in effect.reach for one in each.renders]
    brought = guard.accounts((*effect.changes, *rendered))
    for change in effect.changes:
        if change.target.system in BY_CLUSTER and change.target.place != about.place:
            yield Refusal("effect.cluster", f"The plan holds {change.target} of another cluster.", FAULT)
        is_built = change.target.key in built or bool(change.by)
        yield from _change_refusals(policy, caller, granted, action, change, brought, is_built=is_built)
    yield from rendering_refusals(policy, granted, action, rendered, brought)


def rendering_refusals(
    policy: Policy,
    granted: Sequence[Grant],
    action: ActionModel,
    changes: Sequence[Change],
    brought: Collection[tuple[str | None, str]] | None = None,
) -> Iterator[Refusal]:
    """Every reason against what builds give, as they give it: for others to make live, or before a driver looks at it.

    Args:
        policy: in force.
        granted: all that must grant the request.
        action: the request, or a step of it.
        changes: of objects, without what is live.
        brought: the service accounts of the effect; those of the changes where None.
    """
    known = guard.accounts(changes) if brought is None else brought
    for change in changes:
        yield from protected.refusals(policy, change, is_rendered=True)
        yield from zones.object_refusals(policy, change)
        is_typed = _is_typed(policy, action, change)
        yield from guard.refusals(policy, granted, change, is_rendered=True, is_typed=is_typed, brought=known)
        yield from guard.image_refusals(policy, granted, change)


def unread_refusals(
    policy: Policy, granted: Sequence[Grant], action: ActionModel, changes: Sequence[Change]
) -> Iterator[Refusal]:
    """Every reason against changes that a driver is about to look at, as far as it is known without what is live.

    Args:
        policy: in force.
        granted: all that must grant the request.
        action: the request, or a step of it.
        changes: as rendered; of a manifest that no build and no chart brings, its kind and place only.
    """
    brought = guard.accounts(changes)
    for change in changes:
        yield from protected.refusals(policy, change, is_rendered=bool(change.by))
        yield from _kinds(RULES[action.action], action, change.target, is_built=bool(change.by))
        for to in granted:
            yield from change_scope(policy, to, change)
        yield from rendering_refusals(policy, granted, action, (change,) if change.by else (), brought)


def _is_typed(policy: Policy, action: ActionModel, change: Change) -> bool:
    """Whether an action writes an object itself: then its kind is the action's own matter."""
    rules, target = RULES[action.action], change.target
    return not change.by and target.kind in rules.writes and rules.is_about(policy, action, target)


def _change_refusals(
    policy: Policy,
    caller: Caller,
    granted: Sequence[Grant],
    action: ActionModel,
    change: Change,
    brought: Collection[tuple[str | None, str]],
    *,
    is_built: bool,
) -> Iterator[Refusal]:
    """Every reason against one change, which a build or a chart brings or the action itself."""
    rules, target = RULES[action.action], change.target
    is_about = rules.is_about(policy, action, target)
    yield from protected.refusals(policy, change, is_rendered=is_built)
    yield from _kinds(rules, action, target, is_built=is_built)
    if not (reach.may_move(policy, caller, target) if is_built else is_about):
        yield Refusal("effect.scope", f"The plan holds {target}, which this {action.action} is not about.", FAULT)
    for to in granted:
        yield from change_scope(policy, to, change)
        yield from zones.change_refusals(policy.zones.get(target.place), to, change)
        yield from grants.labels(to, _labels(change))
        yield from grants.amounts(to, change)
    if target.system == KUBERNETES:
        yield from zones.object_refusals(policy, change)
        is_typed = _is_typed(policy, action, change)
        yield from guard.refusals(policy, granted, change, is_rendered=is_built, is_typed=is_typed, brought=brought)
    yield from protected.identity_refusals(change)
    for take in change.takes:
        if not any(matches(pattern, take.manager) for pattern in policy.tree.adopt):
            yield Refusal(
                "tree.adopt",
                f"{take.field} of {change.target} belongs to {take.manager[:128]}.",
                "Ask its owner to change it, or an operator to list that manager in [tree] adopt.",
            )
    yield from guard.image_refusals(policy, granted, change)
    yield from terraform.change_refusals(policy, change)
    yield from rules.effect_refusals(policy, caller, action, change)


def _kinds(rules: ActionRules, action: ActionModel, target: Target, *, is_built: bool) -> Iterator[Refusal]:
    """Whether an action may write a kind itself; what a build or a chart brings is bounded by `kinds`."""
    if is_built:
        return
    if target.system not in rules.systems:
        yield Refusal("effect.kinds", f"A {action.action} writes nothing of {target.system}: {target}.", FAULT)
    if target.system == KUBERNETES and target.kind not in rules.writes:
        kind = target.kind.rpartition("/")[2]
        yield Refusal("effect.kinds", f"A {action.action} writes no {kind}, and the plan holds {target}.", FAULT)


def _files(policy: Policy, caller: Caller, about: About, effect: Effect) -> Iterator[Refusal]:
    """Every changed file must be the caller's: by its app's section, by [[owners]], or as it is about its namespace."""
    named = [path for name in about.apps if name in policy.apps for path in policy.apps[name].paths]
    # A namespace that policy grants is enough for an app with a section, and for what is no app.
    by_namespace = about.scopes or (touched(effect) and about.apps <= policy.apps.keys())
    for file in effect.files:
        owner = policy.owner_of(file.path)
        if owner == caller.name or any(is_within(file.path, path) for path in named):
            continue
        if owner is not None or not by_namespace:
            yield Refusal(
                "owners",
                f"The plan would change {file.path}, which {caller.name} does not own.",
                "Its owner asks for it, or an operator names the file in the app's section.",
            )


def _labels(change: Change) -> list[str]:
    """The labels that a plan would set on a namespace, without the one that names its circle."""
    found: list[str] = []
    for field in change.fields if change.target.kind == "Namespace" else ():
        value: Any = field.after
        for step in reversed(field.path):
            value = {step: value} if isinstance(step, str) else {}
        labels = (value.get("metadata") or {}).get("labels") or {}
        found += [key for key in labels if key != CIRCLE]
    return found
