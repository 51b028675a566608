"""Commit messages that nobody's words can forge, and diffs that only show what changed."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Mapping

from infra_mcp.repository.nodes import Unreadable, decode

__all__ = ["TRAILERS", "diff", "message"]

TRAILERS = ("Infra-Request", "Requested-By", "Acted-By", "Effect-Digest", "Audit-Head", "Idempotency-Key")
LONGEST_SUBJECT, LONGEST_LINE, LONGEST_BODY, LONGEST_VALUE = 100, 500, 200, 300
# What git-interpret-trailers(1) gives a meaning at the start of a line: a trailer, a comment or scissors line, the line
# that divides message and patch, the note of a cherry-pick.
_STRUCTURE = re.compile(r"[A-Za-z0-9-]+\s*[:=#]|#|---|\(cherry picked|;|[=:]")


def message(subject: str, body: str, trailers: Mapping[str, str]) -> str:
    """A commit message: one subject line, the body, and the trailers as the last paragraph.

    Subject, body and values may hold anyone's words. No line of them can be read as a trailer, a divider or a comment:
    line breaks and control characters go, and a body line with a meaning to git is indented.

    Args:
        subject: what was done, cut to 100 characters.
        body: why; several lines, cut to 200.
        trailers: by the names of `TRAILERS`; one with an empty value is left out.

    Raises:
        ValueError: a trailer has another name.
    """
    if unknown := trailers.keys() - set(TRAILERS):
        raise ValueError(unknown)
    title = _line(subject)[:LONGEST_SUBJECT].strip() or "infra-mcp"
    title = f"infra-mcp: {title}" if title.startswith(("---", "#", ";")) else title
    rows = [_line(row)[:LONGEST_LINE] for row in re.split(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", body)]
    text = "\n".join(f" {row}" if _STRUCTURE.match(row) else row for row in rows[:LONGEST_BODY])
    text = re.sub(r"\n{3,}", "\n\n", text).strip("\n").rstrip()
    values = {name: _line(trailers[name])[:LONGEST_VALUE] for name in TRAILERS if name in trailers}
    block = "\n".join(f"{name}: {value}" for name, value in values.items() if value)
    return "\n\n".join(part for part in (title, text, block) if part) + "\n"


def diff(path: str, before: bytes | None, after: bytes) -> str:
    """A unified diff of one file, for reading: without context, and without line numbers in its hunks.

    Both would change when someone edits elsewhere in the file, and with them the effect that was approved.
    """
    old, new = _rows(before or b""), _rows(after)
    rows = [f"--- a/{path}" if before is not None else "--- /dev/null", f"+++ b/{path}"]
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            rows += ["@@", *(f"-{row}" for row in old[a:b]), *(f"+{row}" for row in new[c:d])]
    return "\n".join(rows) + "\n"


def _rows(data: bytes) -> list[str]:
    try:
        text = decode(data)
    except Unreadable:
        text = data.decode("utf-8", "replace")
    rows = text.split("\n")
    ends = rows.pop() if rows[-1] == "" else None
    rows = [_visible(row.removesuffix("\r")) for row in rows]
    if ends is None and rows:
        rows[-1] += "\n\\ No newline at end of file"
    return rows


def _visible(row: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in row)


def _line(text: str) -> str:
    """Text on one line: white space joined, control, format and unassigned characters left out (Unicode category C)."""
    joined = re.sub(r"\s+", " ", text)
    return "".join(c for c in joined if not unicodedata.category(c).startswith("C")).strip()
