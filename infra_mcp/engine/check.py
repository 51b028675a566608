"""What a pull request of people would do, and policy's verdict on it: between two commits of a clone. Writes nothing.

The second commit comes from anyone: it is read as data, within bounds, and nothing of it is run. Its infra.toml is not
the policy; the one of the base is.
"""

from __future__ import annotations

import json
import os
import posixpath
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from anyio import to_thread

from infra_mcp.actions.base import census_of
from infra_mcp.clients.git import Entry, Git
from infra_mcp.engine.between import Between, ObjectChange, between
from infra_mcp.engine.commit_range import commits_of
from infra_mcp.engine.entry_pairs import Side, named_folders, values_read
from infra_mcp.engine.releases_between import releases_between
from infra_mcp.engine.settings_between import SettingChange, setting_changes
from infra_mcp.errors import InfraError
from infra_mcp.masking import Masker
from infra_mcp.model.effect import Effect
from infra_mcp.policy.grants import some
from infra_mcp.policy.guard.judge import accounts
from infra_mcp.policy.guard.rules import UNRENDERED
from infra_mcp.policy.guard.unrendered import unrendered
from infra_mcp.policy.owners import is_within
from infra_mcp.policy.policy import Policy
from infra_mcp.policy.policy import load as load_policy
from infra_mcp.policy.proposed import (
    Finding,
    Touched,
    circles_of,
    is_named_version,
    object_findings,
    rule_findings,
    version_findings,
)
from infra_mcp.policy.systems import ASKED_BY, asked_by
from infra_mcp.repository.builds import Builds
from infra_mcp.repository.commit import diff
from infra_mcp.repository.compared import MAX_VALUES, ValueChange, unreadable, value_changes
from infra_mcp.repository.load import load
from infra_mcp.repository.render import dump
from infra_mcp.repository.value import Tree
from infra_mcp.text import one_line, quoted

POLICY: Final = "infra.toml"
MAX_FILES: Final = 3_000  # that differ
MAX_BYTES: Final = 32 * 1024 * 1024  # of the second commit's files that differ
MAX_DIFFS: Final = 200  # objects whose difference is shown
_FOR_READING: Final = (".md", ".markdown", ".rst", ".adoc", ".txt", ".png", ".svg", ".jpg", ".jpeg", ".gif", ".drawio")
_FOR_PEOPLE: Final = frozenset({"LICENSE", "NOTICE", ".gitignore", ".editorconfig"})
_ORDER: Final = {"refuse": 0, "needs-approval": 1}
_SHOWN_VALUE: Final = 160  # characters


async def check(
    repo: Path, given: str, *, circle: str | None, now: datetime, seconds: float, builds: Builds | None = None
) -> dict[str, Any]:
    """Compare two commits of a clone, and judge the second one by the policy of the first one.

    Args:
        repo: the top of the clone's working tree, which is not read.
        given: `BASE..HEAD`.
        circle: judge everything as this circle; None: each object as the circles of its namespace.
        now: the present, with its offset, for freezes.
        seconds: for builds; what is not built by then counts as reached.
        builds: builds kustomizations.

    Returns:
        `base`, `head`, `compared_with`, `policy` (its digest), `decision` (allow, needs-approval, refuse), `findings`,
        `files`, `settings`, `values`, `reach`, `objects`, `unrendered`, `lacks`, `notes`.

    Raises:
        InfraError: `invalid-argument`: no range, or no such circle; `setup-failed`: the clone lacks a commit;
            `policy-invalid`: of the base; `git-failed`.
    """
    until = time.monotonic() + seconds
    with TemporaryDirectory() as scratch:
        git = Git(repo, Path(scratch, "lock"))
        try:
            commits = await commits_of(git, given)
            policy, has_policy = await _policy(git, commits.base)
            if circle is not None and circle not in policy.circles:
                raise InfraError("invalid-argument", f"infra.toml of the base has no circle {quoted(circle, 80)}.")
            paths = await git.changed(commits.common, commits.head)
            old, new = [await git.list_tree(commit, ["."]) for commit in (commits.common, commits.head)]
            files = [_file(path, old.get(path), new.get(path)) for path in paths[:MAX_FILES]]
            top: dict[str, Any] = {"base": commits.base, "head": commits.head, "compared_with": commits.common}
            top |= {"policy": policy.digest, "files": files, "lacks": list(commits.lacks)}
            sizes = await git.sizes([entry.oid for path in paths[:MAX_FILES] if (entry := new.get(path))])
            if len(paths) > MAX_FILES or sum(sizes.values()) > MAX_BYTES:
                return top | _too_large(len(paths), sum(sizes.values()))
            trees = [await _tree(git, policy, commit) for commit in (commits.common, commits.head)]
            before, after = (Side(tree, census_of(policy, tree)) for tree in trees)
            found, unread = await between(policy, before, after, paths, builds or Builds(), until=until)
            charts, why = await releases_between(before, after, paths, until=until)
            found += charts
            judged = _Judged(policy, circle, before, after, paths, found, unread, files)
            head_policy = await to_thread.run_sync(_head_policy, after.tree) if POLICY in paths else []
            result = await to_thread.run_sync(judged.result, now, head_policy)
            notes = [] if has_policy else [f"The base has no {POLICY}: only what holds without one was judged."]
            return top | result | {"notes": [*notes, *why, *result["notes"]]}
        finally:
            await git.aclose()


