"""What a person decides by: a request's plan in the words of a page. Pure functions of values of the ledger.

A plan is data as `engine.report.shown_plan` writes it into the events, also by an older version: what it does not say
is left out, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from infra_mcp.ledger.records import Event
from infra_mcp.model.actions import ActionModel
from infra_mcp.model.request import END, Request, State

_GONE: Final = {"delete", "replace"}
# Kinds whose deletion takes data or other objects along: their names are typed before others.
_HOLDS: Final = ("namespace", "persistentvolumeclaim", "persistentvolume", "customresourcedefinition", "statefulset")
# Kinds that a rollback makes again from the repository, with nothing lost.
_MADE_AGAIN: Final = frozenset(
    [
        "deployment",
        "daemonset",
        "service",
        "ingress",
        "configmap",
        "serviceaccount",
        "networkpolicy",
        "role",
        "rolebinding",
        "cronjob",
        "httproute",
        "horizontalpodautoscaler",
        "poddisruptionbudget",
        "resourcequota",
        "limitrange",
    ]
)
_PODS: Final = {"deployment", "statefulset", "daemonset", "replicaset", "pod"}
_TEMPLATE: Final = re.compile(r"\.spec\.template[.:\[]")
_MOST_STEPS: Final = 40


def asked(action: ActionModel) -> str:
    """An action in one line, as the command line writes it: `deploy docs 0.13.4, production`."""
    if action.step_names:
        return f"{action.action.replace('_', ' ')}: {', '.join(name.replace('_', ' ') for name in action.step_names)}"
    given = action.model_dump(mode="json", exclude_none=True)
    words = [action.action.replace("_", " "), *(str(given[name]) for name in action.positional if name in given)]
    where = [str(given[name]) for name in ("environment", "cluster") if given.get(name)]
    return ", ".join([" ".join(words), *where])


def quoted(request: Request) -> str:
    """The asker's own words: why, or the message it came in; a call of a tool has none beside its arguments."""
    return request.reason or (request.words if request.channel in {"ask", "notify"} else "")


def whole(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan with every part that a page shows; empty where there is none."""
    if not plan:
        return {}
    objects = [{"adopts": [], "changes": [], "checked": "", "guardrails": []} | one for one in plan.get("objects", ())]
    return {"files": [], "drift": [], "notes": [], "blast_radius": {}} | plan | {"objects": objects}


def removed(plan: dict[str, Any]) -> list[str]:
    """The objects that a plan deletes or replaces. The one whose name a person types comes first."""
    found = [str(one.get("object", "")) for one in plan.get("objects", ()) if one.get("operation") in _GONE]
    return sorted(found, key=_rank)


def lost(plan: dict[str, Any]) -> list[str]:
    """Those of them that a rollback cannot bring back as they were: all but kinds that hold nothing of their own."""
    return [name for name in removed(plan) if not any(kind in _MADE_AGAIN for kind in name.lower().split("/")[:-1])]


def to_type(plan: dict[str, Any]) -> str:
    """The name that a person types before something is removed; empty where nothing is."""
    return next((name.rsplit("/", 1)[-1] for name in removed(plan)), "")


def _rank(name: str) -> int:
    parts = name.lower().split("/")
    return next((at for at, kind in enumerate(_HOLDS) if kind in parts[:-1]), len(_HOLDS))


def restarts(plan: dict[str, Any]) -> list[str]:
    """The workloads whose pods a plan begins, ends or replaces."""
    found = []
    for one in plan.get("objects", ()):
        name, operation = str(one.get("object", "")), one.get("operation")
        pods = any(part in _PODS for part in name.lower().split("/")[:-1])
        template = any(_TEMPLATE.match(str(change)) for change in one.get("changes", ()))
        if pods and (template or operation in _GONE | {"create"}):
            found.append(name)
    return found


def undo(plan: dict[str, Any]) -> str:
    """What happens where the change does not land, or is not wanted any more."""
    if gone := lost(plan):
        return f"none for {', '.join(gone)}: what {'it holds' if len(gone) == 1 else 'they hold'} is gone"
    ways = {str(one.get("on_failure")) for one in plan.get("parts", ())}
    if ways == {"rollback"}:
        return "automatic where it does not land; later by a rollback of this request"
    if ways == {"hold"}:
        return "where it does not land it is left for people to look at; later by a rollback of this request"
    if ways:
        return "automatic in part where it does not land, the rest is left for people; later by a rollback"
    return "by a rollback of this request, which reverts its commit"


def sentence(plan: dict[str, Any]) -> str:
    """The effect of a plan in one sentence, by its totals."""
    radius = plan.get("blast_radius") or {}
    words = {"create": "created", "update": "changed", "replace": "replaced", "delete": "deleted"}
    parts = [f"{radius[name]} {word}" for name, word in words.items() if radius.get(name)]
    if radius.get("unchanged"):
        parts.append(f"{radius['unchanged']} left as {'it is' if radius['unchanged'] == 1 else 'they are'}")
    where = f" in {', '.join(radius['namespaces'])}" if radius.get("namespaces") else ""
    number = radius.get("files", 0)
    files = f"; {number} {'file' if number == 1 else 'files'} of the repository" if number else ""
    return f"{', '.join(parts) or 'nothing changed'}{where}{files}"


def steps(trail: Sequence[Event], request: Request, progress: str) -> list[dict[str, Any]]:
    """The way of a request by its events, each with its time, and what is pending at last."""
    shown = [_step(event) for event in trail if event.request == request.id]
    if len(shown) > _MOST_STEPS:
        cut = len(shown) - _MOST_STEPS
        between = {"what": f"{cut} more", "at": shown[_MOST_STEPS // 2]["at"], "done": True, "good": None}
        shown = [*shown[: _MOST_STEPS // 2], between, *shown[-_MOST_STEPS // 2 :]]
    if request.state not in END:
        what = progress or request.state.value.replace("_", " ")
        shown.append({"what": what, "at": None, "done": False, "good": None})
    return shown


def _step(event: Event) -> dict[str, Any]:
    what = event.state if event.kind == "finished" and event.state else event.kind
    ended = event.kind == "finished"
    good = event.state in {State.LANDED, State.MERGED, State.PUSHED, State.COMMITTED, State.UNCHANGED, State.PREVIEWED}
    what = what.replace("_", " ").replace("-", " ")
    return {"what": what, "at": event.at, "done": True, "good": good if ended else None}
