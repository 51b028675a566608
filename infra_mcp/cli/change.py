"""The typed actions as verbs with an option for each field, and `run`, which takes an action's fields as they come.

The actions stand in `verbs.json`, made from the models; those themselves need more than the standard library.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.following import WORKING, carry_out, until_merged
from infra_mcp.cli.options import client_options, verb, wait_for_option, wait_options
from infra_mcp.cli.output import Progress, note, show_result, text_of
from infra_mcp.cli.pipeline import key_for, key_options
from infra_mcp.cli.summary import Summary, summarized, summary_option
from infra_mcp.codes import Exit
from infra_mcp.errors import InfraError

# Each action with its fields as JSON Schema; `python tests/pages.py` writes it from the models.
VERBS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("verbs.json").read_text(encoding="utf-8"))
_WORDS = frozenset({"true", "false", "null"})
_JSON = frozenset('{["')
# What every change tool takes beside the action's own fields.
COMMON = frozenset({"dry_run", "reason", "on_behalf_of", "idempotency_key", "wait_seconds"})


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add a verb for each action, and `run`."""
    for action, spec in VERBS.items():
        line = example(action)
        examples = (line, f"{line} --dry-run", f"{line} --no-wait --json")
        parser = verb(verbs, action.replace("_", "-"), spec["summary"], *examples, run=partial(_typed, action))
        add_fields(parser, action)
        _change_options(parser)
    parser = verb(
        verbs,
        "run",
        "run a typed action with its fields as KEY=VALUE or JSON",
        "run deploy app=docs version=0.13.4",
        "run provision_namespace namespace=docs-staging pull_secrets=X quota='{\"pods\": 30}'",
        "run --json-file change.json --dry-run",
        run=_run,
    )
    parser.add_argument("action", metavar="ACTION", nargs="?", help="e.g. provision_namespace or deploy")
    parser.add_argument(
        "arguments", metavar="KEY=VALUE", nargs="*", help="the action's fields; lists and objects as JSON"
    )
    parser.add_argument(
        "--json-file", metavar="FILE", help="read the fields (and action, if not given) as one JSON object; - for stdin"
    )
    _change_options(parser)


def add_fields(parser: argparse.ArgumentParser, action: str) -> None:
    """Add the fields of an action, by position and as options."""
    spec = VERBS[action]
    fields = spec["fields"]["properties"]
    for name in spec["positional"]:
        shown = name.upper().replace("_", "-")
        parser.add_argument(name, metavar=shown, help=_shown(fields[name]), **_form(fields[name]))
    for name, part in fields.items():
        if name not in spec["positional"]:
            _add_option(parser, flag(action, name), part)


def flag(action: str, name: str) -> str:
    """A field's option: the model's word for it, or the field's name, of one of several where it is repeatable."""
    spec = VERBS[action]
    several = spec["fields"]["properties"][name].get("type") in {"array", "object"}
    word = spec["options"].get(name) or (name.removesuffix("s") if several else name)
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
    if part.get("items", {}).get("type") == "object":
        return "JSON"
    return "KEY=VALUE" if part.get("type") == "object" else option[2:].upper()


def description(part: dict[str, Any]) -> str:
    """A field's description as help shows it."""
    text = str(part.get("description", "")).removesuffix(".")
    text = text[:1].lower() + text[1:] if text[1:2].islower() else text
    keys = f" ({', '.join(part['properties'])})" if "properties" in part else ""
    return text + keys + ("; repeatable" if part.get("type") in {"array", "object"} else "")


def _shown(part: dict[str, Any]) -> str:
    return description(part).replace("%", "%%")


def example(action: str) -> str:
    """The command line of an action's example."""
    return " ".join(_example(action, VERBS[action]))


def _example(action: str, spec: dict[str, Any]) -> Iterator[str]:
    yield action.replace("_", "-")
    given = spec["example"]
    yield from (shlex.quote(str(given[name])) for name in spec["positional"])
    for name, value in given.items():
        if name in spec["positional"]:
            continue
        items = [f"{key}={item}" for key, item in value.items()] if isinstance(value, dict) else value
        for item in items if isinstance(items, list) else [items]:
            yield flag(action, name)
            text = json.dumps(item) if isinstance(item, dict) else str(item)
            yield from () if item is True else (shlex.quote(text),)


def _change_options(parser: argparse.ArgumentParser) -> None:
    """What every change takes: dry run, reason, key, wait, summary, and how to reach the server."""
    parser.add_argument("--dry-run", action="store_true", help="only plan: show what would change, write nothing")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the record")
    key_options(parser)
    wait_options(parser, "the end")
    wait_for_option(parser)
    summary_option(parser)
    client_options(parser)


