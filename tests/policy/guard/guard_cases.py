"""The table of rendered objects: each read as an object, a policy and the guardrail that must refuse it."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.effect import Change, Effect, Part
from infra_mcp.model.peer import Caller
from infra_mcp.model.target import Target
from infra_mcp.policy.decide import judge
from infra_mcp.policy.guard.facts import traits
from infra_mcp.policy.guard.kinds import kind_of
from infra_mcp.policy.images import images_in
from infra_mcp.policy.policy import Policy, load

__all__ = ["ACTION", "CASES", "DOCS", "GRANTS", "ZONES", "Case", "change_of", "effect_of", "policy_of", "refused_by"]

DOCS = Caller(name="docs", circle="docs", strength="token")
ACTION = Deploy(app="docs", version="1")
RELEASE = "helm|sandbox|docs-live|release|docs"
GRANTS = {
    "images": ["registry.example/docs/*"],
    "hosts": ["*.docs.example"],
    "allow": [],
}


@dataclass(frozen=True)
class Case:
    """One object of the table."""

    name: str
    rendered: dict[str, Any]
    rule: str
    grants: dict[str, list[str]]
    level: str = "baseline"
    scope: str | None = "docs-live"
    psa: str = ""
    pod: dict[str, Any] | None = field(default=None)  # its pod, where it is written as one
    more: str = ""  # [[guardrails]] and [[protected]] of the policy
    limits: str = ""  # of the circle

    @property
    def policy(self) -> dict[str, str]:
        """What its policy has beside grants."""
        return {"level": self.level, "more": self.more, "limits": self.limits}

    @classmethod
    def of(cls, name: str, given: dict[str, Any]) -> Case:
        """A case as the table has it."""
        grants = GRANTS | {key: given[key] for key in ("kinds", "hosts", "allow", "images") if key in given}
        scope = given.get("scope", "docs-live") or None
        pod = None if "object" in given else _pod(given)
        rendered = yaml.safe_load(given["object"]) if pod is None else _deployment(pod)
        level, more = given.get("level", "baseline"), given.get("required", "")
        about = {"psa": given.get("psa", ""), "pod": pod, "limits": given.get("limits", "")}
        more = f"[[guardrails]]\n{more}\n" if more else ""
        more += f"[[protected]]\n{given['protected']}\n" if "protected" in given else ""
        return cls(name, rendered, given["rule"], grants, level, scope, more=more, **about)


def _pod(given: dict[str, Any]) -> dict[str, Any]:
    container = {"name": "web", "image": "registry.example/docs/site:1"}
    container |= yaml.safe_load(given.get("container", "{}"))
    return {"containers": [container]} | yaml.safe_load(given.get("pod", "{}"))


def _deployment(pod: dict[str, Any]) -> dict[str, Any]:
    labels = {"app": "docs"}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "docs"}, "spec": spec}


ZONES = """
[zones."one.example"]
backend = "coredns"
cluster = "sandbox"
object = "{namespace}/zones"
key = "one.example"
servers = ["127.0.0.1:53"]

[zones."two.example"]
backend = "dnsendpoint"
cluster = "sandbox"
object = "{namespace}/zones"
servers = ["127.0.0.1:53"]
"""


def policy_of(grants: dict[str, list[str]], level: str = "baseline", more: str = "", limits: str = "") -> Policy:
    """A policy that grants the circle docs what a case says."""
    lines = [f"{key} = {value!r}" for key, value in grants.items()] + ([f"limits = {limits}"] if limits else [])
    return load(
        '[clusters.sandbox]\ncontext = "sandbox"\n[circles.docs]\nnamespaces = ["docs-*"]\nactions = ["deploy"]\n'
        + "\n".join(lines).replace("'", '"')
        + f'\n[pod_security]\n"docs-live" = "{level}"\n[apps.docs]\nowner = "docs"\n'
        + ZONES.format(namespace="docs-live")
        + more
    )


def change_of(rendered: dict[str, Any], scope: str | None, by: str = RELEASE, **more: Any) -> Change:
    """The change by which a release brings an object."""
    name = rendered["metadata"]["name"]
    target = Target(system="kubernetes", place="sandbox", scope=scope, kind=kind_of(rendered), name=name)
    given = {"traits": traits(rendered), "images": tuple(images_in(rendered))} | more
    if target.kind in {"ConfigMap", "Secret"}:
        given["images"] = ()
    return Change(target=target, operation="create", by=by, **given)


def effect_of(changes: Iterable[Change]) -> Effect:
    """An effect of these changes, as the driver of Helm plans them."""
    return Effect(action={}, parts=(Part(driver="helm", place="sandbox", stage=0, changes=tuple(changes)),), files=())


def refused_by(case: Case, **grants: list[str]) -> str:
    """The rule that refuses a case; empty where it passes."""
    policy = policy_of(case.grants | grants, **case.policy)
    verdict = judge(policy, DOCS, ACTION, effect_of([change_of(copy.deepcopy(case.rendered), case.scope)]))
    return "" if verdict.decision == "allow" else verdict.rule


CASES = [
    Case.of(name, given)
    for name, given in tomllib.loads(Path(__file__).with_name("cases.toml").read_text(encoding="utf-8")).items()
]
