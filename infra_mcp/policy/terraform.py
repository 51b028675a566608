"""What a Terraform workspace may do: its sources, what runs programs, what it changes. Pure.

The facts of a configuration are judged before anything of it runs, since planning runs code; what a plan would change
is judged with its effect. Sources: OpenTofu, "Provisioners"; the providers `external`, `http` and `local`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from infra_mcp.model.actions import ActionModel
from infra_mcp.model.approval import Need
from infra_mcp.model.effect import Change, Effect
from infra_mcp.policy.grammar import matches
from infra_mcp.policy.grants import Refusal, some
from infra_mcp.policy.kinds import WorkspaceRules
from infra_mcp.policy.owners import is_within
from infra_mcp.policy.policy import Policy

SYSTEM: Final = "terraform"
WORKSPACE: Final = "workspace"  # the kind of the workspace itself
BUILT_IN: Final = "terraform.io/builtin/terraform"
# Data sources that run programs, fetch a URL, read files of this machine, or read another workspace's state.
DATA: Final = frozenset(
    {"external", "http", "local_file", "local_sensitive_file", "local_command", "terraform_remote_state"}
)
# Resources that write files of this machine or run programs on it.
TYPES: Final = frozenset(
    {"local_file", "local_sensitive_file", "local_command", "shell_script", "shell_sensitive_script"}
)
_SHOWN: Final = 200  # characters of an address
DESTROYING: Final = frozenset({"delete", "replace"})


def source_refusals(name: str, rules: WorkspaceRules, facts: Iterable[tuple[str, str, str]]) -> Iterator[Refusal]:
    """Every reason against what a configuration says, before it runs.

    Args:
        name: of the workspace.
        rules: its section.
        facts: each with its kind (`backend`, `provider`, `module`, `provisioner`, `action`, `data`, `file`), where it
            stands, and its type or source.
    """
    for kind, where, value in facts:
        if _is_allowed(rules, kind, value):
            continue
        key, says = _KEYS[kind]
        wanted = f'"{value}"' if kind == "backend" else f'["{value if key != "allow" else f"{kind}:{value}"}"]'
        what = f"{where} {says} {value or 'from nowhere'}"[:300]
        passes = f"{key} = {wanted} in [workspaces.{name}], where an operator wants that."
        yield Refusal(f"workspaces.{name}.{key}", f"{what}, which policy does not allow.", passes[:300])


_KEYS: Final = {  # the key of policy, and what a refusal says
    "backend": ("backend", "keeps the state in backend"),
    "provider": ("providers", "names provider"),
    "module": ("modules", "is a module from"),
    "provisioner": ("allow", "runs provisioner"),
    "action": ("allow", "runs action"),
    "data": ("allow", "reads data of"),
    "file": ("allow", "reads the file"),
}


def _is_allowed(rules: WorkspaceRules, kind: str, value: str) -> bool:
    if kind == "backend":
        return value == rules.backend
    if kind == "provider":
        return value == BUILT_IN or _is_one_of(rules.providers, value)
    if kind == "module":
        return value.startswith(("./", "../")) or _is_one_of(rules.modules, value)
    return (kind == "data" and value not in DATA) or _is_one_of(rules.allow, f"{kind}:{value}")


def change_refusals(policy: Policy, change: Change) -> Iterator[Refusal]:
    """Every reason against what a plan would do to one resource of a workspace."""
    target, rules = change.target, policy.workspaces.get(change.target.place)
    if target.system != SYSTEM or rules is None or target.kind == WORKSPACE or change.operation == "unchanged":
        return
    allowed = target.kind not in TYPES if rules.types is None else _is_one_of(rules.types, target.kind)
    where = f"workspaces.{target.place}"
    if not allowed:
        what = f"Workspace {target.place} may not {change.operation} a {target.kind}: {target.name[:_SHOWN]}."
        yield Refusal(f"{where}.types", what, f'types = ["{target.kind}"] in [{where}].')
    if change.operation in DESTROYING and rules.destroy == "refuse":
        how = "destroy" if change.operation == "delete" else "replace"
        what = f"The plan would {how} {target.name[:_SHOWN]}."
        yield Refusal(f"{where}.destroy", what, f'destroy = "approve" in [{where}].')


def requirements(policy: Policy, action: ActionModel, effect: Effect | None) -> Iterator[tuple[Need, str]]:
    """The approvals that a plan of a workspace needs whatever the rules say, and why.

    Terraform has no undo. So a person decides what is destroyed or replaced, and what a rollback would do.
    """
    changes = [one for one in effect.changed if one.target.system == SYSTEM] if effect else []
    for name in sorted({one.target.place for one in changes}):
        rules = policy.workspaces.get(name)
        gone = [one.target.name for one in changes if one.target.place == name and one.operation in DESTROYING]
        if gone and (rules is None or rules.destroy == "approve"):
            yield Need(rule=f"workspaces.{name}.destroy"), f"destroyed or replaced: {some(gone)}"
        if action.action == "rollback":
            yield Need(rule=f"workspaces.{name}.rollback"), "what a rollback does is for a person to decide"


def nested(workspaces: Mapping[str, WorkspaceRules], name: str) -> tuple[str, ...]:
    """The folders below a workspace's own that are other workspaces."""
    own = workspaces[name].path
    return tuple(one.path for one in workspaces.values() if one.path != own and is_within(one.path, own))


def _is_one_of(patterns: Iterable[str], value: str) -> bool:
    return any(matches(pattern, value) for pattern in patterns)
