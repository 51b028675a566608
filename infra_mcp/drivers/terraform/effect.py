"""A plan as OpenTofu and Terraform show it in JSON, as what it changes: field by field, without secrets. Pure.

Source: OpenTofu, "JSON Output Format" (`show -json`). Values that are marked as sensitive are keyed hashes, and so is
every text that equals or contains one: a provider's computed copy of a sensitive value carries no mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from infra_mcp.errors import InfraError
from infra_mcp.model.digest import canonical, digest
from infra_mcp.model.effect import FieldChange, FieldPath, Trait
from infra_mcp.policy.guard.provider_objects import UNKNOWN as UNKNOWN_PART
from infra_mcp.policy.guard.provider_objects import provider_objects

Operation = Literal["create", "update", "replace", "delete", "run", "unchanged"]
Hash = Callable[[bytes], str]

UNKNOWN: Final = "(known after apply)"
_OPERATIONS: Final[dict[tuple[str, ...], Operation]] = {
    ("no-op",): "unchanged",
    ("create",): "create",
    ("update",): "update",
    ("read",): "run",
    ("delete",): "delete",
    ("forget",): "delete",  # what is no longer managed is gone for us
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("create", "forget"): "replace",
    ("forget", "create"): "replace",
}
_LONG: Final = 500  # characters of a text that is shown whole
_MIN_SECRET: Final = 4  # characters; a shorter text is no secret that could be told from others
_MIN_INSIDE: Final = 6
_MISSING: Final = object()


@dataclass(frozen=True)
class ResourceChange:
    """What a plan does to one resource."""

    address: str
    type: str
    operation: Operation
    fields: tuple[FieldChange, ...] = ()
    provider: str = ""
    objects: tuple[Trait, ...] = ()  # the objects of a cluster that it is

    @property
    def intent(self) -> str:
        """A digest of all that is known of it beforehand."""
        return digest([self.operation, self.provider, [one.model_dump(mode="json") for one in self.fields]])


@dataclass(frozen=True)
class PlanView:
    """What a plan does."""

    resources: tuple[ResourceChange, ...]  # without those that stay as they are, by address
    outputs: tuple[FieldChange, ...]  # those that change
    drift: tuple[ResourceChange, ...]  # what others changed since the last apply, and the plan leaves alone
    is_empty_state: bool  # nothing is there as yet
    checks: tuple[str, ...] = ()  # what `check` blocks warn of
    values: Mapping[str, Any] = field(default_factory=dict)  # the outputs after it that are no secrets

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return not self.resources and not self.outputs


class Reader:
    """Reads plans of one workspace, and knows its secrets."""

    def __init__(self, hashed: Hash, secrets: Iterable[str]) -> None:
        """Make a reader.

        Args:
            hashed: a keyed hash.
            secrets: texts to hide.
        """
        self._hash = hashed
        self.secrets = {one for one in secrets if len(one) >= _MIN_SECRET}

    def learn(self, plan: Mapping[str, Any]) -> None:
        """Collect every value of a plan or a state that is marked as sensitive."""
        self.secrets |= {one for one in _marked(plan) if len(one) >= _MIN_SECRET}

    def view(self, plan: Mapping[str, Any]) -> PlanView:
        """What a plan does.

        Raises:
            InfraError: `plan-failed`: it is incomplete, or holds an action that is not known.
        """
        if plan.get("errored") or plan.get("complete") is False:
            raise InfraError("plan-failed", "The plan is incomplete: it had errors, or leaves something out.")
        resources = [self._resource(one) for one in plan.get("resource_changes") or ()]
        changed = sorted((one for one in resources if one.operation != "unchanged"), key=lambda one: one.address)
        known = {one.address for one in changed}
        drift = [self._resource(one) for one in plan.get("resource_drift") or ()]
        prior = (plan.get("prior_state") or {}).get("values") or {}
        return PlanView(
            tuple(changed),
            tuple(self._outputs(plan.get("output_changes") or {})),
            tuple(one for one in drift if one.operation != "unchanged" and one.address not in known),
            not _has_resources(prior.get("root_module") or {}),
            tuple(_checks(plan.get("checks") or ())),
            self._values((plan.get("planned_values") or {}).get("outputs") or {}),
        )

    def _resource(self, found: Mapping[str, Any]) -> ResourceChange:
        change = found.get("change") or {}
        actions = tuple(change.get("actions") or ())
        address = str(found.get("address"))
        if actions not in _OPERATIONS:
            raise InfraError(
                "plan-failed", f"{address} has the action {'/'.join(map(str, actions))}, which is not known."
            )
        if found.get("deposed"):
            address += f" (deposed {found['deposed']})"
        operation = _OPERATIONS[actions]
        extra = []
        if (former := found.get("previous_address")) and former != found.get("address"):
            extra.append(FieldChange(path=("(address)",), before=former, after=found.get("address")))
        if change.get("importing"):
            extra.append(FieldChange(path=("(import)",), after=self._shown(change["importing"]), had=False))
        if actions == ("forget",):
            extra.append(FieldChange(path=("(managed)",), before=True, after=False))
        if operation == "unchanged" and extra:
            operation = "update"
        fields = self._fields(change.get("before"), change.get("after"), _Marks.of(change), ())
        shown = tuple(extra) + (tuple(fields) if operation not in {"unchanged", "delete"} else ())
        kind, is_change = str(found.get("type")), operation not in {"unchanged", "run"}
        values = (change.get(one) for one in ("before", "after", "after_unknown"))
        objects = provider_objects(kind, *values) if is_change else ()
        objects = tuple(one.model_copy(update={"value": self._named(one.value)}) for one in objects)
        return ResourceChange(address, kind, operation, shown, str(found.get("provider_name") or ""), objects)

    def _named(self, text: str) -> str:
        """An object's name; unknown where a part of it is a secret."""
        return "/".join(UNKNOWN_PART if part in self.secrets else part for part in text.split("/", 2))

    def _outputs(self, changes: Mapping[str, Any]) -> Iterator[FieldChange]:
        for name, one in sorted(changes.items()):
            if one.get("actions") in (["no-op"], []):
                continue
            yield from self._fields(one.get("before"), one.get("after"), _Marks.of(one), ("output", name))

    def _values(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: one for name, one in sorted(outputs.items()) if not one.get("sensitive") and "value" in one}
        return {name: self._shown(one["value"]) for name, one in found.items()}

    def _fields(self, before: Any, after: Any, marks: _Marks, path: FieldPath) -> Iterator[FieldChange]:  # noqa: ANN401
        if marks.unknown is True:
            yield self._field(path, before, UNKNOWN, secret=marks.hid is True, is_known=False)
        elif marks.hid is True or marks.hides is True:
            if before != after:
                yield self._field(path, before, after, secret=True)
        elif isinstance(after, dict) and (isinstance(before, dict) or _is_nothing(before)):
            old = {} if _is_nothing(before) else before
            unknown = marks.unknown if isinstance(marks.unknown, dict) else {}
            for key in sorted(old.keys() | after.keys() | {name for name, one in unknown.items() if one}):
                yield from self._fields(old.get(key), after.get(key), marks.at(key), (*path, key))
        elif isinstance(after, list) and (isinstance(before, list) or _is_nothing(before)):
            items = [] if _is_nothing(before) else before
            for at in range(max(len(items), len(after))):
                one, other = (side[at] if at < len(side) else _MISSING for side in (items, after))
                yield from self._fields(one, other, marks.at(at), (*path, at))
        elif before != after:
            yield self._field(path, before, after, secret=False)

    def _field(self, path: FieldPath, before: Any, after: Any, *, secret: bool, is_known: bool = True) -> FieldChange:  # noqa: ANN401
        had, has = (not _is_nothing(one) for one in (before, after))
        old = self._shown(before, secret=secret) if had else None
        new = (self._shown(after, secret=secret) if is_known else after) if has else None
        return FieldChange(path=path, before=old, after=new, had=had, has=has)

    def _shown(self, value: Any, *, secret: bool = False) -> Any:  # noqa: ANN401 - a JSON value
        """A value as people may see it: secrets as keyed hashes, long texts cut, numbers exact."""
        if secret:
            return self._hash(canonical(_plain(value)))
        if isinstance(value, dict):
            return {key: self._shown(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._shown(item) for item in value]
        if isinstance(value, str):
            if value in self.secrets or any(len(one) >= _MIN_INSIDE and one in value for one in self.secrets):
                return self._hash(canonical(value))
            return value if len(value) <= _LONG else f"{value[:_LONG]}… ({len(value)} characters, {digest(value)})"
        return _plain(value)


class _Marks(NamedTuple):
    """What is said of a value beside it: true for all of it, or the same shape with marks in it."""

    unknown: Any  # not known before the apply
    hid: Any  # the value before is sensitive
    hides: Any  # the value after is

    @classmethod
    def of(cls, change: Mapping[str, Any]) -> _Marks:
        return cls(*(change.get(key) for key in ("after_unknown", "before_sensitive", "after_sensitive")))

    def at(self, key: str | int) -> _Marks:
        return _Marks(*(_at(mark, key) for mark in self))


def _at(mark: Any, key: str | int) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(mark, bool):
        return mark
    if isinstance(mark, dict):
        return mark.get(key)
    return mark[key] if isinstance(mark, list) and isinstance(key, int) and key < len(mark) else None


def _is_nothing(value: Any) -> bool:  # noqa: ANN401 - a JSON value
    return value is None or value is _MISSING


def _plain(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """A value without fractions, whose digests would depend on how they are written."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _has_resources(module: Mapping[str, Any]) -> bool:
    managed = any(one.get("mode") != "data" for one in module.get("resources") or ())
    return managed or any(_has_resources(one) for one in module.get("child_modules") or ())


def _checks(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The `check` blocks that do not pass, with what they say."""
    for one in found:
        address = one.get("address") or {}
        if one.get("status") not in {"fail", "error"}:
            continue
        problems = [p.get("message", "") for inst in one.get("instances") or () for p in inst.get("problems") or ()]
        yield f"{address.get('to_display') or address.get('name')}: {'; '.join(problems) or one['status']}"


def _marked(plan: Mapping[str, Any]) -> Iterator[str]:
    """Every text of a plan or state that is marked as sensitive."""
    for change in (*(plan.get("resource_changes") or ()), *(plan.get("resource_drift") or ())):
        yield from _both(change.get("change") or {})
    for change in (plan.get("output_changes") or {}).values():
        yield from _both(change)
    for part in (plan, plan.get("prior_state") or {}, {"values": plan.get("planned_values") or {}}):
        values = part.get("values") or {}
        yield from _in_module(values.get("root_module") or {})
        for output in (values.get("outputs") or {}).values():
            yield from _sensitive(output.get("value"), output.get("sensitive") or False)
    declared = ((plan.get("configuration") or {}).get("root_module") or {}).get("variables") or {}
    for name, given in (plan.get("variables") or {}).items():
        yield from _sensitive(given.get("value"), (declared.get(name) or {}).get("sensitive") or False)


def _both(change: Mapping[str, Any]) -> Iterator[str]:
    for side in ("before", "after"):
        yield from _sensitive(change.get(side), change.get(f"{side}_sensitive") or False)


def _in_module(module: Mapping[str, Any]) -> Iterator[str]:
    for resource in module.get("resources") or ():
        yield from _sensitive(resource.get("values"), resource.get("sensitive_values") or False)
    for inner in module.get("child_modules") or ():
        yield from _in_module(inner)


def _sensitive(value: Any, mark: Any) -> Iterator[str]:  # noqa: ANN401 - JSON values
    if mark is True:
        todo = [value]
        while todo:
            one = todo.pop()
            if isinstance(one, str):
                yield one
            elif isinstance(one, dict | list):
                todo += one.values() if isinstance(one, dict) else one
    elif isinstance(value, dict) and isinstance(mark, dict):
        for key, item in value.items():
            yield from _sensitive(item, mark.get(key))
    elif isinstance(value, list) and isinstance(mark, list):
        for item, inner in zip(value, mark, strict=False):
            yield from _sensitive(item, inner)
