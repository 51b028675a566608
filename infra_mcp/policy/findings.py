"""What a valid policy says to no effect, or more widely than it seems to: for the people who write it. Pure.

A fault makes a policy invalid (`policy.consistency`). What is found here is allowed, and probably not meant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import combinations, product
from typing import Final, NamedTuple

from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.approval import SIGNED
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.approvals import AT_FORGE
from infra_mcp.policy.grammar import matches, protected
from infra_mcp.policy.grants import some
from infra_mcp.policy.matching import cannot_evaluate
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.restrictions import Freeze, Rule
from infra_mcp.policy.sections import GrantRules

# Actions whose plan may run an image that did not run before; the steps of a change set are granted one by one.
_BRING_IMAGES: Final = frozenset({"deploy", "configure", "rollback", "helm_release"})
_PATTERNS: Final = ("namespaces", "images", "labels", "kinds", "hosts", "helm", "records")  # of a grant


class Finding(NamedTuple):
    """One of them: a stable name of its kind, the key, what is found there, and what to do."""

    kind: str
    where: str
    what: str
    step: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.where}: {self.what} {self.step}"


class Known(NamedTuple):
    """What the ledger knows of the peers that a policy names."""

    peers: frozenset[str]  # names, of all circles
    operators: frozenset[str]  # names
    counted: frozenset[str]  # operators who count where a rule wants several


def findings(policy: Policy, now: datetime, known: Known | None = None) -> list[Finding]:
    """All findings of a policy.

    Args:
        policy: a valid one.
        now: the present, with its offset.
        known: the peers; None where no ledger is at hand, and nothing is said of them.
    """
    found = [*_grants(policy), *_overlaps(policy), *_unused_sections(policy), *_out_of_reach(policy)]
    found += _swallowed("tree.adopt", policy.tree.adopt)
    for rule in policy.rules:
        found += _rule(policy, rule, known)
    for freeze in policy.freeze:
        found += _freeze(policy, freeze, now)
    return found + list(_owners(policy, known) if known else ())


def meet(one: str, other: str) -> bool:
    """Whether any value matches both patterns."""
    seen, todo = set[tuple[int, int]](), [(0, 0)]
    while todo:
        if (at := todo.pop()) in seen:
            continue
        seen.add(at)
        i, j = at
        a, b = one[i : i + 1], other[j : j + 1]
        if not a and not b:
            return True
        if a == "*":
            todo += [(i + 1, j), *([(i, j + 1)] if b else [])]
        if b == "*":
            todo += [(i, j + 1), *([(i + 1, j)] if a else [])]
        if a == b and a != "*":
            todo.append((i + 1, j + 1))
    return False


def _swallowed(where: str, patterns: Sequence[str] | None) -> Iterator[Finding]:
    """Patterns of a list that another one of it makes needless."""
    for number, pattern in enumerate(patterns or ()):
        # A `*` of the narrow pattern must be matched by one of the wide pattern, like any other character.
        wider = [one for n, one in enumerate(patterns or ()) if n != number and matches(one, pattern)]
        if wider and not (pattern in wider and pattern not in (patterns or ())[:number]):
            what = f"{pattern} does nothing beside {wider[0]}."
            yield Finding("swallowed", where, what, "Remove it, or narrow the wider pattern.")


def _grants(policy: Policy) -> Iterator[Finding]:
    for name, circle in policy.circles.items():
        yield from _grant(circle, f"circles.{name}")
    yield from _grant(policy.attend, "attend")
    every = list(policy.circles.values())
    for key in ("actions", "namespaces", "pull_secrets", "zones", "workspaces"):
        granted = [one for circle in every for one in getattr(circle, key)]
        for one in getattr(policy.attend, key):
            if not any(meet(one, other) for other in granted):
                what = f"no circle is granted {one}, and a session acts within the circle of the asker."
                yield Finding("unused-grant", f"attend.{key}", what, "Remove it, or grant it to a circle.")


def _grant(grant: GrantRules, where: str) -> Iterator[Finding]:
    """What of one grant nothing can use, and which of its actions can never pass."""
    for key in _PATTERNS:
        yield from _swallowed(f"{where}.{key}", getattr(grant, key))
    actions = [one for one in grant.actions if one in ACTIONS]
    for one in dict.fromkeys(one for one in grant.actions if one not in ACTIONS):
        what = f"this version has no action {one}."
        yield Finding("unknown-action", f"{where}.actions", what, "Remove it, until a version has it.")
    systems = frozenset[str]().union(*(RULES[one].systems for one in actions))
    able = {
        "images": bool(_BRING_IMAGES & set(actions)),
        "helm": "helm" in systems,
        "zones": "dns" in systems,
        "records": bool(grant.zones),
        "workspaces": "terraform" in systems,
        "pull_secrets": "provision_namespace" in actions,
    }
    lacks = {
        "images": f"one of {some(sorted(_BRING_IMAGES))} in actions",
        "helm": "an action in which Helm works",
        "zones": "dns_record, or another action that sets records",
        "records": "a zone in zones",
        "workspaces": "terraform_apply, or another action that changes workspaces",
        "pull_secrets": "provision_namespace in actions, which copies them",
    }
    for key, is_able in able.items():
        if getattr(grant, key) and not is_able:
            what = f"nothing can use it without {lacks[key]}."
            yield Finding("unused-grant", f"{where}.{key}", what, "Remove it, or grant that too.")
    for pattern in grant.helm:
        if not any(meet(pattern, other) for other in grant.namespaces):
            what = f"{pattern} is in none of its namespaces."
            yield Finding("unused-grant", f"{where}.helm", what, "Remove it, or add the namespace to namespaces.")
    yield from _useless(grant, actions, where)


def _useless(grant: GrantRules, actions: Sequence[str], where: str) -> Iterator[Finding]:
    """The actions of a grant that can never pass, for want of something else."""
    places = bool(grant.namespaces or grant.zones or grant.workspaces)
    wants = {
        "deploy": ("images", bool(grant.images or grant.zones or grant.workspaces)),
        "provision_namespace": ("namespaces", bool(grant.namespaces)),
        "restart": ("namespaces", bool(grant.namespaces)),
        "scale": ("limits.replicas", grant.limits.replicas is not None),
        "dns_record": ("zones and records", bool(grant.zones and grant.records)),
        "terraform_apply": ("workspaces", bool(grant.workspaces)),
        "helm_release": ("helm", bool(grant.helm)),
        "configure": ("namespaces, zones or workspaces", places),
        "rollback": ("namespaces, zones or workspaces", places),
    }
    for action in dict.fromkeys(actions):
        key, is_there = wants.get(action, ("", True))
        if not is_there:
            what = f"each {action} is refused: nothing is granted in {key}."
            yield Finding("unusable-action", f"{where}.actions", what, f"Grant {key}, or remove the action.")
    if list(actions) == ["change_set"]:
        what = "each change_set is refused: no action is granted that could be a step of it."
        yield Finding("unusable-action", f"{where}.actions", what, "Grant the actions of its steps.")


def _overlaps(policy: Policy) -> Iterator[Finding]:
    """Circles that can change things in each other's namespaces."""
    able = [(name, circle) for name, circle in policy.circles.items() if circle.actions]
    for (name, circle), (other, its) in combinations(able, 2):
        shared = [
            (one, two)
            for one, two in product(circle.namespaces, its.namespaces)
            if meet(one, two) and not any(protected(each, "") for each in (one, two))
        ]
        if shared:
            one, two = shared[0]
            what = f"{one} and {two} of circle {other} can be one namespace, in which both may change things."
            step = "Narrow one of the patterns, unless the circles are to share it."
            yield Finding("overlap", f"circles.{name}.namespaces", what, step)


