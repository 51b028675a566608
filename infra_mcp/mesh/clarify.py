"""The answer to an ask that is not understood: what its sender may ask, ready to send.

Every sentence and block in it is understood when sent unchanged. So an unknown value, such as the version, is described
instead of written as a blank in a block: a blank could be sent too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import TYPE_CHECKING

from infra_mcp.errors import InfraError
from infra_mcp.mesh import intent
from infra_mcp.mesh.blocks import blocks, show
from infra_mcp.model.actions import ACTIONS, SAID, ActionModel, AppAction, Release

if TYPE_CHECKING:
    from infra_mcp.engine import Engine
    from infra_mcp.model.peer import Caller
    from infra_mcp.policy.sections import CircleRules

_APPS = 3  # apps with a block; the others are only named


async def help_ack(engine: Engine, asker: Caller, text: str) -> str:
    """The ack of an ask that is not understood: why, and what can be asked instead."""
    understood = intent.parse(text, _own_apps(engine, asker))
    if isinstance(understood, intent.Understood):  # only because of the masking of the stored text
        return await what_may_be_asked(engine, asker)
    forms = await what_may_be_asked(engine, asker, understood.nearest)
    return f"{understood.code}: {understood.reason}\n{forms}"


async def what_may_be_asked(engine: Engine, caller: Caller, nearest: Sequence[str] = ()) -> str:
    """The forms that the policy lets this caller send, first those from `intent.parse` nearest to its text."""
    try:
        policy = engine.policy.current()
        rules = policy.circle(caller.circle) if caller.circle else None
    except InfraError as error:
        return str(error)
    if rules is None:
        return "This caller belongs to no circle with grants, so it may change nothing."
    granted = {name: model for name, model in ACTIONS.items() if name in rules.actions and policy.in_force(name)}
    apps = list(_own_apps(engine, caller))
    lines = [line for form in nearest for line in _nearest(form, granted, apps)]
    if lines:
        lines.insert(0, "Nearest to what you sent:")
    general = []
    for name, model in granted.items():
        if model is SAID:
            general += _namespaces(rules)
        elif issubclass(model, Release):
            general += await _releases(engine, name, apps)
        else:
            needed = ", ".join(f'"{key}"' for key, field in model.model_fields.items() if field.is_required())
            general.append(f'- {model.summary}: an infra block with "action": "{name}" and your {needed}')
    if not general:
        return "The policy grants this circle no action."
    general.append("Each sentence and each block can be sent back as it is, or with other values of the same form.")
    return "\n".join([*lines, f'What "{caller.name}" of circle "{caller.circle}" can ask:', *general])


def _own_apps(engine: Engine, caller: Caller) -> dict[str, tuple[str, ...]]:
    """The apps that this caller owns, in namespaces of its circle, with their environments."""
    try:
        policy = engine.policy.current()
    except InfraError:
        return {}
    return {
        name: tuple(app.environments)
        for name, app in sorted(policy.apps.items())
        if policy.is_of(name, caller.name, caller.circle)
    }


def _nearest(form: str, granted: Mapping[str, type[ActionModel]], apps: Sequence[str]) -> list[str]:
    """One nearest form, filled in; described where a value is unknown, and left out where it would be refused."""
    found = blocks(form)
    if not found:
        return [f"  {form}"] if SAID in granted.values() else []
    value = json.loads(found[0].body)
    model = granted.get(value.get("action"))
    if model is None:
        return []
    if issubclass(model, AppAction) and value.get("app") not in apps:
        # Do not suggest another peer's app; without any name the asker's only app is meant.
        value["app"] = apps[0] if value.get("app") == "<app>" and len(apps) == 1 else "<app>"
    blank = [key for key, item in value.items() if item == f"<{key}>"]
    if not blank:
        return [indent(show(value), "  ")]
    known = ", ".join(f'"{key}": {json.dumps(item)}' for key, item in value.items() if key not in blank)
    missing = " and ".join(f'"{key}"' for key in blank)
    return [f"  an infra block with {known} and, for you to fill in, {missing}"]


def _namespaces(rules: CircleRules) -> list[str]:
    if not rules.namespaces:
        return []
    names = ", ".join(rules.namespaces)
    secrets = f", pull secrets {', '.join(rules.pull_secrets)}" if rules.pull_secrets else ""
    quoted = [name if name.isupper() else f"'{name}'" for name in rules.pull_secrets]  # or it may be taken for a word
    tail = f" with image-pull secret {quoted[0]}" if quoted else ""
    example = f"I need a namespace '{rules.namespaces[0].replace('*', 'staging')}'{tail}"
    lines = [f"- a namespace (names {names}{secrets}):"]
    return [*lines, f"  {example}"] if isinstance(intent.parse(example), intent.Understood) else lines


async def _releases(engine: Engine, name: str, apps: Sequence[str]) -> list[str]:
    if not apps:
        return [f"- a {name}, by an infra block; the catalogue has no app of this peer yet"]
    lines = []
    for app in apps[:_APPS]:
        landed = await engine.ledger.landed_version(app)
        if landed is None:
            lines.append(f'- a {name}, by an infra block with "action": "{name}", "app": "{app}" and your "version"')
        else:
            lines.append(f"- a {name} of {app}, where {landed} landed last; put your version in its place:")
            lines.append(indent(show({"action": name, "app": app, "version": landed}), "  "))
    if len(apps) > _APPS:
        lines.append(f"  likewise: {', '.join(apps[_APPS:])}")
    return lines
