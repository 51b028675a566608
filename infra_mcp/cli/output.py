"""What commands print: short plain lines, or JSON for those who parse."""

from __future__ import annotations

import json
import sys
from typing import Any

from infra_mcp.errors import CODES, Exit, InfraError
from infra_mcp.text import escaped


def show(as_json: bool, data: Any, text: str) -> None:  # noqa: ANN401 - any JSON value
    """Print the answer of a command on stdout: `data` as JSON, or `text`."""
    # In JSON an escape is the same text, so nothing is lost to those who parse.
    print(escaped(json.dumps(data, indent=2, ensure_ascii=False) if as_json else text))


def note(text: str) -> None:
    """Tell how far something is, on stderr."""
    print(escaped(text), file=sys.stderr, flush=True)


def fail(as_json: bool, error: InfraError) -> int:
    """Print a failure and return its exit code; as JSON it goes to stdout, where the answer would be."""
    if as_json:
        show(True, error.as_dict() | {"exit": int(error.exit)}, "")
    else:
        note(f"{error.code}: {error.what}\n  {error.next_step}")
    return int(error.exit)


def said(result: dict[str, Any]) -> str:
    """The text of a tool's result."""
    return "\n".join(part.get("text", "") for part in result.get("content", ()) if part.get("type") == "text")


def show_result(as_json: bool, result: dict[str, Any], text: str | None = None) -> int:
    """Print the result of a tool and return the exit code it means."""
    if result.get("isError") and not as_json:
        note(said(result))
    else:
        show(as_json, result.get("structuredContent") or {}, said(result) if text is None else text)
    return code_of(result)


def code_of(result: dict[str, Any]) -> int:
    """The exit code a tool's result means."""
    data = result.get("structuredContent") or {}
    if "exit" in data:
        return int(data["exit"])
    if result.get("isError"):
        code = str(data.get("code", "internal"))
        return int(CODES[code].exit if code in CODES else Exit.FAILED)
    return int(Exit.LANDED)