async def _policy(git: Git, commit: str) -> tuple[Policy, bool]:
    """The policy of a commit, and whether it has one."""
    entry = (await git.list_tree(commit, [POLICY])).get(POLICY)
    if entry is None or not entry.mode.startswith("100"):
        return Policy(), False
    data = (await to_thread.run_sync(git.read_blobs_now, [entry.oid], 1 << 20)).get(entry.oid)
    try:
        return load_policy((data or b"\xff").decode("utf-8")), True
    except UnicodeDecodeError:
        raise InfraError("policy-invalid", f"{POLICY} of the base cannot be read.") from None


async def _tree(git: Git, policy: Policy, commit: str) -> Tree:
    of_objects = [root.path for root in policy.tree.roots if root.holds_objects]
    plain = [root.path for root in policy.tree.roots if not root.holds_objects]
    return await load(git, commit, of_objects, "", plain)


def _head_policy(tree: Tree) -> list[Finding]:
    """What the head's own infra.toml is: never the policy here."""
    passes = "An operator looks at it, and accepts it after the merge: infra-mcp policy accept."
    reason = (
        f"{POLICY} itself changes. This verdict is by the base's; the new one is in force only once it is accepted."
    )
    found = [Finding(decision="needs-approval", rule="policy", reason=reason, would_pass=passes)]
    try:
        data = tree.read(POLICY)
        if data is not None:
            load_policy(data.decode("utf-8"))
    except (InfraError, UnicodeDecodeError) as error:
        why = error.what if isinstance(error, InfraError) else "It is not UTF-8."
        found.append(Finding.refuse("policy-invalid", f"The new {POLICY} is invalid: {why}", "A valid policy."))
    return found


def _file(path: str, before: Entry | None, after: Entry | None) -> dict[str, str]:
    modes = {side.mode for side in (before, after) if side}
    kind = "submodule" if not modes else "link" if "120000" in modes else "file"
    operation = "edit" if kind == "submodule" or (before and after) else "create" if after else "delete"
    return {"path": path, "operation": operation, "kind": kind}


def _too_large(files: int, size: int) -> dict[str, Any]:
    what = f"{files} files differ, with {size} bytes; at most {MAX_FILES} and {MAX_BYTES} are looked at."
    finding = Finding.refuse("check.size", what, "The same in smaller pieces.")
    empty: dict[str, Any] = {name: [] for name in ("settings", "values", "reach", "objects", "unrendered", "notes")}
    return empty | {"decision": "refuse", "findings": [finding.model_dump()]}


