"""`infra-mcp init`: a first infra.toml for an existing repository, and the state directory. Commits nothing."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra_mcp.cli.options import common_options, settings_of, verb
from infra_mcp.cli.output import agreed, show
from infra_mcp.cli.proposal import (
    apps,
    as_json,
    cluster,
    forge,
    left_out,
    new_file,
    other_clusters,
    owners,
    roots,
    table,
    write,
)
from infra_mcp.errors import InfraError
from infra_mcp.settings import Settings

if TYPE_CHECKING:
    from infra_mcp.engine.survey import Survey

_TEMPLATE = """\
# What the infra peer may do, written by people. A change of this file is in force only after an operator accepted its
# digest: `infra-mcp policy accept`. What is not granted here is refused.

[tree]
branch = {branch}  # changes are committed to this branch
{write}{new}
# Whose fields a change may take over without asking. Helm, Argo CD and Flux objects are never taken over.
# adopt = ["kubectl", "kubectl-*", "before-first-apply"]

[peer]
name = "infra"  # the name others ask
description = "infra peer; owns k8s manifests"

{cluster}{clusters}{forge}{roots}{owners}
# A circle is a group of peers with the same rights. An absent key grants nothing.
# [circles.docs]
# namespaces = ["docs-*"]
# actions = ["provision_namespace", "deploy"]
# pull_secrets = ["X"]
# images = ["registry.example/docs/*"]
# limits = {{ replicas = 10, cpu = "20", memory = "40Gi" }}

# "secret X" in an ask is this name; its content is copied when it is applied, and never stands in git.
# [pull_secrets.X]
# from = "infra-secrets/registry-x"

# The catalogue: which app is whose, where it runs, and which image its versions are.
# [apps.docs]
# owner = "docs"
# workload = "docs-live/deployment/docs"
# image = "registry.example/docs/site:{{version}}"
# deploy_on = "release/{{version}} merged, ready to deploy"  # the owner's message that means a deploy, word for word
# schedule = "now"  # or "every 30m", or "Mon-Fri 09:00-17:00 Europe/Berlin"; when such a deploy may begin
# order = "semver"  # or "date", "arrival"; an older version than what landed, or waits, is refused
{apps}
# A rule takes away: it denies, or wants people to approve what would be done.
# [[rules]]
# id = "prod-needs-two"
# match = {{ namespaces = ["*-prod"] }}
# require = {{ approvals = 2, strength = "token", expires = "8h" }}

# A time in which nothing is changed.
# [[freeze]]
# id = "year-end"
# from = "2026-12-20T18:00:00+01:00"
# until = "2027-01-04T06:00:00+01:00"

# What a session that attends as this peer may do for others, and only where they may do it too.
# [attend]
# namespaces = ["docs-*"]
# actions = ["provision_namespace"]
{left_out}"""
_FIRST_LOOK = "Look first, which needs no cluster and no server: infra-mcp apps; infra-mcp preview deploy APP VERSION."
_NAME_IT = (
    "Name the context of the cluster that this repository is for: --context NAME. "
    "Without a cluster, `infra-mcp apps` and `infra-mcp preview` work without infra.toml."
)
_GRANT = "Grant something: edit infra.toml, commit it."
_RENDER = "infra-mcp rbac render | kubectl apply --server-side -f -     (as a cluster admin)"
_SERVE = ("infra-mcp policy accept", "infra-mcp peer add NAME --circle CIRCLE", "infra-mcp serve")


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    summary = "write a first infra.toml for this repository; commits nothing"
    parser = verb(verbs, "init", summary, "init --context kwok-infra", run=_run)
    parser.add_argument(
        "--context", metavar="NAME", help="the kubeconfig context of the cluster this repository is for"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    common_options(parser)


def _run(options: argparse.Namespace) -> int:
    from infra_mcp.server.ownership import prepared  # noqa: PLC0415 - only this command makes it

    settings = settings_of(options)
    prepared(settings.state_dir)
    done: dict[str, Any] = {"policy": str(settings.policy_file), "state": str(settings.state_dir), "written": False}
    if settings.policy_file.exists() or settings.policy_file.is_symlink():
        there = f"{settings.policy_file} exists already and stays as it is."
        return show(options.json, done, f"{there}\n{_next_steps(has_cluster=True)}")
    found = _survey(settings.repo)
    text = _policy(settings, options.context, found)
    question = f"{text}\nWrite this to {settings.policy_file}?"
    if not options.yes and sys.stdin.isatty() and not agreed(question):
        raise InfraError("setup-failed", "Nothing was written.", next_step="Answer y, or give --yes.")
    with settings.policy_file.open("x", encoding="utf-8") as file:
        file.write(text)
    done |= {"written": True} | as_json(found)
    lines = [table(found), "", f"Wrote {settings.policy_file}.", f"State: {settings.state_dir}", _FIRST_LOOK]
    return show(options.json, done, "\n".join([*lines, _next_steps(has_cluster="\n[clusters." in text)]))


def _next_steps(*, has_cluster: bool) -> str:
    steps = [_GRANT, *([_RENDER] if has_cluster else []), *_SERVE]
    return "\n".join(["Next:", *(f"  {number}. {step}" for number, step in enumerate(steps, 1))])


def _policy(settings: Settings, context: str | None, found: Survey) -> str:
    from infra_mcp.cli.proposal_remote import remote_of  # noqa: PLC0415 - needs the models

    remote = remote_of(settings.repo, _git)
    chosen = context or _only_context(settings.kubeconfig, needed=not found.is_others)
    branch = _git(settings.repo, "symbolic-ref", "--quiet", "--short", "HEAD")
    name, section = cluster(found, chosen)
    return _TEMPLATE.format(
        branch=json.dumps(branch.decode("utf-8", "replace").strip() or "main"),
        write=write(found, remote),
        new=new_file(found),
        cluster=section,
        clusters=other_clusters(found, name),
        forge=forge(remote),
        roots=roots(found),
        owners=owners(found),
        apps=apps(found),
        left_out=left_out(found),
    )


def _survey(repo: Path) -> Survey:
    import anyio  # noqa: PLC0415 - only this command needs it

    from infra_mcp.engine.survey import survey  # noqa: PLC0415 - needs the YAML reader

    has_commit = bool(_git(repo, "rev-parse", "--quiet", "--verify", "HEAD^{commit}"))
    staged = None if has_commit else _git(repo, "write-tree").decode().strip() or None
    return anyio.run(survey, repo, staged)


def _only_context(kubeconfig: Path, *, needed: bool) -> str | None:
    """The kubeconfig's context, when there is exactly one: a person must choose among several.

    Where no cluster is needed, None stands for no context.
    """
    from infra_mcp.clients.kube.kubeconfig import contexts  # noqa: PLC0415 - only this command reads a kubeconfig

    try:
        names = contexts(kubeconfig)
    except InfraError as error:
        if needed:
            raise InfraError("setup-failed", error.what, next_step=_NAME_IT) from error
        return None
    if not names and not needed:
        return None
    if not names:
        what = f"No kubeconfig with contexts at {kubeconfig}."
        raise InfraError("setup-failed", what, next_step=_NAME_IT)
    if len(names) != 1:
        what = f"{kubeconfig} has {len(names)} contexts: {', '.join(names[:20])}."
        raise InfraError("invalid-argument", what, next_step="Say which one this repository is for: --context NAME.")
    return names[0]


def _git(repo: Path, *arguments: str) -> bytes:
    done = subprocess.run(
        ["git", "-C", str(repo), *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else b""
