"""How long a decision takes: over an effect of 200 objects, by a policy with 100 rules."""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime

from mesh import Line

from infra_mcp.model.actions.helm_release import HelmRelease
from infra_mcp.model.effect import Change, Effect, FieldChange, Part
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.decide import judge
from infra_mcp.policy.guard.facts import traits
from infra_mcp.policy.policy import load

__all__ = ["measure"]

OBJECTS = 200
RULES = 100
AIM = 5.0  # ms
DECISIONS = 100
NAMESPACE = "docs-live"
KINDS = ("apps/Deployment", "Service", "ConfigMap", "networking.k8s.io/Ingress")
POLICY = """
[clusters.sandbox]
context = "sandbox"
[circles.docs]
namespaces = ["docs-*"]
actions = ["helm_release"]
images = ["registry.example/shop/*", "registry.example/docs/*"]
hosts = ["*.shop.example", "*.docs.example"]
limits = { replicas = 10 }
helm = ["docs-*"]
"""
# A quarter of each: for others, an approval for this one, a guardrail that holds, a protected object.
MORE = (
    '[[rules]]\nid = "r{0}"\nmatch = {{ namespaces = ["shop-{0}-*"], actions = ["deploy"] }}\ndeny = true\n',
    '[[rules]]\nid = "r{0}"\nmatch = {{ namespaces = ["*-live"] }}\nrequire = {{ approvals = 1 }}\n',
    '[[guardrails]]\nmatch = {{ namespaces = ["*-live"] }}\nrequire = ["pods.requests"]\nlabels = ["app"]\n',
    '[[protected]]\nid = "p{0}"\nnamespaces = ["docs-*"]\nnames = ["*database-{0}"]\n',
)


def measure(rounds: int) -> list[Line]:
    """The line about decisions: a round's value is the 99th percentile of verdicts on the whole effect."""
    policy = load(POLICY + "".join(MORE[at % len(MORE)].format(at) for at in range(RULES)))
    release = Target(system="helm", place="sandbox", scope=NAMESPACE, kind="release", name="docs")
    changes = [Change(target=release, operation="update", identity="helm")]
    changes += [_change(KINDS[at % len(KINDS)], f"web-{at}", release.key) for at in range(OBJECTS)]
    effect = Effect(action={}, parts=(Part(driver="helm", place="sandbox", stage=0, changes=tuple(changes)),), files=())
    caller = Caller(name="docs", circle="docs", strength="token")
    action = HelmRelease(namespace=NAMESPACE, release="docs", chart="./charts/docs")
    now = datetime(2026, 11, 22, tzinfo=UTC)
    line = Line(f"a decision over {OBJECTS} objects and {RULES} rules, p99 of {DECISIONS}", "ms", below=AIM)
    for _ in range(rounds):
        spent = []
        for _ in range(DECISIONS):
            begin = time.perf_counter()
            verdict = judge(policy, caller, action, effect, now=now)
            spent.append((time.perf_counter() - begin) * 1000)
            if verdict.decision != "needs-approval":
                raise SystemExit(f"the decision is another one: {verdict}")
        line.ours.append(statistics.quantiles(spent, n=100)[-1])
    return [line]


def _change(kind: str, name: str, by: str) -> Change:
    group, _, plain = kind.rpartition("/")
    body = {"apiVersion": f"{group}/v1" if group else "v1", "kind": plain, "metadata": {"name": name}} | _content(plain)
    body["metadata"] = {"name": name, "namespace": NAMESPACE, "labels": {"app": name}}
    return Change(
        target=Target(system="kubernetes", place="sandbox", scope=NAMESPACE, kind=kind, name=name),
        operation="update",
        fields=(FieldChange(path=("metadata", "labels", "version"), before="1", after="2"),),
        identity="helm",
        by=by,
        images=("registry.example/docs/web:2",) if plain == "Deployment" else (),
        traits=traits(body),
    )


def _content(kind: str) -> dict[str, object]:
    if kind == "Deployment":
        requests = {"requests": {"cpu": "100m", "memory": "64Mi"}}
        container = {"name": "web", "image": "registry.example/docs/web:2", "resources": requests}
        return {"spec": {"template": {"spec": {"containers": [container]}}}}
    if kind == "Ingress":
        return {"spec": {"rules": [{"host": "www.docs.example"}]}}
    return {}
