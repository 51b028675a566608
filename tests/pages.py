"""What is made from the code: `python tests/pages.py` writes the reference pages, and what the command line reads.

Pages go to `docs`, or to another folder that is named. A test fails while one is not what this writes, so that they
cannot fall behind.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

from doctor_page import doctor_page
from pydantic import BaseModel

from infra_mcp.codes import CODES, Exit
from infra_mcp.mesh import limits
from infra_mcp.mesh.attending import GRACE
from infra_mcp.mesh.blocks import show
from infra_mcp.mesh.grammar import GRAMMAR, SLOTS
from infra_mcp.mesh.intent import NotUnderstood, Understood, parse
from infra_mcp.model.actions import ACTIONS, ActionModel
from infra_mcp.model.schema import schema
from infra_mcp.policy.guard.rules import GUARDRAILS
from infra_mcp.server import tools
from infra_mcp.server.tools import change, control, mesh
from infra_mcp.server.tools.tool import Effects, Tool

__all__ = [
    "MEANT",
    "PAGES",
    "SENTENCES",
    "VERBS",
    "Row",
    "main",
    "rows",
    "said",
    "verbs",
    "with_guardrails",
    "with_verbs",
]

DOCS = Path(__file__).resolve().parent.parent / "docs"
VERBS = Path(tools.__file__).parents[2] / "cli" / "verbs.json"

# For each field that a sentence can say: one that says it. For each action that a sentence means: one that does.
SENTENCES: Final = {name: model.sentences for name, model in ACTIONS.items() if model.sentences}
MEANT: Final = {
    name: " ".join(map(str, (name if name in model.verbs else min(model.verbs), *model.example.values())))
    for name, model in ACTIONS.items()
    if model.verbs
}

MADE = "<!-- Made by `python tests/pages.py`; do not edit. -->\n"
_TOOLS = """\
An unknown argument is refused by name, and so is a value of another JSON type: `"3"` is no number. A null is an omitted
argument, at any depth, and `3.0` is an integer, as in JSON Schema.
Every failure is a result with `isError`, whose text begins with a [stable code](errors.md) and whose structured content
has `code`, `what` and `next`. The end of a request has its id, effect digest, commit and audit head. An answer has at
most 19,000 bytes of text and of data, and says what it left out.

Some actions have a tool of their own. `change` carries out the others, by name and arguments, and `describe` shows
their arguments; both are listed if policy grants the caller such an action. `tools/list` shows the tools that the
caller may use, without typed changes for `serve --tools mesh`, and without the mesh for `--tools change` (for hosts
that have another mesh). Each call is judged again. The caller is known from the transport: the bearer token over HTTP,
the first frame of the connection on the unix socket. No list sends notifications of changes; a client
may cache it for 30 seconds.

Messages follow MCP's specification of 2025-06-18 or 2026-07-28, strictly. A request whose `id` is not a string or an
integer (null is neither) is answered with the error -32600, over HTTP with status 400. No list has a second page, so
any `cursor` is invalid (-32602). A POST lists `application/json` and `text/event-stream` in `Accept`, as the
specification requires, since the server chooses between them; with one of them alone the answer is 406, which says so.

There are also the resources `infra://requests/{id}` and `infra://namespaces/{ns}`, which show what
`get_request` and `status` show this caller, and the prompts `ask_infra` and, for a session that attends, `attend`.
"""
_ERRORS = """\
Codes are stable: programs may compare them. The text beside a code is for people and names the object; it never
contains a secret, and never repeats an argument that was refused for its form.
"""
_ASKING = """\
An ask to `infra` becomes a typed action in one of two ways. The server never guesses.

**A fenced block** holds one action as JSON. Every field is checked, and an unknown field is refused by
name; a null is an omitted field. Text around the block is recorded and has no effect.

````
{block}
````

