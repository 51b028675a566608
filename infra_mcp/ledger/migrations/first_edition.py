"""Records of requests that the first edition wrote, in the present form: open requests come to their end."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from infra_mcp.model.target import Target


def upgraded(kept: dict[str, Any], commit: str | None, revert: str | None) -> dict[str, Any]:
    """A row's `record`, commit and revert as version 1 of a record: it had one stage with one part, in a cluster."""
    same = ("when", "digest", "cause", "former", "awaiting", "nonce")
    found: dict[str, Any] = {name: kept[name] for name in same if name in kept}
    edits = [from_json(text) for text in kept.get("edits", ())]
    edits += [{"kind": "put", "path": path} for path in kept.get("created", ())]
    if edits or commit:
        found["stages"] = [{"edits": edits, "commit": commit, "revert": revert}]
    if writes := [_written(from_json(text)) for text in kept.get("writes", ())]:
        where = str(kept.get("place", ""))
        found["keys"] = sorted(Target.model_validate(one["target"]).key for one in writes)
        found["parts"] = [
            {
                "driver": "kubernetes",
                "place": where.partition(" (")[0],
                "where": where,
                "on_failure": kept.get("failure", "hold"),
                "written": writes,
                "deadline": kept.get("deadline"),
            }
        ]
    if approved := kept.get("approved"):
        # The plan that was shown has another digest now; the intent of each object has the same.
        intents = {_target(*key.split("|")).key: one["intent"] for key, one in approved["objects"].items()}
        changes = {key: {"intent": intent, "exact": None, "checked": "schema"} for key, intent in intents.items()}
        found["approved"] = {"changes": changes, "files": approved["files"]}
    return found


def _written(old: dict[str, Any]) -> dict[str, Any]:
    """The first edition's note of a write: a reference to an object, and what an undo puts back."""
    ref = old.pop("ref")
    group = ref["api_version"].rpartition("/")[0]
    target = _target(ref["cluster"], group, ref["kind"], ref["namespace"] or "", ref["name"])
    undo = old | {"api_version": ref["api_version"]}
    return {"target": target.model_dump(), "operation": undo.pop("operation"), "undo": undo}


def _target(place: str, group: str, kind: str, namespace: str, name: str) -> Target:
    kind = f"{group}/{kind}" if group else kind
    return Target(system="kubernetes", place=place, scope=namespace or None, kind=kind, name=name)
