"""Less grants less: without a grant or a limit, or with one more rule, never more is allowed, and no order counts.

Over every action, and policies and effects of every system. Policy's `pod_security` is left out on purpose: its nearest
pattern decides, so that an entry can be there to widen.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy.guard.guard_cases import CASES, change_of

from infra_mcp.drivers.base import Context
from infra_mcp.drivers.helm.access import require_repository
from infra_mcp.errors import InfraError
from infra_mcp.model.actions.base import ActionModel
from infra_mcp.model.actions.change_set import ChangeSet
from infra_mcp.model.actions.configure import Configure
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.actions.dns_record import DnsRecord
from infra_mcp.model.actions.helm_release import HelmRelease
from infra_mcp.model.actions.provision_namespace import ProvisionNamespace
from infra_mcp.model.actions.restart import Restart
from infra_mcp.model.actions.rollback import RollbackOf
from infra_mcp.model.actions.scale import Scale
from infra_mcp.model.actions.terraform_apply import TerraformApply
from infra_mcp.model.effect import Change, Effect, FieldChange, Part, Reached
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.decide import judge
from infra_mcp.policy.policy import Policy, load

pytestmark = [pytest.mark.promise("effect.guarded"), pytest.mark.promise("policy.circles")]

DOCS = Caller(name="docs", circle="docs", strength="token")
# Every grant of the fullest circle, and of a session that attends for it.
GRANTS = {
    "namespaces": ["docs-live", "docs-*"],
    "actions": [
        "provision_namespace",
        "deploy",
        "scale",
        "helm_release",
        "dns_record",
        "terraform_apply",
        "change_set",
        "restart",
        "configure",
        "rollback",
    ],
    "images": ["registry.example/docs/*", "registry.example/docs/site:9"],
    "hosts": ["*.docs.example", "www.docs.example"],
    "kinds": [
        "apps/*",
        "Service",
        "Secret",
        "networking.k8s.io/Ingress",
        "rbac.authorization.k8s.io/*",
        "helm.toolkit.fluxcd.io/*",
    ],
    "allow": [
        "kinds.secrets",
        "kinds.rbac",
        "pods.privileged",
        "services.node-port",
        "dns.wildcard",
        "dns.apex",
        "dns.private-address",
        "effect.unrendered",
    ],
    "helm": ["docs-live"],
    "zones": ["docs.example"],
    "records": ["*w*", "@"],
    "workspaces": ["network"],
    "pull_secrets": ["X"],
    "labels": ["team"],
}
WORKSPACE = {"types": ["terraform_data", "local_file"], "allow": ["file:*"], "providers": ["*"]}
TREE = {"adopt": ["argocd-controller"]}
NOWADAYS = 'from = "2026-01-01T00:00:00Z"\nuntil = "2027-01-01T00:00:00Z"\n'
RULES = [
    '[[rules]]\nid = "deny"\nmatch = { actions = ["deploy"] }\ndeny = true\n',
    '[[rules]]\nid = "deny-space"\nmatch = { namespaces = ["docs-live"] }\ndeny = true\n',
    '[[rules]]\nid = "deny-zone"\nmatch = { namespaces = ["docs.example"] }\ndeny = true\n',
    '[[rules]]\nid = "deny-all"\ndeny = true\n',
    '[[rules]]\nid = "ask"\nmatch = { peers = ["docs"] }\nrequire = { approvals = 1 }\n',
    '[[rules]]\nid = "unknown"\nmatch = { moon = ["full"] }\nrequire = { approvals = 1 }\n',
    '[[guardrails]]\nrequire = ["pods.requests", "pods.readiness", "pods.token-mount", "pods.amounts"]\n',
    '[[guardrails]]\nmatch = { namespaces = ["docs-*"] }\nlabels = ["team"]\ndigest = ["*"]\nmax_ratio = 2\n',
    '[[protected]]\nid = "space"\nnamespaces = ["docs-live"]\n',
    '[[protected]]\nid = "kinds"\nkinds = ["Service", "Namespace", "release"]\n',
    f'[[freeze]]\nid = "soon"\n{NOWADAYS}match = {{ namespaces = ["docs-*"] }}\n',
    f'[[freeze]]\nid = "apps"\n{NOWADAYS}match = {{ apps = ["docs"] }}\n',
]
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
KEYS = {**{("circles.docs", key): values for key, values in GRANTS.items()},
        **{("attend", key): values for key, values in GRANTS.items()},
        **{("workspaces.network", key): values for key, values in WORKSPACE.items()},
        **{("tree", key): values for key, values in TREE.items()}}  # fmt: skip
FULL = {place: tuple(values) for place, values in KEYS.items()}
SECTIONS = {
    "tree": 'branch = "main"\n[[tree.roots]]\npath = "k8s"\n',
    "workspaces.network": 'path = "tf/network"\n',
}
REST = """
[clusters.sandbox]
context = "sandbox"
[pull_secrets.X]
from = "sources/x"
[zones."docs.example"]
backend = "rfc2136"
server = "127.0.0.1"
key_file = "/k"
[apps.docs]
owner = "docs"
file = "k8s/docs.yaml"
[apps.docs.environments.live]
namespace = "docs-live"
"""


LIMITS = {"replicas": 5, "cpu": "4", "memory": "8Gi"}


def policy_of(
    granted: dict[tuple[str, str], tuple[str, ...]],
    rules: tuple[str, ...] = (),
    limits: dict[str, int | str] = LIMITS,
) -> Policy:
    """A policy with these grants, rules and limits."""
    text = ""
    for section in dict.fromkeys(section for section, _ in KEYS):
        lines = [
            f"{key} = {list(values)!r}".replace("'", '"') for (of, key), values in granted.items() if of == section
        ]
        head, _, more = SECTIONS.get(section, "").partition("[[")
        bounds = ", ".join(f"{key} = {json.dumps(value)}" for key, value in limits.items())
        limits_line = f"limits = {{ {bounds} }}\n" if section in {"circles.docs", "attend"} else ""
        text += f"[{section}]\n{head}{limits_line}" + "\n".join(lines) + (f"\n[[{more}" if more else "\n")
    return load(text + REST + "".join(rules))


def _case(name: str) -> Change:
    case = next(one for one in CASES if one.name == name)
    return change_of(case.rendered, case.scope)


def _typed(name: str, *fields: FieldChange, **more: object) -> Change:
    target = Target(system="kubernetes", place="sandbox", scope="docs-live", kind="apps/Deployment", name=name)
    return Change(target=target, operation="update", fields=fields, **more)


def _target(system: str, place: str, scope: str | None, kind: str, name: str) -> Target:
    return Target(system=system, place=place, scope=scope, kind=kind, name=name)


def _record(name: str) -> Change:
    target = _target("dns", "docs.example", "docs.example", "A", name)
    fields = (FieldChange(path=("values",), after=["203.0.113.7"]), FieldChange(path=("ttl",), after=300))
    return Change(target=target, operation="create", fields=fields)


def _resource(kind: str, operation: str = "create") -> Change:
    return Change(target=_target("terraform", "network", "network", kind, f"{kind}.a"), operation=operation)


STARTED = ("spec", "template", "metadata", "annotations", "infra-mcp.dev/restart")
REPLICAS = FieldChange(path=("spec", "replicas"), before=2, after=3)
AT = ("spec", "template", "spec", "containers", {"name": "web"}, "image")
NEW = _typed("docs", FieldChange(path=AT, before="registry.example/docs/site:0", after="registry.example/docs/site:1"))
TAKEN = _typed("docs", takes=({"field": ".x", "manager": "argocd-controller", "operation": "Apply"},))
RELEASE = Change(target=_target("helm", "sandbox", "docs-live", "release", "docs"), operation="create", identity="helm")
FLUX = {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"name": "r"}, "spec": {}}
SPACE = Change(
    target=_target("kubernetes", "sandbox", None, "Namespace", "docs-new"),
    operation="create",
    identity="server",
    fields=(FieldChange(path=("metadata", "labels", "team"), after="docs"),),
)
COPY = Change(target=_target("kubernetes", "sandbox", "docs-new", "Secret", "x"), operation="create")
NAMES = ("plain-deployment", "service", "node-port", "privileged", "secret", "role", "ingress", "a-namespace-of-others",
         "ingress-of-others", "an-image-of-others", "cluster-role", "external-name")  # fmt: skip
CHARTED = [RELEASE, change_of(FLUX, "docs-live"), *map(_case, NAMES)]
INSTALL = HelmRelease(namespace="docs-live", release="docs", chart="./charts/docs")
PROVISION = ProvisionNamespace(namespace="docs-new", pull_secrets=("X",), labels={"team": "docs"})
# What is asked, and the changes that its plan may have.
ASKED: list[tuple[ActionModel, str, list[Change]]] = [
    (Deploy(app="docs", version="1"), "kubernetes", [NEW, TAKEN, *CHARTED[1:]]),
    (Scale(app="docs", replicas=3), "kubernetes", [_typed("docs", FieldChange(path=("spec", "replicas"), after=3))]),
    (PROVISION, "kubernetes", [SPACE, COPY]),
    (INSTALL, "helm", CHARTED),
    (DnsRecord(zone="docs.example", name="www", type="A", values=("203.0.113.7",)), "dns", [_record("www")]),
    (DnsRecord(zone="docs.example", name="*.w", type="A", values=("203.0.113.7",)), "dns", [_record("*.w")]),
    (DnsRecord(zone="docs.example", name="@", type="A", values=("203.0.113.7",)), "dns", [_record("@")]),
    (Restart(app="docs"), "kubernetes", [_typed("docs", FieldChange(path=STARTED, after="req-2"))]),
    (Configure(app="docs", settings={"replicas": 3}), "kubernetes", [_typed("docs", REPLICAS)]),
    (RollbackOf(request="req-103s6d4006zb", of=Scale(app="docs", replicas=3)), "kubernetes",
     [_typed("docs", REPLICAS)]),
    (TerraformApply(workspace="network"), "terraform",
     [_resource("terraform_data"), _resource("local_file"), _resource("terraform_data", "delete")]),
]  # fmt: skip
REACHED = (
    (),
    (Reached(delivery="flux", root="k8s", cluster="sandbox", own=True),),
    (Reached(delivery="external", root="elsewhere"),),
)


def _part(driver: str, changes: list[Change], stage: int = 0) -> Part:
    place = {"dns": "docs.example", "terraform": "network"}.get(driver, "sandbox")
    return Part(driver=driver, place=place, stage=stage, changes=tuple(changes))


@st.composite
def effects(draw: st.DrawFn) -> tuple[ActionModel, Effect]:
    """An action with an effect; or a set of two, with a stage for each."""
    asked = draw(st.lists(st.sampled_from(range(len(ASKED))), min_size=1, max_size=2, unique=True))
    if any(isinstance(ASKED[at][0], RollbackOf) for at in asked):
        asked = asked[:1]  # no step of a set is a rollback
    parts = []
    for stage, at in enumerate(asked):
        _, driver, pool = ASKED[at]
        parts.append(_part(driver, draw(st.lists(st.sampled_from(pool), max_size=3, unique_by=id)), stage))
    reach = draw(st.sampled_from(REACHED))
    whole = Effect(action={}, parts=tuple(parts), files=(), reach=reach)
    if len(asked) == 1:
        return ASKED[asked[0]][0], whole
    steps = [{"name": f"s{at}", "action": ASKED[at][0].action, "arguments": _arguments(ASKED[at][0])} for at in asked]
    return ChangeSet.model_validate({"steps": tuple(steps)}), whole


def _arguments(action: ActionModel) -> dict[str, object]:
    return action.model_dump(mode="json", exclude={"action"}, exclude_none=True)


@st.composite
def policies(draw: st.DrawFn) -> dict[tuple[str, str], tuple[str, ...]]:
    """The fullest grants without some of them."""
    every = [(place, value) for place, values in FULL.items() for value in values]
    gone = draw(st.lists(st.sampled_from(every), max_size=4, unique=True))
    return without(FULL, gone)


def without(granted, gone):
    """Grants without some of their entries."""
    return {place: tuple(one for one in values if (place, one) not in gone) for place, values in granted.items()}


RANK = {"refuse": 0, "needs-approval": 1, "allow": 2}


def decided(policy, asked, *, attendant):
    """How much a verdict permits, and the approvals that it needs."""
    verdict = judge(policy, DOCS, asked[0], asked[1], attendant=attendant, now=NOW)
    return RANK[verdict.decision], set(verdict.needs or ())


def at_most(less, more) -> bool:
    """Whether the one verdict permits no more than the other."""
    return less[0] < more[0] or (less[0] == more[0] and less[1] >= more[1])


@settings(max_examples=300)
@given(policies(), effects(), st.booleans(), st.data())
def test_to_remove_any_grant_never_widens_what_is_allowed(granted, asked, attendant, data):
    held = [(place, value) for place, values in granted.items() for value in values]
    gone = data.draw(st.lists(st.sampled_from(held), min_size=1, max_size=3, unique=True))

    before = decided(policy_of(granted), asked, attendant=attendant)
    after = decided(policy_of(without(granted, gone)), asked, attendant=attendant)

    assert at_most(after, before), gone


@settings(max_examples=150)
@given(policies(), effects(), st.booleans(), st.lists(st.sampled_from(RULES), unique=True), st.sampled_from(RULES))
def test_to_add_a_rule_never_allows_more(granted, asked, attendant, rules, one):
    rules = [other for other in rules if other != one]

    before = decided(policy_of(granted, tuple(rules)), asked, attendant=attendant)
    after = decided(policy_of(granted, (*rules, one)), asked, attendant=attendant)

    assert at_most(after, before)


@settings(max_examples=150)
@given(policies(), effects(), st.booleans(), st.data())
def test_to_remove_a_limit_or_lower_one_never_widens(granted, asked, attendant, data):
    less = dict(LIMITS)
    for key in data.draw(st.lists(st.sampled_from([*LIMITS]), min_size=1, unique=True)):
        lower = data.draw(st.sampled_from([None, {"replicas": 2, "cpu": "100m", "memory": "1Gi"}[key]]))
        less[key] = lower
    less = {key: value for key, value in less.items() if value is not None}
    amounts = (RULES[6],)  # with a guardrail that compares what pods ask for

    before = decided(policy_of(granted, amounts), asked, attendant=attendant)
    after = decided(policy_of(granted, amounts, less), asked, attendant=attendant)

    assert at_most(after, before), less


@settings(max_examples=150)
@given(policies(), effects(), st.booleans(), st.lists(st.sampled_from(RULES), unique=True), st.randoms())
def test_the_order_of_rules_grants_and_patterns_makes_no_difference(granted, asked, attendant, rules, chance):
    shuffled = {place: tuple(chance.sample(values, len(values))) for place, values in granted.items()}
    places = chance.sample([*shuffled], len(shuffled))
    mixed = policy_of({place: shuffled[place] for place in places}, tuple(chance.sample(rules, len(rules))))

    assert decided(mixed, asked, attendant=attendant) == decided(
        policy_of(granted, tuple(rules)), asked, attendant=attendant
    )


EMPTY = ("", "[circles.docs]\n", '[clusters.sandbox]\ncontext = "sandbox"\n[circles.docs]\n[circles.shop]\n')


@settings(max_examples=150)
@given(effects(), st.booleans(), st.sampled_from([*EMPTY, REST, REST + "[circles.docs]\n"]), st.booleans())
def test_a_policy_that_grants_nothing_refuses_everything(asked, attendant, text, is_planned):
    verdict = judge(load(text), DOCS, asked[0], asked[1] if is_planned else None, attendant=attendant, now=NOW)

    assert verdict.decision == "refuse"


# Grants that no effect here needs alone, each with what else grants the same.
SPARE = {
    "docs-live": "docs-*",
    "registry.example/docs/site:9": "registry.example/docs/*",
    "www.docs.example": "*.docs.example",
    "file:*": "read before anything is planned",
    "*": "providers, as well",
}


def test_every_grant_decides_about_some_effect():
    effects_of = [
        (action, Effect(action={}, parts=(_part(driver, [change]),), files=(), reach=()))
        for action, driver, pool in ASKED
        for change in pool
    ]
    effects_of += [(INSTALL, Effect(action={}, parts=(_part("helm", [RELEASE]),), files=(), reach=REACHED[1]))]
    steps = [{"name": "one", "action": ASKED[1][0].action, "arguments": _arguments(ASKED[1][0])}]
    steps += [{"name": "two", "action": ASKED[4][0].action, "arguments": _arguments(ASKED[4][0])}]
    effects_of += [(ChangeSet.model_validate({"steps": tuple(steps)}), Effect(action={}, parts=(), files=()))]
    full = policy_of(FULL)
    allowed = [asked for asked in effects_of if decided(full, asked, attendant=True)[0] > 0]
    idle = {
        value
        for place, values in FULL.items()
        for value in values
        if all(
            decided(policy_of(without(FULL, [(place, value)])), asked, attendant=True)
            == decided(full, asked, attendant=True)
            for asked in allowed
        )
    }

    assert len(allowed) >= 18
    assert idle <= SPARE.keys()


REPOSITORIES = ("https://charts.example", "https://charts.example/team", "oci://r.example/c")
SOURCES = (*REPOSITORIES, "https://charts.example/team/x", "https://charts.example.evil", "oci://r.example/c/d")


@given(st.lists(st.sampled_from(REPOSITORIES), unique=True), st.sampled_from(SOURCES))
def test_to_remove_a_chart_repository_never_widens(known, asked):
    def passes(several):
        policy = load(f"[helm]\nrepositories = {several!r}\n".replace("'", '"'))
        try:
            require_repository(Context(request="r", circle="docs", policy=policy), asked)
        except InfraError:
            return False
        return True

    assert all(passes(known) or not passes([other for other in known if other != one]) for one in known)
