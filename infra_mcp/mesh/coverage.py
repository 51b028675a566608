"""What a sentence can say of each action, for people and for the tests that hold the grammar to it. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from infra_mcp.mesh.intent import NotUnderstood, Understood, parse
from infra_mcp.model.actions import ACTIONS

__all__ = ["MEANT", "SENTENCES", "Row", "rows", "said"]

# For each field that a sentence can say: one that says it.
SENTENCES: Final[dict[str, dict[str, str]]] = {
    "provision_namespace": {
        "namespace": "I need a namespace 'docs-staging'",
        "pull_secrets": "I need a namespace 'docs-staging' with image-pull secret X",
        "labels": "Please create namespace docs-staging with label team=docs",
        "quota": "We need a namespace docs-staging with a quota of 4 cpu, 8Gi memory and 20 pods",
        "limits": "Create namespace docs-staging with container limits of 500m cpu and 512Mi memory",
        "default_deny": "Can you make a namespace docs-staging with default-deny?",
        "owner": "I need a namespace called docs owned by docs",
        "cluster": "I need a namespace docs-staging on cluster sandbox",
    }
}
# For each action that a sentence cannot say, but can mean: one that is answered with the block to send.
MEANT: Final[dict[str, str]] = {"deploy": "deploy docs 0.13.4"}


class Row(NamedTuple):
    """One field of an action: the sentence that says it, if one can, and what answers a sentence that means it."""

    action: str
    field: str
    sentence: str | None
    answered: str | None


def rows() -> list[Row]:
    """The coverage of all actions, field by field, in the order of the actions' own fields."""
    found = []
    for name, model in ACTIONS.items():
        answer = parse(MEANT[name]) if name in MEANT else None
        block = answer.nearest[0] if isinstance(answer, NotUnderstood) and answer.nearest else None
        found += [
            Row(name, field, SENTENCES.get(name, {}).get(field), block)
            for field in model.model_fields
            if field != "action"
        ]
    return found


def said(action: str, field: str) -> object:
    """What a field becomes by its own sentence; None where that is not understood."""
    understood = parse(SENTENCES[action][field])
    return getattr(understood.action, field) if isinstance(understood, Understood) else None
