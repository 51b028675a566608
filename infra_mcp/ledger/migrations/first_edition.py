"""What the first edition kept in a request's record, read as this one keeps it: open requests come to their end."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from infra_mcp.model.target import Target


def upgraded(kept: dict[str, Any], commit: str | None, revert: str | None) -> dict[str, Any]:
    """A record of the first edition as version 1 has it: it had one stage with one part, and only a cluster as a place.

    Args:
        kept: the JSON of the row's `record`.
        commit: the row's commit.
        revert: the row's revert.
    """
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
        # What was shown then has another digest now; what each object should become has the same.
        marks = {"exact": None, "checked": "schema"}
        changes = {_key(*key.split("|")): {"intent": one["intent"]} | marks for key, one in approved["objects"].items()}
        found["approved"] = {"changes": changes, "files": approved["files"]}
    return found


def _written(old: dict[str, Any]) -> dict[str, Any]:
    """The first edition's note of a write: a reference to an object, and what an undo puts back."""
    ref = old.pop("ref")
    group = ref["api_version"].rpartition("/")[0]
    target = _target(ref["cluster"], group, ref["kind"], ref["namespace"] or "", ref["name"])
    operation = old.pop("operation")
    return {
        "target": target.model_dump(),
        "operation": operation,
        "undo": old | {"api_version": ref["api_version"]},
    }


def _target(place: str, group: str, kind: str, namespace: str, name: str) -> Target:
    kind = f"{group}/{kind}" if group else kind
    return Target(system="kubernetes", place=place, scope=namespace or None, kind=kind, name=name)


def _key(*parts: str) -> str:
    return _target(*parts).key
