"""What commands print: short plain lines, or JSON for those who parse."""

from __future__ import annotations

import json
import sys
from typing import Any

from infra_mcp.errors import CODES, Exit, InfraError

__all__ = ["fail", "note", "show", "show_result"]


def show(as_json: bool, data: Any, text: str) -> None:  # noqa: ANN401 - any JSON value
    """Print the answer of a command on stdout: `data` as JSON, or `text`."""
    print(json.dumps(data, indent=2, ensure_ascii=False) if as_json else text)


def note(text: str) -> None:
    """Tell how far something is, on stderr."""
    print(text, file=sys.stderr, flush=True)


def fail(as_json: bool, error: InfraError) -> int:
    """Print a failure and return its exit code; as JSON it goes to stdout, where the answer would be."""
    if as_json:
        print(json.dumps(error.as_dict() | {"exit": int(error.exit)}, indent=2, ensure_ascii=False))
    else:
        print(f"{error.code}: {error.what}\n  {error.next_step}", file=sys.stderr)
    return int(error.exit)


def show_result(as_json: bool, result: dict[str, Any], text: str | None = None) -> int:
    """Print the result of a tool and return the exit code it means."""
    data = result.get("structuredContent") or {}
    said = "\n".join(part.get("text", "") for part in result.get("content", ()) if part.get("type") == "text")
    failed = bool(result.get("isError"))
    if failed and not as_json:
        print(said, file=sys.stderr)
    else:
        show(as_json, data, said if text is None else text)
    if "exit" in data:
        return int(data["exit"])
    if failed:
        code = str(data.get("code", "internal"))
        return int(CODES[code].exit if code in CODES else Exit.FAILED)
    return int(Exit.LANDED)
