"""What commands print: short plain lines, or JSON for those who parse."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from infra_mcp.errors import CODES, Exit, InfraError

__all__ = ["code_of", "fail", "note", "plain", "said", "show", "show_result"]

# What a terminal would obey, and what would make a line read otherwise than it is: peers and clusters write texts too.
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def plain(text: str) -> str:
    """The text with everything a terminal would obey written out as its number; lines and tabs stay."""
    return _ACTIVE.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    """A character as JSON writes one by its number; beyond the first 65 536 that takes two."""
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def show(as_json: bool, data: Any, text: str) -> None:  # noqa: ANN401 - any JSON value
    """Print the answer of a command on stdout: `data` as JSON, or `text`."""
    # In JSON an escape is the same text, so nothing is lost to those who parse.
    print(plain(json.dumps(data, indent=2, ensure_ascii=False) if as_json else text))


def note(text: str) -> None:
    """Tell how far something is, on stderr."""
    print(plain(text), file=sys.stderr, flush=True)


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
