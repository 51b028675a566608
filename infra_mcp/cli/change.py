"""The typed actions as verbs: an option for each field. What there is stands in `verbs.json`, made from the models.

The models themselves are not imported: a command needs nothing but the standard library. The common part of every
change from the command line is here too: `run` uses it with fields as they come.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.following import WORKING, carry_out
from infra_mcp.cli.options import client_options, connected, verb, wait_options
from infra_mcp.cli.output import note, said, show_result
from infra_mcp.cli.pipeline import Key, key_for, key_options
from infra_mcp.cli.progress import Progress
from infra_mcp.cli.summary import Summary, summarized, summary_option
from infra_mcp.errors import Exit, InfraError

# Each action with its fields as JSON Schema; `python tests/pages.py` writes it from the models.
VERBS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("verbs.json").read_text(encoding="utf-8"))
# What every change tool takes beside the action's own fields.
COMMON = frozenset({"dry_run", "reason", "on_behalf_of", "idempotency_key", "wait_seconds"})


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add a verb for each action."""
    for action, told in VERBS.items():
        line = " ".join(_example(action, told))
        examples = (line, f"{line} --dry-run", f"{line} --no-wait --json")
        parser = verb(verbs, action.replace("_", "-"), told["summary"], *examples)
        fields = told["fields"]["properties"]
        for name in told["positional"]:
            parser.add_argument(
                name, metavar=name.upper().replace("_", "-"), help=_shown(fields[name]), **_form(fields[name])
            )
        for name, part in fields.items():
            if name not in told["positional"]:
                _add_option(parser, flag(action, name), part)
        change_options(parser)
        parser.set_defaults(run=partial(_typed, action))


def flag(action: str, name: str) -> str:
    """A field's option: the model's word for it, or the field's name, of one of several where it is repeatable."""
    told = VERBS[action]
    several = told["fields"]["properties"][name].get("type") in {"array", "object"}
    word = told["options"].get(name) or (name.removesuffix("s") if several else name)
    return f"--{word.replace('_', '-')}"


def _add_option(parser: argparse.ArgumentParser, option: str, part: dict[str, Any]) -> None:
    if part.get("type") == "boolean":
        parser.add_argument(option, action="store_true", help=_shown(part))
        return
    form = _form(part) | ({"action": "append", "default": []} if part.get("type") in {"array", "object"} else {})
    parser.add_argument(option, metavar=metavar(option, part), help=_shown(part), **form)


def _form(part: dict[str, Any]) -> dict[str, Any]:
    if "enum" in part:
        return {"choices": tuple(part["enum"])}
    return {"type": int} if part.get("type") == "integer" else {}


def metavar(option: str, part: dict[str, Any]) -> str | None:
    """What stands for the value of an option; None where its choices do."""
    if "enum" in part:
        return None
    return "KEY=VALUE" if part.get("type") == "object" else option[2:].upper()


def words(part: dict[str, Any]) -> str:
    """A field's description as help shows it."""
    told = str(part.get("description", "")).removesuffix(".")
    told = told[:1].lower() + told[1:] if told[1:2].islower() else told
    keys = f" ({', '.join(part['properties'])})" if "properties" in part else ""
    return told + keys + ("; repeatable" if part.get("type") in {"array", "object"} else "")


def _shown(part: dict[str, Any]) -> str:
    return words(part).replace("%", "%%")


def _example(action: str, told: dict[str, Any]) -> Iterator[str]:
    yield action.replace("_", "-")
    given = told["example"]
    yield from (shlex.quote(str(given[name])) for name in told["positional"])
    for name, value in given.items():
        if name in told["positional"]:
            continue
        items = [f"{key}={item}" for key, item in value.items()] if isinstance(value, dict) else value
        for item in items if isinstance(items, list) else [items]:
            yield flag(action, name)
            yield from () if item is True else (shlex.quote(str(item)),)


def change_options(parser: argparse.ArgumentParser) -> None:
    """What every change takes: dry run, reason, key, wait, summary, and how to reach the server."""
    parser.add_argument("--dry-run", action="store_true", help="only plan: show what would change, write nothing")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the record")
    key_options(parser)
    wait_options(parser, "the end")
    summary_option(parser)
    client_options(parser)


def _typed(action: str, options: argparse.Namespace) -> int:
    told = VERBS[action]
    fields = {}
    for name, part in told["fields"]["properties"].items():
        option = flag(action, name)
        value = getattr(options, name if name in told["positional"] else option[2:].replace("-", "_"))
        if part.get("type") == "object":
            value = _pairs(option, value, part)
        elif part.get("type") == "array":
            value = [_value(item, part.get("items", {})) for item in value]
        if value or type(value) is int:  # what was not given is not sent
            fields[name] = value
    title = " ".join([action.replace("_", "-"), *(str(fields[name]) for name in told["positional"] if name in fields)])
    work = partial(change, options, action=action, fields=fields, own_tool=told["listed"])
    return summarized(
        options, title, lambda summary: connected(options, lambda client: work(client=client, summary=summary))
    )


def _pairs(option: str, given: list[str], part: dict[str, Any]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not key or key in pairs:
            raise InfraError("invalid-argument", f"{option}: KEY=VALUE, each key once.")
        of = part.get("properties", {}).get(key) or part.get("additionalProperties")
        pairs[key] = _value(value, of if isinstance(of, dict) else {})
    return pairs


def _value(text: str, part: dict[str, Any]) -> Any:  # noqa: ANN401 - a JSON value
    """A text as the field has it; the server says what is wrong with any other."""
    return int(text) if part.get("type") == "integer" and text.isdecimal() and text.isascii() else text


def change(
    options: argparse.Namespace,
    client: Client,
    action: str,
    fields: dict[str, Any],
    summary: Summary,
    *,
    own_tool: bool,
) -> int:
    """Carry out one change through its tool, print its end, and return the exit code.

    With `--no-wait` a change that was taken in and goes on exits with 0.

    Args:
        options: the command's.
        client: of the server.
        action: its name.
        fields: its fields, and common ones among them.
        summary: what is to be told of it.
        own_tool: whether the action has a tool of its own; else `change` takes it.
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
    tool = action if own_tool else "change"
    if not own_tool:
        own = {name: value for name, value in arguments.items() if name not in COMMON}
        common = {name: value for name, value in arguments.items() if name in COMMON}
        arguments = {"action": action, "arguments": own} | common
    with Progress(quiet=options.json) as told:
        wait = 0.0 if options.no_wait else options.wait
        result = carry_out(client, tool, arguments, key.value, wait=wait, told=told)
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
