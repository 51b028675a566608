"""`infra-mcp deploy` and `infra-mcp provision-namespace`: the typed actions, with an option for each field.

The common part of every change from the command line is here too: `run` uses it with fields as they come.
"""

from __future__ import annotations

import argparse
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.following import WORKING, carry_out
from infra_mcp.cli.options import client_options, connected, verb, wait_options
from infra_mcp.cli.output import note, said, show_result
from infra_mcp.cli.pipeline import Key, key_for, key_options
from infra_mcp.cli.progress import Progress
from infra_mcp.cli.summary import Summary, summarized, summary_option
from infra_mcp.errors import Exit, InfraError

__all__ = ["add_parser", "change", "change_options"]


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verbs."""
    deploying = verb(
        verbs,
        "deploy",
        "bring an app of the catalogue to a version, and wait until it has landed",
        "deploy docs 0.13.4",
        "deploy docs 0.13.4 --dry-run",
        "deploy docs 0.13.4 --no-wait --json",
    )
    deploying.add_argument("app", metavar="APP", help="the app's name in the policy's catalogue")
    deploying.add_argument("version", metavar="VERSION", help="the image tag to run, e.g. 0.13.4")
    deploying.add_argument(
        "--on-failure", choices=("rollback", "hold"), help="when it does not land (default: as the catalogue says)"
    )
    change_options(deploying)
    deploying.set_defaults(run=_deploy)
    providing = verb(
        verbs,
        "provision-namespace",
        "a namespace with pull secrets, labels, bounds and a default network policy",
        "provision-namespace docs-staging --pull-secret X",
        "provision-namespace docs-staging --quota cpu=4 --quota memory=8Gi --quota pods=30 --default-deny",
    )
    providing.add_argument("namespace", metavar="NAME", help="the namespace's name, e.g. docs-staging")
    for name, metavar, words in (
        ("--pull-secret", "SECRET", "a pull secret as policy names it; repeatable"),
        ("--label", "KEY=VALUE", "a label of the namespace; repeatable"),
        ("--quota", "KEY=VALUE", "cpu, memory or pods of the whole namespace; repeatable"),
        ("--limit", "KEY=VALUE", "cpu or memory of a container that names none; repeatable"),
    ):
        providing.add_argument(name, metavar=metavar, action="append", default=[], help=words)
    providing.add_argument("--default-deny", action="store_true", help="deny all traffic into pods unless allowed")
    providing.add_argument("--owner", metavar="PEER", help="who to ask about it, as an annotation")
    change_options(providing)
    providing.set_defaults(run=_provide)


def change_options(parser: argparse.ArgumentParser) -> None:
    """What every change takes: cluster, dry run, reason, key, wait, summary, and how to reach the server."""
    if parser.prog.split()[-1] != "run":
        parser.add_argument("--cluster", metavar="NAME", help="the cluster's name in policy, when there are several")
    parser.add_argument("--dry-run", action="store_true", help="only plan: show what would change, write nothing")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the record")
    key_options(parser)
    wait_options(parser, "the end")
    summary_option(parser)
    client_options(parser)


def _deploy(options: argparse.Namespace) -> int:
    fields = {"app": options.app, "version": options.version, "on_failure": options.on_failure}
    return _typed(options, "deploy", fields)


def _provide(options: argparse.Namespace) -> int:
    quota: dict[str, Any] = _pairs("--quota", options.quota)
    if quota.get("pods", "").isdecimal():
        quota["pods"] = int(quota["pods"])
    fields = {
        "namespace": options.namespace,
        "pull_secrets": options.pull_secret,
        "labels": _pairs("--label", options.label),
        "quota": quota,
        "limits": _pairs("--limit", options.limit),
        "default_deny": options.default_deny,
        "owner": options.owner,
    }
    return _typed(options, "provision_namespace", fields)


def _typed(options: argparse.Namespace, action: str, fields: dict[str, Any]) -> int:
    given = {name: value for name, value in (fields | {"cluster": options.cluster}).items() if value}
    title = (
        f"{action.replace('_', '-')} {' '.join(str(one) for one in list(given.values())[:2] if isinstance(one, str))}"
    )
    return summarized(
        options,
        title,
        lambda summary: connected(options, lambda client: change(options, client, action, given, summary)),
    )


def _pairs(option: str, given: list[str]) -> dict[str, Any]:
    pairs = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not key or key in pairs:
            raise InfraError("invalid-argument", f"{option}: KEY=VALUE, each key once.")
        pairs[key] = value
    return pairs


def change(options: argparse.Namespace, client: Client, action: str, fields: dict[str, Any], summary: Summary) -> int:
    """Carry out one change through its tool, print its end, and return the exit code.

    With `--no-wait` a change that was taken in and goes on exits with 0.
    """
    arguments = fields | ({"dry_run": True} if options.dry_run else {})
    given = arguments.pop("idempotency_key", None) if options.idempotency_key is None else options.idempotency_key
    # A plan is of its moment, so no run stands for it.
    key = key_for(action, arguments, given=given, run_id=options.run_id, once=arguments.get("dry_run") is True)
    if options.reason is not None:
        arguments["reason"] = options.reason
    if key.derived and not options.json:
        note(f"idempotency key {key.value} (from {key.source}): this run again gives this result, and changes nothing.")
    summary.data["idempotency_key"] = key.value if key.source else ""
    with Progress(quiet=options.json) as told:
        wait = 0.0 if options.no_wait else options.wait
        result = carry_out(client, action, arguments, key.value, wait=wait, told=told)
    data = result.setdefault("structuredContent", {})
    if key.source:
        data["idempotency_key"] = key.value
    if options.no_wait and not result.get("isError") and data.get("state") in WORKING:
        data["exit"] = int(Exit.LANDED)
    show_result(options.json, result)
    code = summary.result(result)
    if key.derived and code:
        _say_how_to_try_again(options, key, summary, said(result))
    return code


def _say_how_to_try_again(options: argparse.Namespace, key: Key, summary: Summary, words: str) -> None:
    hint = (
        f"The key is made from {key.source}, so running this job again gives this result again. "
        "To try anew, start a new run, or give an --idempotency-key of your own."
    )
    summary.words = f"{words}\n\n{hint}"
    if not options.json:
        note(hint)
