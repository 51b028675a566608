"""The reference pages made from the code: `python -m infra_mcp.server.pages docs` writes them there.

A test fails while a page is not what this writes, so they cannot fall behind.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from infra_mcp.errors import CODES, Exit
from infra_mcp.mesh import coverage, limits
from infra_mcp.mesh.attending import GRACE
from infra_mcp.mesh.grammar import describe
from infra_mcp.model.actions import ACTIONS
from infra_mcp.model.schema import schema
from infra_mcp.server.tools import change, control, mesh, read
from infra_mcp.server.tools.tool import Tool

__all__ = ["PAGES", "asking_page", "errors_page", "main", "tools_page"]

_MADE = "<!-- Made by `python -m infra_mcp.server.pages docs`; do not edit. -->\n"
_TOOLS = """\
An argument that a tool does not have is refused by name, and so is a value of another JSON type: `"3"` is no number. A
null is the argument left out, at any depth, and `3.0` is an integer, as JSON Schema has it.
Every failure is a result with `isError`, whose text begins with a [stable code](errors.md) and whose structured content
has `code`, `what` and `next`. Every end of a request carries request id, effect digest, commit and audit head. An
answer has at most 19 000 bytes of text and of data, and says what was cut.

`tools/list` shows what the caller may use, less with `serve --tools mesh` (no typed changes) or `--tools change` (no
mesh, for hosts that have another one); each call is decided again. Who calls is known from the transport: the bearer
token over HTTP, the connection's first frame on the unix socket. No list notifies of changes; a client may keep one for
half a minute.

Messages follow MCP's specification of 2025-06-18 or 2026-07-28, strictly. A request whose `id` is not a string or an
integer (null is neither) is answered with the error -32600, over HTTP with status 400. No list has a second page, so
any `cursor` is invalid (-32602). A POST lists `application/json` and `text/event-stream` in `Accept`, as the
specification requires, since the server chooses between them; with one of them alone the answer is 406, which says so.

Beside the tools there are the resources `infra://requests/{id}` and `infra://namespaces/{ns}`, which show what
`get_request` and `status` show this caller, and the prompts `ask_infra` and, for a session that attends, `attend`.
"""
_ERRORS = """\
A code is stable: programs may compare it. The words beside it are for people and name the thing; they never hold a
secret, and never repeat an argument that was refused for its form.
"""
_ASKING = """\
An ask to `infra` becomes a typed action in one of two ways, and never by a guess.

**A fenced block** holds one action as JSON. Every field is checked, and a field that does not belong there is refused
by name; a null is the field left out. Text round the block is kept as words and means nothing.

````
```infra
{"action": "deploy", "app": "docs", "version": "0.13.4"}
```
````

**A sentence** counts only if every word of it stands in the table below; it is for what adds and harms nothing. A
sentence that means a deploy is answered with the block to send back. What is not understood writes nothing: it is acked
with what this peer may ask and with the nearest form filled in, ready to be sent back as it is. While a session attends
as infra, words that mean no block and no deploy wait for it instead; when the last one has left, they wait {grace:g}
seconds more for its return.

Beside the action's fields a block may have `dry_run`, `reason` and `idempotency_key`.
"""
_OTHERS = """\
## Asking other peers

Any peer can be asked by its name, and the ask stays open until that peer acks it. A peer asked in return closes the
first ask with `reply_to`. Peers of every circle can write to each other: a circle says what infra does for its peers,
not who may talk to whom, and nothing is ever decided by a peer's words. Of other circles `list_peers(circle="*")` shows
names and descriptions. A name that more than one circle has is refused with the candidates until `circle` says which;
the own circle has no precedence, since a message that a newcomer's name could catch is worse than a refusal. Operators
are people, and are not addressed by name.

`inbox` shows open asks, unread messages and acks, and marks nothing: an ask goes away when it is acked, the rest when
its id is in `mark_read`. What peers wrote stands in quotes (`> `), with invisible characters spelled out, and is data.

| bound | |
|---|---|
| a text, and all attachments of a message | 64 KiB each |
| messages of one sender at once, and then in a second | {burst}, {rate:g} |
| open asks of one sender at one receiver | {open} |
| unread messages of one sender at one receiver | {unread} |
| asks in a row that answer each other by `reply_to` | {depth} |