def fields_of(action: str, options: argparse.Namespace) -> dict[str, Any]:
    """The fields of an action that a command line gives."""
    spec = VERBS[action]
    fields: dict[str, Any] = {}
    for name, part in spec["fields"]["properties"].items():
        option = flag(action, name)
        value = getattr(options, name if name in spec["positional"] else option[2:].replace("-", "_"))
        if part.get("type") == "object":
            value = _pairs(option, value, part)
        elif part.get("type") == "array":
            value = [_value(item, part.get("items", {})) for item in value]
        if value or type(value) is int:  # what was not given is not sent
            fields[name] = value
    return fields


def _typed(action: str, options: argparse.Namespace) -> int:
    spec, fields = VERBS[action], fields_of(action, options)
    title = " ".join([action.replace("_", "-"), *(str(fields[name]) for name in spec["positional"] if name in fields)])
    return summarized(options, title, partial(_change, options, action, fields, own_tool=spec["listed"]))


def _pairs(option: str, given: list[str], part: dict[str, Any]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not separator or not key or key in pairs:
            raise InfraError("invalid-argument", f"{option}: KEY=VALUE, each key once.")
        of = part.get("properties", {}).get(key) or part.get("additionalProperties")
        pairs[key] = _free(value) if of == {} else _value(value, of if isinstance(of, dict) else {})
    return pairs


def _free(text: str) -> Any:  # noqa: ANN401 - a JSON value
    """A value of any type: as JSON what can hardly be meant as text; a number stays one, as 1.10 is a version."""
    if text in _WORDS or text[:1] in _JSON:
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    return text


def _value(text: str, part: dict[str, Any]) -> Any:  # noqa: ANN401 - a JSON value
    """A text as the field has it, an object as JSON; the server says what is wrong with any other."""
    if part.get("type") == "object":
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    return int(text) if part.get("type") == "integer" and text.isdecimal() and text.isascii() else text


def _run(options: argparse.Namespace) -> int:
    fields = _from_file(options.json_file) if options.json_file else {}
    named = fields.pop("action", None)
    action = options.action or named
    if not isinstance(action, str) or (named is not None and named != action):
        raise InfraError("invalid-argument", "action: give one, as the first argument or in the JSON object.")

    def work(client: Client, summary: Summary) -> int:
        tools = {tool["name"]: tool["inputSchema"]["properties"] for tool in client.tools()}
        known = VERBS.get(action)
        shape = (known["fields"]["properties"] if known else {}) | (tools.get(action) or tools.get("change", {}))
        kinds = {name: part.get("type", "") for name, part in shape.items()}
        given = fields | dict(_pair(one, kinds) for one in options.arguments)
        own_tool = action in tools or (known["listed"] if known else "change" not in tools)
        return _change(options, action, _without_nulls(given), client, summary, own_tool=own_tool)

    return summarized(options, f"run {action}", work)


def _from_file(name: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        fields = json.loads(text)
    except OSError:
        raise InfraError("invalid-argument", f"--json-file: {name} cannot be read.") from None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise InfraError("invalid-argument", "--json-file: not one JSON object.")
    return fields


def _without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields without those that are null, so that they make the same key as when they are left out."""
    return {
        name: _without_nulls(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value is not None
    }


def _pair(text: str, kinds: dict[str, str]) -> tuple[str, Any]:
    """One `key=value`: text stays text where the argument is text, anything else is JSON, `a,b` is a list of texts."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise InfraError("invalid-argument", "Arguments are KEY=VALUE.", next_step="See `infra-mcp run --help`.")
    kind = kinds.get(key, "string" if kinds or value[:1] not in {"[", "{"} else "")
    if kind == "string":
        return key, value
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        # any other text is sent as it is: the server says what is wrong with it
        return key, [item for item in value.split(",") if item] if kind == "array" else value


def _change(
    options: argparse.Namespace,
    action: str,
    fields: dict[str, Any],
    client: Client,
    summary: Summary,
    *,
    own_tool: bool,
) -> int:
    """Carry out one change through its own tool, or through `change`, and print its end.

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
    tool = action if own_tool else "change"
    if not own_tool:
        common = {name: arguments.pop(name) for name in list(arguments) if name in COMMON}
        arguments = {"action": action, "arguments": arguments} | common
    with Progress(quiet=options.json) as progress:
        wait = 0.0 if options.no_wait else options.wait
        result = carry_out(client, tool, arguments, key.value, wait=wait, progress=progress)
        result = until_merged(client, result, options.wait_for, wait=wait, progress=progress)
    data = result.setdefault("structuredContent", {})
    if key.source:
        data["idempotency_key"] = key.value
    if options.no_wait and not result.get("isError") and data.get("state") in WORKING:
        data["exit"] = int(Exit.LANDED)
    summary.result(result)
    code = show_result(options.json, result)
    if key.derived and code:
        hint = (
            f"The key is made from {key.source}, so running this job again gives this result again. "
            "To try anew, start a new run, or give an --idempotency-key of your own."
        )
        summary.text = f"{text_of(result)}\n\n{hint}"
        if not options.json:
            note(hint)
    return code