**A sentence** counts only if the table below has every word of it; sentences are for actions that only add. A sentence
that asks for another action (`{meant}`) is answered with the block to send. A sentence that is not understood changes
nothing: the ack lists what this peer may ask for, with the nearest form filled in, ready to send; it names only the
asker's own apps. While a session attends as infra, such a sentence waits for the session instead; after the last
session has left, it waits {grace} seconds more.

Besides the action's fields a block may have `dry_run`, `reason` and `idempotency_key`.
"""
_OTHERS = """\
## Asking other peers

You can ask any peer by its name, and the ask stays open until that peer acks it. An ask in return closes the first ask
with `reply_to`. Peers of all circles can write to each other: a circle says what infra does for its peers, not who may
talk to whom, and no decision depends on a peer's text. `list_peers(circle="*")` shows names and descriptions of all
circles. If several circles have a peer of the name, the call is refused with the candidates; name the circle. The
sender's own circle has no precedence, because a new peer could then receive messages for another. Operators are people
and have no address.

`inbox` shows open asks, unread messages and acks, and marks nothing: it shows an ask until it is acked, and the rest
until its id is in `mark_read`. Text from peers is quoted (`> `), with invisible characters spelled out, and is data.

| bound | |
|---|---|
| a text, and all attachments of a message | 64 KiB each |
| messages of one sender at once, and then per second | {burst}, {rate:g} |
| open asks of one sender at one receiver | {open} |
| unread messages of one sender at one receiver | {unread} |
| asks in a chain of `reply_to` | {depth} |

Beyond a bound the code is `too-many`, with the next step, and the ledger gets one row a minute. Every other refused
call gets a row of its own: {rows} of a peer at once, then one a second; a row counts the calls before it that got none.
"""
_SENTENCES = """\
## Sentences

In the table a word is literal, `<rule>` is one form of that rule, and CAPITALS are a value; `?` means optional and `*`
any number of times. The first rule is the whole sentence.
"""
_COVERAGE = """\
## Sentences by field

A block can set every field. A sentence can set these:

