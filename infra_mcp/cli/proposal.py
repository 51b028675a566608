"""The parts of a first infra.toml that say what the repository holds, and the same as a table. Each has a bound."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from infra_mcp.cli.output import columns

if TYPE_CHECKING:
    from infra_mcp.cli.proposal_remote import Remote
    from infra_mcp.engine.survey import Survey
    from infra_mcp.repository.census.roots import Root

_MOST_ROOTS: Final = 18
_MOST_CLUSTERS: Final = 5
_MOST_OWNERS: Final = 5
_MOST_APPS: Final = 10
_MOST_SECTIONS: Final = 5
_MOST_PATTERNS: Final = 3
_WIDEST: Final = 60  # characters of one name in a comment
_LONGEST_PATH: Final = 255  # characters of a root
_PLAIN = re.compile(r"[^\x00-\x1f\x7f\\\\]+")
_MAJOR = re.compile(r"((?:[a-z]+-)?v?[0-9]{1,6})\.[0-9]", re.IGNORECASE)
_EXAMPLE: Final = "{root}/{namespace}/{kind}-{name}.yaml"
_DELIVERERS: Final = {
    "flux": "Flux",
    "argocd": "Argo CD",
    "helm": "Helm or a tool over it",
    "terraform": "Terraform",
    "dns": "a DNS tool",
    "unknown": "something that the repository does not name",
}
_OURS: Final = {  # what a root needs that infra-mcp may carry out instead
    "helm": 'delivery = "helm"',
    "terraform": 'delivery = "terraform" and a section [workspaces.NAME]',
    "dns": 'delivery = "dns" and a section [zones."NAME"]',
}


def slug(name: str) -> str:
    """A name as a policy may have it; empty where nothing of it can stay."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")


def new_file(found: Survey) -> str:
    """The line for `[tree] new`: set where all Namespaces show it, else one that asks."""
    if found.layout and re.fullmatch(r"[-A-Za-z0-9_./{}]{1,200}", found.layout):
        return f"new = {_quoted(found.layout)}  # where a new object's file goes: as all Namespaces here"
    places = sum(root.delivery == "kubernetes" for root in found.roots)
    why = (
        "A new object's file goes below the one root of manifests, unless you say where:"
        if places == 1 or found.is_empty
        else "Where does a new object's file go? The repository does not make it plain."
        if places
        else "No new object's file has a place here: others deliver what the repository holds."
    )
    return f"# {why}\n# new = {_quoted(_EXAMPLE)}"


def roots(found: Survey) -> str:
    """The sections of the roots. What others deliver is `external`: it is planned and not carried out here."""
    if found.is_empty:
        return '\n# No manifests were found. Name the folder they are to go to:\n[[tree.roots]]\npath = "apps"\n'
    fitting = [root for root in found.roots if len(root.path) <= _LONGEST_PATH and _PLAIN.fullmatch(root.path or ".")]
    shown = _shown(fitting)
    more = len(found.roots) - len(shown)
    text = "".join(map(_root, shown))
    if not shown:
        text = '\n# Deliveries are mixed here: name the folders.\n[[tree.roots]]\npath = "."\ndelivery = "external"\n'
    return text + (f"\n# {more} more folders are not named here: add those that matter.\n" if more else "")


def _shown(found: Sequence[Root]) -> list[Root]:
    """As many as have room. A root goes with all below it: else these would be taken for parts of it."""
    groups: list[list[Root]] = []
    for root in sorted(found, key=lambda root: root.path.split("/") if root.path else []):
        top = groups[-1][0].path if groups else None
        if top is not None and (not top or root.path.startswith(f"{top}/")):
            groups[-1].append(root)
        else:
            groups.append([root])
    shown: list[Root] = []
    for group in groups:
        if len(shown) + len(group) <= _MOST_ROOTS:
            shown += group
    return sorted(shown, key=lambda root: root.path)


def _root(root: Root) -> str:
    ours = root.delivery == "kubernetes"
    who = "nothing else delivers it" if ours else f"{_DELIVERERS[root.delivery]} delivers it{_by(root.by)}"
    if needs := _OURS.get(root.delivery):
        who += f"; with {needs} infra-mcp does"
    delivery = "kubernetes" if ours else "external"
    return f'\n[[tree.roots]]\npath = {_quoted(root.path or ".")}\ndelivery = "{delivery}"  # {who}\n'


