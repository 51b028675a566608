"""Each kind of finding: a policy that has it, and the same policy without it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra_mcp.policy import findings as module
from infra_mcp.policy.findings import Known, findings, meet
from infra_mcp.policy.policy import load

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KNOWN = Known(frozenset({"docs", "shop", "ann", "bob"}), frozenset({"ann", "bob"}), frozenset({"ann"}))
BASE = """
[clusters.a]
context = "a"
[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy"]
images = ["registry.example/docs/*"]
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
"""
RULE = '[[rules]]\nid = "r"\ndeny = true\nmatch = {{ {} }}\n'
FREEZE = '[[freeze]]\nid = "f"\nfrom = "2026-01-01T00:00:00Z"\nuntil = "{}"\nmatch = {{ {} }}\n'
SHOP = '[circles.shop]\nnamespaces = ["{}"]\nactions = ["restart"]\n'
NEED = '[[rules]]\nid = "r"\nmatch = {{ circles = ["docs"] }}\nrequire = {{ {} }}\n'
LATER = "2027-01-01T00:00:00Z"

# Name: the kind, the key that is named, what has it, and what has it not; both are added to BASE.
CASES = {
    "a rule of a namespace that no circle reaches": (
        "never-matches", "rules.r.match.namespaces", RULE.format('namespaces = ["shop-*"]'),
        RULE.format('namespaces = ["*-live"]'),
    ),
    "a rule of an app that is not in the catalogue": (
        "never-matches", "rules.r.match.apps", RULE.format('apps = ["dosc"]'), RULE.format('apps = ["doc*"]'),
    ),
    "a rule of an environment that no app has": (
        "never-matches", "rules.r.match.environments", RULE.format('environments = ["prod"]'),
        '[apps.docs.environments.prod]\nat = "docs/prod"\n' + RULE.format('environments = ["prod"]'),
    ),
    "a rule of an action that there is not": (
        "never-matches", "rules.r.match.actions", RULE.format('actions = ["redeploy"]'),
        RULE.format('actions = ["*deploy"]'),
    ),
    "a rule of a circle that there is not": (
        "never-matches", "rules.r.match.circles", RULE.format('circles = ["dosc"]'), RULE.format('circles = ["docs"]'),
    ),
    "a rule of a peer that the ledger does not know": (
        "never-matches", "rules.r.match.peers", RULE.format('peers = ["dosc"]'), RULE.format('peers = ["sh*"]'),
    ),
    "a freeze of a namespace that no circle reaches": (
        "never-matches", "freeze.f.match.namespaces", FREEZE.format(LATER, 'namespaces = ["shop"]'),
        FREEZE.format(LATER, 'namespaces = ["docs-live"]'),
    ),
    "a pattern beside a wider one": (
        "swallowed", "circles.shop.namespaces", SHOP.format('shop-*", "shop-live-*'),
        SHOP.format('shop-*", "shop'),
    ),
    "a pattern that is there twice": (
        "swallowed", "rules.r.match.circles", RULE.format('circles = ["docs", "docs"]'),
        RULE.format('circles = ["docs"]'),
    ),
    "a field manager beside a wider pattern": (
        "swallowed", "tree.adopt", '[tree]\nadopt = ["kubectl-*", "kubectl-edit"]\n',
        '[tree]\nadopt = ["kubectl-*", "kubectl"]\n',
    ),
    "circles that may change things in one namespace": (
        "overlap", "circles.docs.namespaces", SHOP.format("*-live"), SHOP.format("shop-live"),
    ),
    "images without an action that brings any": (
        "unused-grant", "circles.shop.images", SHOP.format("shop") + 'images = ["a.example/*"]\n',
        SHOP.format("shop").replace("restart", "rollback") + 'images = ["a.example/*"]\n',
    ),
    "Helm outside the circle's namespaces": (
        "unused-grant", "circles.shop.helm",
        SHOP.format("shop").replace("restart", "helm_release") + 'helm = ["shop-*"]\n',
        SHOP.format("shop*").replace("restart", "helm_release") + 'helm = ["shop-*"]\n',
    ),
    "records without a zone": (
        "unused-grant", "circles.shop.records", SHOP.format("shop") + 'records = ["www"]\n', SHOP.format("shop"),
    ),
    "a pull secret without an action that copies it": (
        "unused-grant", "circles.shop.pull_secrets",
        SHOP.format("shop") + 'pull_secrets = ["X"]\n[pull_secrets.X]\nfrom = "infra/x"\n',
        SHOP.format("shop").replace("restart", "provision_namespace")
        + 'pull_secrets = ["X"]\n[pull_secrets.X]\nfrom = "infra/x"\n',
    ),
    "what a session may do and no circle": (
        "unused-grant", "attend.actions", '[attend]\nactions = ["restart"]\nnamespaces = ["docs-*"]\n',
        SHOP.format("shop") + '[attend]\nactions = ["restart"]\nnamespaces = ["docs-*"]\n',
    ),
    "an action for which nothing else is granted": (
        "unusable-action", "circles.shop.actions", SHOP.format("shop").replace("restart", "scale"),
        SHOP.format("shop").replace("restart", "scale") + "limits = { replicas = 3 }\n",
    ),
    "a change set without a step": (
        "unusable-action", "circles.shop.actions", SHOP.format("shop").replace("restart", "change_set"),
        SHOP.format("shop").replace("restart", 'restart", "change_set'),
    ),
    "an action of a later version": (
        "unknown-action", "circles.shop.actions", SHOP.format("shop").replace("restart", "remove"), SHOP.format("shop"),
    ),
    "a pull secret of no circle": (
        "unused-section", "pull_secrets.X", '[pull_secrets.X]\nfrom = "infra/x"\n',
        '[pull_secrets.X]\nfrom = "infra/x"\n'
        + SHOP.format("shop").replace("restart", "provision_namespace") + 'pull_secrets = ["X"]\n',
    ),
    "an app in a namespace that no circle reaches": (
        "out-of-reach", "apps.shop", '[apps.shop]\nowner = "shop"\nworkload = "shop/deployment/shop"\n',
        '[apps.shop]\nowner = "shop"\nworkload = "docs-shop/deployment/shop"\n',
    ),
    "a rule that this version cannot evaluate": (
        "cannot-be-evaluated", "rules.r", RULE.format('weather = ["rain"]'), RULE.format('circles = ["docs"]'),
    ),
    "a rule that wants more operators than count": (
        "unmeetable", "rules.r.require", NEED.format('approvals = 2, strength = "token"'),
        NEED.format("approvals = 2"),
    ),
    "a rule that wants more operators than there are": (
        "unmeetable", "rules.r.require", NEED.format("approvals = 3"),
        NEED.format('approvals = 3, bypass = "30m"'),
    ),
    "a freeze that is over": (
        "expired", "freeze.f", FREEZE.format("2026-05-01T00:00:00Z", 'circles = ["docs"]'),
        FREEZE.format(LATER, 'circles = ["docs"]'),
    ),
    "an owner that is no peer": (
        "no-such-peer", "apps.till.owner", '[apps.till]\nowner = "tlil"\n', '[apps.till]\nowner = "shop"\n',
    ),
}  # fmt: skip
PAGE = Path(__file__).parents[2] / "docs" / "policy.md"


def found(text: str, known: Known | None = KNOWN) -> set[tuple[str, str]]:
    return {(one.kind, one.where) for one in findings(load(BASE + text), NOW, known)}


@pytest.mark.promise("policy.test")
@pytest.mark.parametrize("name", CASES)
def test_a_finding_is_there_for_a_policy_that_has_it_and_not_for_one_that_has_it_not(name):
    kind, where, has, has_not = CASES[name]

    assert (kind, where) in found(has)
    assert (kind, where) not in found(has_not)


def test_a_plain_policy_has_no_finding():
    assert findings(load(BASE), NOW, KNOWN) == []


def test_nothing_is_said_of_peers_where_no_ledger_is_at_hand():
    said = {one for _, _, has, _ in CASES.values() for one in found(has, known=None)}

    assert {kind for kind, _ in said}.isdisjoint({"no-such-peer", "unmeetable"})
    assert ("never-matches", "rules.r.match.peers") not in said


def test_every_kind_is_tried_and_stands_in_the_page():
    source = Path(module.__file__).read_text(encoding="utf-8")
    kinds = set(re.findall(r'Finding\(\s*"([a-z-]+)"', source))
    _, _, part = PAGE.read_text(encoding="utf-8").partition("\n## Checking a policy\n")

    assert kinds == {kind for kind, *_ in CASES.values()}
    assert set(re.findall(r"^\| `([a-z-]+)` \|", part.partition("\n## ")[0], re.MULTILINE)) == kinds


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("docs", "docs", True), ("docs", "doc", False), ("docs-*", "*-live", True), ("docs-*", "docs", False),
        ("a*b", "*c*", True), ("a*b", "b*", False), ("*", "", True), ("a*", "*", True), ("a-*-b", "a-b", False),
    ],
)  # fmt: skip
def test_patterns_meet_when_one_value_matches_both(one, other, together):
    assert (meet(one, other), meet(other, one)) == (together, together)