| action | field | a sentence that sets it |
|---|---|---|
"""
_GROUPS = (
    ("Mesh", "Names and shapes are Repowire's.", mesh.TOOLS),
    (
        "Change",
        "The frequent actions have a tool each; `change` is for all others. A refusal or failure is an error.",
        change.TOOLS,
    ),
    ("Control and read", "", control.TOOLS),
)
_EXITS = {
    Exit.LANDED: "landed, or already so; for other commands: done",
    Exit.FAILED: "failed or rolled back",
    Exit.INVALID: "the request is invalid",
    Exit.REFUSED: "policy says no",
    Exit.WAITING: "an approval is required and missing",
    Exit.NOT_UNDERSTOOD: "the text was not understood",
    Exit.UNREACHABLE: "no server, no cluster, or the wait ran out",
    Exit.NEEDS_OPERATOR: "a person must look",
}


def tools_page() -> str:
    """docs/tools.md: every tool with its arguments and annotations, and every action that has none."""
    parts = ["# Tools\n", MADE, _TOOLS]
    for name, words, group in _GROUPS:
        parts.append(f"## {name}\n" + (f"\n{words}\n" if words else ""))
        parts.extend(_tool(tool) for tool in group)
        if group is change.TOOLS:
            parts.extend(_action(name, model) for name, model in ACTIONS.items() if not model.listed)
    return "\n".join(parts)


def _tool(tool: Tool) -> str:
    marks = [
        "reads only" if tool.read_only else "changes something",
        "destructive hint" if tool.effects is Effects.CHANGES else "not destructive",
        "idempotent" if tool.idempotent else "not idempotent",
        "open world" if tool.effects is Effects.CHANGES else "closed world",
    ]
    if tool.name in ACTIONS:
        marks.append(f"needs `{tool.name}` among the circle's actions")
    elif tool.actions is not None:
        marks.append("needs an action without a tool among the circle's actions")
    lines = [f"### {tool.name}\n", f"{tool.description}\n", f"*{', '.join(marks)}*\n"]
    return "\n".join([*lines, *_table("argument", tool.arguments)]) + "\n"


def _action(name: str, model: type[ActionModel]) -> str:
    marks = f"*through `change`, needs `{name}` among the circle's actions*"
    return "\n".join([f"### {name}\n", f"{model.description}\n", f"{marks}\n", *_table("argument", model)]) + "\n"


def _table(what: str, model: type[BaseModel]) -> Iterator[str]:
    shape = schema(model)
    fixed = {"action"} if issubclass(model, ActionModel) else set[str]()
    fields = {name: part for name, part in shape["properties"].items() if name not in fixed}
    if not fields:
        yield "No arguments."
        return
    yield from (f"| {what} | type | default | meaning |", "|---|---|---|---|")
    yield from (_row(name, part, name in shape.get("required", ())) for name, part in fields.items())


def _row(name: str, part: dict[str, Any], required: bool) -> str:
    default = "required" if required else f"`{json.dumps(part['default'])}`" if "default" in part else "none"
    return f"| `{name}` | {_type(part)} | {default} | {part.get('description', '')} |"


def _type(part: dict[str, Any]) -> str:
    if "enum" in part:
        return " or ".join(f"`{value}`" for value in part["enum"])
    kind = str(part.get("type", "any"))
    if kind == "array":
        kind = f"list of {_type(part.get('items', {}))}"
    elif kind == "object":
        inner = part.get("properties")
        free = part.get("additionalProperties") is True
        kind = (
            "object of " + ", ".join(f"`{key}`" for key in inner)
            if inner
            else "object"
            if free
            else "object of strings"
        )
    bounds = []
    for key, word in (
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("maxLength", "at most"),
        ("maxItems", "at most"),
        ("maxProperties", "at most"),
    ):
        if key in part:
            unit = {"maxLength": " characters", "maxItems": " items", "maxProperties": " entries"}.get(key, "")
            bounds.append(f"{word} {part[key]}{unit}")
    if "pattern" in part:
        escaped = part["pattern"].replace("|", "\\|")
        bounds.append(f"`{escaped}`")
    return f"{kind}, {', '.join(bounds)}" if bounds else kind


def errors_page() -> str:
    """docs/errors.md: every code with its meaning, exit code and what usually helps; and the exit codes."""
    lines = ["# Errors and exit codes\n", MADE, _ERRORS, "## Codes\n"]
    for code, info in CODES.items():
        lines += [f"### {code}\n", f"{info.summary} Exit code {int(info.exit)}.\n", f"Next step: {info.next_step}\n"]
    lines += ["## Exit codes\n", "| code | meaning |", "|---|---|"]
    lines += [f"| {int(code)} | {_EXITS[code]} |" for code in Exit]
    return "\n".join(lines) + "\n"


def sentences() -> str:
    """The table as text: one rule a line with its forms, then the values."""
    lines = [f"{name}: {' | '.join(forms)}" for name, forms in GRAMMAR.items()]
    return "\n".join([*lines, "", *(f"{name}: {slot.shown}" for name, slot in SLOTS.items())]) + "\n"


def asking_page() -> str:
    """docs/asking.md: what an ask may say, as the table the server reads it by, and the fenced form of each action."""
    others = _OTHERS.format(
        burst=limits.BURST,
        rate=limits.RATE,
        open=limits.OPEN,
        unread=limits.UNREAD,
        depth=limits.DEPTH,
        rows=limits.ROWS,
    )
    shown = {"block": show({"action": (name := next(iter(MEANT)))} | ACTIONS[name].example), "grace": f"{GRACE:g}"}
    shown["meant"] = "`, `".join(MEANT)
    asking = re.sub(r"\{(block|grace|meant)\}", lambda found: shown[found[1]], _ASKING)
    lines = ["# Asking infra\n", MADE, asking, others]
    lines += [_COVERAGE + "\n".join(_said(row) for row in rows()) + "\n"]
    lines += [_SENTENCES, "```", sentences().rstrip(), "```\n", "## Actions\n"]
    for name, model in ACTIONS.items():
        lines += [f"### {name}\n", f"{(model.__doc__ or '').splitlines()[0]}\n", *_table("field", model), ""]
    return "\n".join(lines)


class Row(NamedTuple):
    """One field of an action: the sentence that says it, if one can, and what answers a sentence that means it."""

    action: str
    field: str
    sentence: str | None
    answered: str | None


def rows() -> list[Row]:
    """The coverage of all actions, field by field, in the order of the actions' own fields."""
    found = []
    for name, model in ACTIONS.items():
        answer = parse(MEANT[name]) if name in MEANT else None
        block = answer.nearest[0] if isinstance(answer, NotUnderstood) and answer.nearest else None
        fields = [field for field in model.model_fields if field != "action"]
        found += [Row(name, field, model.sentences.get(field), block) for field in fields]
    return found


