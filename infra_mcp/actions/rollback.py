"""Rollback: sets the values that a landed request set back, on the head as it is today."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from anyio import to_thread
from pydantic import JsonValue

from infra_mcp.actions.base import Look, Past
from infra_mcp.actions.located import change_of, instance_or_named
from infra_mcp.actions.workload import goal
from infra_mcp.errors import InfraError, Moved
from infra_mcp.model.actions import AppAction, Release, Rollback
from infra_mcp.model.effect import show_path
from infra_mcp.policy.images import version_of
from infra_mcp.policy.sections import AppRules
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import (
    DeleteFile,
    Edit,
    FileEdit,
    Goal,
    InstanceChange,
    Location,
    PutFile,
    SetRecord,
    SetValue,
)
from infra_mcp.repository.partial import get_path
from infra_mcp.repository.render import Found
from infra_mcp.repository.value import Tree
from infra_mcp.repository.zones.edit import apply_records, location_of

_NAMED = 3  # fields or files named in a message


async def edit(look: Look, action: Rollback) -> tuple[Edit, ...]:
    """Set every value back, in one commit for each commit of the request, the latest first.

    A later stage may build on a former one, so that they are rolled back in reverse, as an undo does it.

    Raises:
        InfraError: `not-found`: without a server nothing is known of the request; `no-rollback`: it set no value in a
            file, or a file would be removed; `changed-since`: someone else changed the same values; the manifest cannot
            be found or edited.
    """
    past = look.past
    if past is None:
        what = f"What {action.request} changed is in the ledger, which only a server reads."
        step = f"Preview it with a server: `infra-mcp rollback {action.request} --dry-run`."
        raise InfraError("not-found", what, next_step=step)
    return await to_thread.run_sync(_edit, look, past)  # it searches every file that could not be read


def _edit(look: Look, past: Past) -> tuple[Edit, ...]:
    edits, tree = [], look.tree
    if not any(past.stages):
        what = f"{past.request} changed no file ({past.action.action}), so there is nothing to set back."
        raise InfraError("no-rollback", what)
    if made := [one.path for stage in past.stages for one in stage if isinstance(one, PutFile)]:
        what = f"{past.request} added {_some(made)}: a rollback would remove the objects in it, which is a removal."
        step = "Remove the objects from the cluster and the files from the repository by hand."
        raise InfraError("no-rollback", what, next_step=step)
    to, instance = _goal(look, past), _instance(look, past)
    for stage in reversed([stage for stage in past.stages if stage]):
        edits.append(replace(_stage(tree, past.request, stage, to), instance=instance))
        tree = edits[-1].tree
    return tuple(edits)


def _stage(tree: Tree, request: str, stage: Sequence[FileEdit], to: Goal) -> Edit:
    """The inverse of one commit, on another tree."""
    files: list[PutFile] = []
    addressed: list[Location] = []
    after = tree
    for gone in (one for one in stage if isinstance(one, DeleteFile)):
        there = tree.read(gone.path)
        if there is not None and there != gone.content.encode():
            raise _changed(request, [f"{gone.path} is there again, with other content"])
        files += [] if there is not None else [PutFile(path=gone.path)]
        after = after.write(gone.path, gone.content.encode())
        addressed.append(Location(path=gone.path))
    changes: list[SetValue] = []
    moved: list[str] = []
    for one in (one.inverted() for one in reversed(stage) if isinstance(one, SetValue)):
        found = after.require(one.ref) if one.ref else after.document(one.path, one.document)
        addressed.append(Location(path=found.path, document=found.index, at=found.at, field=one.field))
        try:
            if apply_edits(after, [one]).read(found.path) != after.read(found.path):
                changes.append(one)
        except Moved:
            moved.append(f"{found.path}, {one} {_difference(found, one)}")
        except InfraError:
            if get_path(found.object, one.field)[0]:
                changes.append(one)  # it can only be set together with the others, or not at all
            else:
                moved.append(f"{found.path}, {one} {_difference(found, one)}")
    if moved:
        raise _changed(request, moved)
    records = tuple(one.inverted() for one in reversed(stage) if isinstance(one, SetRecord))
    after = _with_records(apply_edits(after, changes), request, records)
    addressed += map(location_of, records)
    return Edit(after, to, (*files, *changes, *records), tuple(addressed))


def _with_records(tree: Tree, request: str, records: Sequence[SetRecord]) -> Tree:
    moved = []
    for one in records:
        try:
            tree = apply_records(tree, [one])
        except Moved:
            moved.append(f"{one.path}, {one}")
    if moved:
        raise _changed(request, moved)
    return tree


def _difference(found: Found, one: SetValue) -> str:
    """The value that the request set, and that of today, in the form in which masking knows a secret's."""
    if one.inside is not None:
        return f"{show_path(one.field)}: another value of {show_path(one.inside)}"
    was, there = (
        "absent" if value is None else repr(value) for value in (one.before, get_path(found.object, one.field)[1])
    )
    return f"{show_path(one.field)}: {was} → {there}"


def _changed(request: str, moved: Sequence[str]) -> InfraError:
    return InfraError("changed-since", f"Others changed since {request} what it set. {'; '.join(_few(moved))}.")


def _goal(look: Look, past: Past) -> Goal:
    """The goal: for an app what runs again, with the times of the app."""
    action, title = past.action, f"Roll back {past.request}"
    if not isinstance(action, AppAction):
        return Goal(title=title)
    app = look.policy.apps.get(action.app)
    values = _values(past)
    numbers = [str(one.before) for one in values if one.field[-1:] == ("replicas",) and one.before is not None]
    subject, done = action.app, f"scaled back to {', '.join(numbers)}" if numbers else "as it was before"
    if isinstance(action, Release):
        versions = dict.fromkeys(_version(one.before, one, app) for one in values)
        subject, done = " ".join([action.app, ", ".join(filter(None, versions))]).rstrip(), "runs again"
    title = f"{title}: {subject}" if done == "runs again" else f"{title}: {subject} {done}"
    return goal(app, title, subject, done=done)


def _values(past: Past) -> list[SetValue]:
    return [one for stage in past.stages for one in stage if isinstance(one, SetValue)]


def _instance(look: Look, past: Past) -> InstanceChange | None:
    """The instance that an edit of located places was about; None where objects' own manifests were edited."""
    action = past.action
    values = [one for one in _values(past) if one.ref is None]
    if not values or not isinstance(action, AppAction):
        return None
    app, environment = look.policy.apps.get(action.app), getattr(action, "environment", None)
    former, version = (_version(value, values[0], app) for value in (values[0].after, values[0].before))
    return change_of(instance_or_named(look, action.app, environment), former, version)


def _version(value: JsonValue, at: SetValue, app: AppRules | None) -> str:
    """The version that a value says: an image's, or a tag or number that stands by itself; empty for a digest."""
    if value is None or (isinstance(value, str) and value.startswith("sha256:")):
        return ""
    template = (app.image if app else None) or ""
    return version_of(str(value), template) if at.field[-1:] == ("image",) else str(value)


def _few(texts: Sequence[str]) -> list[str]:
    more = len(texts) - _NAMED
    return [*texts[:_NAMED], *([f"and {more} more"] if more > 0 else [])]


def _some(paths: Iterable[str]) -> str:
    return ", ".join(_few(list(dict.fromkeys(paths))))