def _by(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f" ({_short(names[0])}{f', and {len(names) - 1} more' if len(names) > 1 else ''})"


def cluster(found: Survey, context: str | None) -> tuple[str, str]:
    """The name of the cluster, and its section; a comment where none is known and others deliver everything.

    Args:
        found: what the repository holds.
        context: of the kubeconfig; None where there is none.
    """
    if context is None:
        name = next((name for one in found.clusters if (name := slug(one))), "cluster")
        lines = "# Others deliver what is here, so that no cluster is needed. With one, `workload` can be evidence.\n"
        return name, f'{lines}# [clusters.{name}]\n# context = "NAME"  # of the kubeconfig\n'
    name = slug(context) or "cluster"
    comment = "by name; a kubeconfig's current-context is never used"
    return name, f"[clusters.{name}]\ncontext = {_quoted(context)}  # {comment}\n"


def write(found: Survey, remote: Remote | None) -> str:
    """Where changes are written: pushed where others deliver everything that is here from a remote's branch."""
    if remote is None or not found.is_others:
        return ""
    other = "" if remote.name == "origin" else f"remote = {_quoted(remote.name)}\n"
    return (
        f'write = "push"  # to the remote\'s branch, from which others deliver; docs/git.md has the other ways\n{other}'
    )


def forge(remote: Remote | None) -> str:
    """The section of the forge, as a comment: the server's token is not known."""
    if remote is None or remote.place is None:
        return ""
    place = remote.place
    hint = "" if place.kind == "github" else "  # Forgejo, too; or github, with the url of its API"
    url = "" if place.kind == "github" else f"# url = {_quoted(place.url)}\n"
    lines = "\n# The forge of the remote, for pull requests, checks and deployments there.\n"
    lines += f"# [forge]\n# kind = {_quoted(place.kind)}{hint}\n{url}# repository = {_quoted(place.repository)}\n"
    return f"{lines}# token_file = \"/run/secrets/forge-token\"  # mode 0600; a bot's, never a person's\n"


def other_clusters(found: Survey, chosen: str) -> str:
    """The clusters that the repository names, as comments."""
    names = [name for one in found.clusters if (name := slug(one)) and name != chosen]
    lines = [f"# [clusters.{name}]\n# context = {_quoted(name)}\n" for name in dict.fromkeys(names)]
    more = f"# {len(lines) - _MOST_CLUSTERS} more clusters are named here.\n" if len(lines) > _MOST_CLUSTERS else ""
    return "".join(lines[:_MOST_CLUSTERS]) + more


def owners(found: Survey) -> str:
    """Owners by folder, as comments: a person decides who they are."""
    fitting = [(folder, count) for folder, count in found.owners if _PLAIN.fullmatch(folder) and "*" not in folder]
    if not fitting:
        return ""
    lines = ["\n# Who owns the apps below which folder, where no [apps.NAME] says it.\n"]
    for folder, _ in fitting[:_MOST_OWNERS]:
        owner = slug(folder.rpartition("/")[2]) or "docs"
        lines.append(f"# [[owners]]\n# paths = [{_quoted(f'{folder}/**')}]\n# owner = {_quoted(owner)}\n")
    if len(fitting) > _MOST_OWNERS:
        lines.append(f"# {len(fitting) - _MOST_OWNERS} more folders hold apps.\n")
    return "".join(lines)


def apps(found: Survey) -> str:
    """The first apps, as comments; `infra-mcp apps` has them all."""
    if not found.apps:
        return ""
    lines = [f"\n# {_counted(found)}. `infra-mcp apps` lists them; these are the first:\n"]
    for one in found.apps[:_MOST_APPS]:
        where = f" ({_short(', '.join(one.environments))})" if one.environments else ""
        lines.append(f"#   {_short(one.name)}{where}{f' {_short(one.version)}' if one.version else ''}\n")
    return "".join(lines) + _sections(found)


def _sections(found: Survey) -> str:
    """Sections for apps that others deliver, as comments: the versions that need no approval, and the evidence."""
    theirs = [one for one in found.apps if one.delivery != "kubernetes" and slug(one.name) == one.name]
    versions = [(one, patterns) for one in theirs if (patterns := _versions(one.versions))]
    if not versions:
        return ""
    lines = ["\n# What others render is not judged here: a version that `versions` names needs no approval for that.\n"]
    for one, patterns in versions[:_MOST_SECTIONS]:
        owner = slug(one.folder.rpartition("/")[2]) or one.name
        lines.append(f"# [apps.{one.name}]\n# owner = {_quoted(owner)}\n# versions = [{patterns}]\n")
        if len(one.workloads) == 1 and _PLAIN.fullmatch(one.workloads[0]):
            evidence = f"workload = {_quoted(one.workloads[0])}"
            lines.append(f"# [apps.{one.name}.evidence]\n# {evidence}  # it has landed when this runs it\n")
    return "".join(lines)


def _versions(versions: Sequence[str]) -> str:
    """Patterns for the versions of the same major number, or year; empty where one of them has none."""
    found = [_MAJOR.match(one) for one in versions]
    patterns = dict.fromkeys(f"{one[1]}.*" for one in found if one)
    fits = all(found) and 0 < len(patterns) <= _MOST_PATTERNS
    return ", ".join(map(_quoted, patterns)) if fits else ""


def left_out(found: Survey) -> str:
    """What was not looked at, counted, as a comment."""
    counted = ", ".join(f"{what}: {number}" for what, number in found.left_out)
    return f"\n# Left out: {counted}.\n" if counted else ""


def table(found: Survey) -> str:
    """What the repository holds, for people."""
    lines = columns([("KIND", "COUNT", "DELIVERED BY"), *((kind, str(n), by) for kind, n, by in found.held)])
    text = "\n".join(lines) if found.held else "The repository holds nothing that is delivered."
    counted = ", ".join(f"{what}: {number}" for what, number in found.left_out)
    parts = [text, f"{_counted(found)}." if found.apps else "", f"Left out: {counted}." if counted else ""]
    return "\n".join(part for part in parts if part)


def as_json(found: Survey) -> dict[str, Any]:
    """The same for programs."""
    return {
        "roots": [
            {"path": root.path or ".", "delivery": root.delivery, "kind": "raw", "by": list(root.by)}
            for root in found.roots
        ],
        "held": [{"kind": kind, "count": number, "delivery": by} for kind, number, by in found.held],
        "apps": len(found.apps),
        "instances": found.instances,
        "new": found.layout,
        "left_out": dict(found.left_out),
    }


def _counted(found: Survey) -> str:
    apps, instances = len(found.apps), found.instances
    return f"{apps} app{'s' * (apps != 1)} with {instances} instance{'s' * (instances != 1)}"


def _short(text: str) -> str:
    clean = "".join(one if one.isprintable() else "?" for one in text)
    return clean if len(clean) <= _WIDEST else f"{clean[: _WIDEST - 1]}…"


def _quoted(text: str) -> str:
    """A text as TOML has it: JSON's escapes of other characters are none of TOML's."""
    return json.dumps(text, ensure_ascii=False)