def said(action: str, field: str) -> object:
    """What a field becomes by its own sentence; None where that is not understood."""
    understood = parse(SENTENCES[action][field])
    return getattr(understood.action, field) if isinstance(understood, Understood) else None


def _said(row: Row) -> str:
    means = f"none; `{MEANT[row.action]}` is answered with the block" if row.answered else "none"
    return f"| `{row.action}` | `{row.field}` | {f'`{row.sentence}`' if row.sentence else means} |"


PAGES = {
    "tools.md": tools_page,
    "errors.md": errors_page,
    "asking.md": asking_page,
    "doctor.md": partial(doctor_page, MADE),
}


def verbs() -> str:
    """cli/verbs.json: what the command line says of each action, read there without a model."""
    told = {
        name: {
            "summary": model.summary,
            "listed": model.listed,
            "positional": model.positional,
            "options": model.options,
            "example": model.example,
            "fields": schema(change.fields(model)),
        }
        for name, model in ACTIONS.items()
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def with_verbs(page: str) -> str:
    """docs/cli.md with the verbs of the actions between its two marks."""
    from infra_mcp.cli import change as command  # noqa: PLC0415 - once verbs.json is written

    lines: list[str] = []
    for name, told in command.VERBS.items():
        verb, fields, positional = name.replace("_", "-"), told["fields"]["properties"], told["positional"]
        line = " ".join(["infra-mcp", verb, *(field.upper().replace("_", "-") for field in positional)])
        lines += [f"### {verb}\n", f"`{line}`: {told['summary']}.\n"]
        for field, part in fields.items():
            option = command.flag(name, field)
            value = "" if part.get("type") == "boolean" else command.metavar(option, part) or "|".join(part["enum"])
            if field not in positional:
                lines.append(f"- `{f'{option} {value}'.strip()}`: {command.description(part)}.")
        lines += [""] if len(fields) > len(positional) else []
    return _between(page, "\n".join(lines))


def with_guardrails(page: str) -> str:
    """docs/policy.md with the guardrails between its two marks."""
    lines = ["| guardrail | it refuses | why | source |", "|---|---|---|---|"]
    for judges, several in groupby(GUARDRAILS.values(), key=lambda one: one.scope):
        lines.append(f"| **{judges}** | | | |")
        lines += [f"| `{one.name}` | {one.refuses} | {one.why} | {one.source} |" for one in several]
    return _between(page, "\n".join(lines) + "\n")


def _between(page: str, made: str) -> str:
    """A page with a text between its two marks."""
    before, mark, rest = page.partition(_FROM)
    _, end, after = rest.partition(_TO)
    return f"{before}{mark}\n\n{made}\n{end}{after}"


_FROM, _TO = "<!-- from here: made by `python tests/pages.py` -->", "<!-- to here -->"


def main(folder: Path = DOCS) -> None:
    """Write it all."""
    VERBS.write_text(verbs(), encoding="utf-8")
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
    for name, made in (("cli.md", with_verbs), ("policy.md", with_guardrails)):
        (folder / name).write_text(made((folder / name).read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