def _unused_sections(policy: Policy) -> Iterator[Finding]:
    for key in ("pull_secrets", "zones", "workspaces"):
        granted = {one for circle in policy.circles.values() for one in getattr(circle, key)}
        for name in getattr(policy, key):
            if name not in granted:
                what, step = "no circle is granted it.", f"Remove it, or name it in {key} of a circle."
                yield Finding("unused-section", f"{key}.{name}", what, step)


def _out_of_reach(policy: Policy) -> Iterator[Finding]:
    """Apps that no one can change, as no circle that changes anything reaches all of their namespaces."""
    for name, app in policy.apps.items():
        homes = app.namespaces()
        able = (one for one in policy.circles.values() if one.actions)
        if homes and not any(all(policy.within(one, home) for home in homes) for one in able):
            what = f"no circle with actions reaches {some(sorted(homes))}, so that every change of it is refused."
            step = "Add its namespace to a circle, or correct the app's section."
            yield Finding("out-of-reach", f"apps.{name}", what, step)


def _matching(policy: Policy, where: str, match: object, known: Known | None) -> Iterator[Finding]:
    """Keys of a match none of whose patterns can match anything, and patterns of it that do nothing."""
    circles = policy.circles.values()
    environments = {name for app in policy.apps.values() for name in app.environments}
    reached = [one for circle in circles for one in (*circle.namespaces, *circle.zones, *circle.workspaces)]
    there: dict[str, tuple[Collection[str], str]] = {
        "actions": (ACTIONS, "action of this version"),
        "circles": (policy.circles, "circle of the policy"),
        "apps": (policy.apps, "app of the policy; it can match only one that stands in the repository alone"),
        "environments": (environments, "environment of the policy; it can match only one of the repository alone"),
        "namespaces": (reached, "namespace that any circle reaches"),
    }
    if known is not None:
        there["peers"] = (known.peers, "peer of the ledger")
    for key, (values, what) in there.items():
        patterns: Sequence[str] = getattr(match, key, None) or ()
        test: Callable[[str, str], bool] = meet if key == "namespaces" else matches
        for pattern in patterns:
            if not any(test(pattern, value) for value in values):
                step = "Correct it, or remove it."
                yield Finding("never-matches", f"{where}.match.{key}", f"{pattern} matches no {what}.", step)
        yield from _swallowed(f"{where}.match.{key}", patterns)