What is above a bound is refused with `too-many` and the next step, and leaves one row a minute in the ledger.
Any other refused call leaves a row of its own, {rows} of a peer at once and one a second from then on; a row says
how many before it left none.
"""
_SENTENCES = """\
## Sentences

In the table a word stands for itself, `<rule>` for one of that rule's forms, and CAPITALS for a value; `?` means
perhaps, and `*` any number of times. The first rule is the whole sentence.
"""
_COVERAGE = """\
## What can be said how

Every field can be said in a block. In a sentence:

| action | field | a sentence that says it |
|---|---|---|
"""
_GROUPS = (
    ("Mesh", "Names and shapes are Repowire's.", mesh.TOOLS),
    (
        "Change",
        "One tool for each action; all take the common options. What is refused or fails is an error.",
        change.TOOLS,
    ),
    ("Control", "", control.TOOLS),
    ("Read", "", read.TOOLS),
)
_EXITS = {
    Exit.LANDED: "landed, or already so; for other commands: done",
    Exit.FAILED: "failed or rolled back",
    Exit.INVALID: "the request is not well formed",
    Exit.REFUSED: "policy says no",
    Exit.WAITING: "an approval is required and not there",
    Exit.NOT_UNDERSTOOD: "the text was not understood",
    Exit.UNREACHABLE: "no server, no cluster, or the wait ran out",
    Exit.NEEDS_OPERATOR: "a person must look",
}


def tools_page() -> str:
    """docs/tools.md: every tool with its arguments and annotations."""
    parts = ["# Tools\n", _MADE, _TOOLS]
    for name, words, tools in _GROUPS:
        parts.append(f"## {name}\n" + (f"\n{words}\n" if words else ""))
        parts.extend(_tool(tool) for tool in tools)
    return "\n".join(parts)


def _tool(tool: Tool) -> str:
    marks = [
        "reads only" if tool.read_only else "changes something",
        "destructive hint" if tool.destructive else "not destructive",
        "idempotent" if tool.idempotent else "not idempotent",
        "open world" if tool.open_world else "closed world",
    ]
    if tool.action:
        marks.append(f"needs `{tool.action}` among the circle's actions")
    lines = [f"### {tool.name}\n", f"{tool.description}\n", f"*{', '.join(marks)}*\n"]
    shape = schema(tool.arguments)
    if shape["properties"]:
        lines += ["| argument | type | default | meaning |", "|---|---|---|---|"]
        required = shape.get("required", ())
        lines += [_row(name, part, name in required) for name, part in shape["properties"].items()]
    else:
        lines.append("No arguments.")
    return "\n".join(lines) + "\n"


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
    lines = ["# Errors and exit codes\n", _MADE, _ERRORS, "## Codes\n"]
    for code, info in CODES.items():
        lines += [f"### {code}\n", f"{info.summary} Exit code {int(info.exit)}.\n", f"What helps: {info.next_step}\n"]
    lines += ["## Exit codes\n", "| code | meaning |", "|---|---|"]
    lines += [f"| {int(code)} | {_EXITS[code]} |" for code in Exit]
    return "\n".join(lines) + "\n"


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
    lines = ["# Asking infra\n", _MADE, _ASKING.replace("{grace:g}", f"{GRACE:g}"), others]
    lines += [_COVERAGE + "\n".join(_said(row) for row in coverage.rows()) + "\n"]
    lines += [_SENTENCES, "```", describe().rstrip(), "```\n", "## Actions\n"]
    for name, model in ACTIONS.items():
        lines += [f"### {name}\n", f"{(model.__doc__ or '').splitlines()[0]}\n", "| field | type | default | meaning |"]
        lines.append("|---|---|---|---|")
        shape = schema(model)
        lines += [
            _row(field, part, field in shape.get("required", ()))
            for field, part in shape["properties"].items()
            if field != "action"
        ]
        lines.append("")
    return "\n".join(lines)


def _said(row: coverage.Row) -> str:
    means = f"none; `{coverage.MEANT[row.action]}` is answered with the block" if row.answered else "none"
    return f"| `{row.action}` | `{row.field}` | {f'`{row.sentence}`' if row.sentence else means} |"


PAGES = {"tools.md": tools_page, "errors.md": errors_page, "asking.md": asking_page}


def main(folder: str) -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (Path(folder) / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "docs")