@dataclass(frozen=True)
class _Judged:
    """Everything that was found, and policy's view of it. Blocks."""

    policy: Policy
    circle: str | None
    before: Side
    after: Side
    paths: list[str]
    found: list[Between]
    unread: list[str]  # the files that nothing is known to read
    files: list[dict[str, str]]

    def result(self, now: datetime, of_policy: list[Finding]) -> dict[str, Any]:
        """The rest of what `check` returns."""
        values = {path: many for path in self.paths if (many := value_changes(self.before.tree, self.after.tree, path))}
        settings = list(setting_changes(self.policy, self.before, self.after, self.paths))
        pending = self._unrendered(settings, values)
        findings = [
            *of_policy,
            *self._of_objects(),
            *self._of_files(),
            *(one for each in settings if each.is_version for one in version_findings(self.policy, each.app, each.now)),
            *rule_findings(self.policy, self._touched(settings), now, self.circle),
        ]
        if pending:
            why = f"What it makes live could not be rendered: {'; '.join(pending[:5])}"
            why += f"; and {len(pending) - 5} more." if len(pending) > 5 else "."  # noqa: PLR2004 - as named above
            findings.append(Finding.ask(UNRENDERED, why, "People who know what it renders approve the pull request."))
        findings = sorted(dict.fromkeys(findings), key=lambda one: _ORDER[one.decision])
        # It hides what looks like a secret, and the content of Secrets where it stands. It learns no value: a Secret of
        # a pull request could hold any word, and so hide that everywhere.
        mask = Masker(os.urandom(32))
        known = {each.at for each in settings}
        too_many = [path for path, many in values.items() if len(many) > MAX_VALUES]
        return {
            "decision": findings[0].decision if findings else "allow",
            "findings": [one.model_dump() | {"reason": mask.mask(one.reason)} for one in findings],
            "settings": [_masked(mask, each.shown()) for each in settings],
            "values": [
                _value(mask, one) for many in values.values() for one in many[:MAX_VALUES] if str(one.at) not in known
            ],
            "reach": [one.reached.model_dump(mode="json", exclude={"renders", "stage", "own"}) for one in self.found],
            "objects": list(self._objects(mask)),
            "unrendered": [mask.mask(one) for one in pending],
            "notes": [f"{path}: more than {MAX_VALUES} values differ." for path in too_many]
            + [f"{one.app} loses its digest: {one.now} is whatever the tag is." for one in settings if one.unpinned],
        }

    def _of_objects(self) -> Iterator[Finding]:
        values = values_read(self.before.census) | values_read(self.after.census)
        brought = accounts(each.change for one in self.found for each in one.objects)
        for one in self.found:
            if one.broken:
                yield Finding.refuse("build-failed", one.broken, "A build that succeeds.")
            for each in one.objects:
                target = each.change.target
                if (target.kind, target.name) in values:
                    what = f"{target} holds values that a HelmRelease or a Kustomization takes from it."
                    yield Finding.ask(UNRENDERED, what)
                yield from object_findings(
                    self.policy,
                    each.change,
                    each.added,
                    before=each.before,
                    after=each.after,
                    circle=self.circle,
                    brought=brought,
                )

    def _of_files(self) -> Iterator[Finding]:
        """Files that cannot be judged: unread ones, those that cannot be read, links and submodules."""
        index = self.after.census.index
        held = [path for path in self.paths if path in self.after.tree.regular and index.says_kinds(path)]
        whys = dict.fromkeys(unreadable(self.after.tree, held).values())
        whys |= dict.fromkeys(why for one in self.found for why in one.unjudged)
        for why in whys:
            yield Finding.ask("manifest-invalid", why, "A manifest that can be read, or people who know what is in it.")
        for kind, what in (("link", "A symbolic link changes"), ("submodule", "A submodule changes")):
            if changed := [one["path"] for one in self.files if one["kind"] == kind and one["operation"] != "delete"]:
                yield Finding.ask(f"files.{kind}", f"{what}; what it leads to is not judged: {some(changed)}.")
        regular = {one["path"] for one in self.files if one["kind"] == "file"}
        if unread := [path for path in self.unread if path in regular and not self._says_nothing(path)]:
            what = f"Nothing here is known to read these files, so what they do is not judged: {some(unread)}."
            yield Finding.ask("files.unread", what)

    def _says_nothing(self, path: str) -> bool:
        """Whether a file is for people to read, or is one of tests and samples, which nothing delivers."""
        if path.lower().endswith(_FOR_READING) or posixpath.basename(path) in _FOR_PEOPLE or path == POLICY:
            return True
        reason = self.after.census.index.listing.reason(posixpath.dirname(path)) or ""
        return reason.startswith("tests, samples") and not any(is_within(path, one) for one in self._named)

    @cached_property
    def _named(self) -> frozenset[str]:
        """The folders that are delivered whatever they are called."""
        return named_folders(self.before.census) | named_folders(self.after.census)

    def _touched(self, settings: Iterable[SettingChange]) -> Iterator[Touched]:
        for one in settings:
            spaces = self.policy.apps[one.app].namespaces(one.environment) if one.app in self.policy.apps else None
            found = (spaces or frozenset()) | one.namespaces
            yield Touched(asked_by(one.setting), one.app, one.environment, found or None)
        for delivery in self.found:
            spaces = frozenset(home for one in delivery.objects if (home := one.change.target.home))
            yield Touched(ASKED_BY.get(delivery.reached.delivery, ""), None, None, spaces)
            yield from (Touched("", app, None, spaces) for app in delivery.reached.apps)

    def _unrendered(self, settings: list[SettingChange], values: dict[str, list[ValueChange]]) -> list[str]:
        """What could not be rendered, without what policy allows to be so."""
        allowed = [one for one in settings if one.is_version and is_named_version(self.policy, one.app, one.now)]
        named = frozenset[str]().union(*(one.spots for one in allowed))
        small = {path: many for path, many in values.items() if len(many) <= MAX_VALUES}
        explained = {path for path, many in small.items() if all(str(one.at) in named for one in many)}
        apps = {one.app for one in allowed}
        found: dict[str, None] = {}
        for one in self.found:
            if (one.files <= explained and apps.issuperset(one.reached.apps)) or self._may_be_unrendered(one):
                continue
            effect = Effect(action={}, parts=(), files=(), reach=(one.reached,))
            found |= dict.fromkeys(str(each).removeprefix("not rendered: ") for each in unrendered(effect))
        return list(found)

    def _may_be_unrendered(self, one: Between) -> bool:
        """Whether for each namespace that it touches a circle of it is allowed what cannot be rendered."""
        spaces = {each.change.target.home for each in one.objects} or {None}
        return all(
            any(UNRENDERED in self.policy.circles[name].allow for name in circles_of(self.policy, space, self.circle))
            for space in spaces
        )

    def _objects(self, mask: Masker) -> Iterator[dict[str, Any]]:
        shown = 0
        for one in self.found:
            for each in one.objects:
                shown += 1
                target = each.change.target
                yield {
                    "target": str(target),
                    "kind": target.kind,
                    "namespace": target.scope,
                    "operation": each.change.operation,
                    "root": one.reached.root,
                    "diff": _diff(mask, each) if shown <= MAX_DIFFS else "",
                }


def _diff(mask: Masker, one: ObjectChange) -> str:
    """The difference of an object as rendered, without its secrets."""
    sides = [None if body is None else dump(mask.mask_json(body)) for body in (one.before, one.after)]
    return diff(str(one.change.target), *sides).partition("\n")[2].partition("\n")[2]


def _masked(mask: Masker, shown: dict[str, Any]) -> dict[str, Any]:
    """A setting, with its values masked where its name or they look like a secret's."""
    named = {"path": [shown["setting"]], "before": shown["before"], "after": shown["after"]}
    hidden = mask.mask_json(named)
    return shown | {"before": hidden["before"], "after": hidden["after"]}


def _value(mask: Masker, one: ValueChange) -> dict[str, Any]:
    """A value before and after, as short text; what a secret's name is over, or a Secret holds, is masked."""
    named = {"path": list(one.at.field), "before": one.before, "after": one.after}
    hidden = mask.mask_json(named, whole=one.is_secret)
    return {
        "at": str(one.at),
        "before": _short(hidden["before"]) if one.had else None,
        "after": _short(hidden["after"]) if one.has else None,
    }


def _short(value: Any) -> str:  # noqa: ANN401 - a JSON value
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _SHOWN_VALUE)