def _rule(policy: Policy, rule: Rule, known: Known | None) -> Iterator[Finding]:
    where = f"rules.{rule.id}"
    yield from _matching(policy, where, rule.match, known)
    if why := cannot_evaluate(rule):
        what = f"it denies all that it matches, since it cannot be evaluated: {why}."
        yield Finding("cannot-be-evaluated", where, what, "Correct it; deny = true says that this is meant.")
    wanted = rule.require
    if wanted is None or known is None or wanted.by in AT_FORGE or wanted.strength == SIGNED:
        return
    people = set(known.operators if wanted.approvals == 1 else known.counted)
    people |= {"operator"} if wanted.strength == "same-user" else set()  # the server's own user
    needed = 1 if wanted.bypass else wanted.approvals
    if len(people) < needed:
        what = f"it wants {needed} operators, and {len(people)} can approve: its requests wait in vain."
        step = "Add operators (`infra-mcp peer add NAME --operator`) and confirm them, or lower approvals."
        yield Finding("unmeetable", f"{where}.require", what, step)


def _freeze(policy: Policy, freeze: Freeze, now: datetime) -> Iterator[Finding]:
    where = f"freeze.{freeze.id}"
    if freeze.until <= now:
        what = f"it ended at {freeze.until.isoformat()}."
        yield Finding("expired", where, what, "Remove it.")
        return
    yield from _matching(policy, where, freeze.match, None)


def _owners(policy: Policy, known: Known) -> Iterator[Finding]:
    """Owners and senders that the ledger does not know."""
    named: Iterable[tuple[str, str | None]] = [
        *((f"apps.{name}.owner", app.owner) for name, app in policy.apps.items()),
        *((f"owners.{number}.owner", one.owner) for number, one in enumerate(policy.owners)),
        *((f"hooks.{name}.peer", hook.peer) for name, hook in policy.hooks.items()),
    ]
    for where, peer in named:
        if peer is not None and peer not in known.peers:
            what = f"there is no peer {peer} yet."
            yield Finding(
                "no-such-peer", where, what, f"Add it (`infra-mcp peer add {peer} --circle …`), or correct it."
            )
