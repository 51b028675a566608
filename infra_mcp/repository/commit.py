"""Commit messages that no text can forge, and diffs that only show what changed."""

from __future__ import annotations

import difflib
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby

from infra_mcp.model.digest import digest
from infra_mcp.model.forge_text import inert_line
from infra_mcp.model.forge_text import title as inert_title
from infra_mcp.repository.nodes import Unreadable, decode
from infra_mcp.text import one_line, visible

TRAILERS = (
    "Infra-Request",
    "Requested-By",
    "Acted-By",
    "Effect-Digest",
    "Audit-Head",
    "Audit-Proof",
    "Idempotency-Key",
)
_OF_PEERS = {"Requested-By", "Acted-By", "Idempotency-Key"}  # the values of the others are our own
LONGEST_SUBJECT, MAX_LINE, LONGEST_BODY, LONGEST_VALUE = 100, 500, 200, 300
LONGEST_DIFF, LONGEST_ROW = 1000, 2000  # rows, characters
SMALL = 2500  # pairs of rows that are compared one by one
_OTHER_SPACE = re.compile(r"[^\S \t]")
# What git-interpret-trailers(1) gives a meaning at the start of a line: a trailer, a comment or scissors line, the line
# that divides message and patch, the note of a cherry-pick.
_STRUCTURE = re.compile(r"[A-Za-z0-9-]+\s*[:=#]|#|---|\(cherry picked|;|[=:]")


def message(subject: str, body: str, trailers: Mapping[str, str]) -> str:
    """A commit message: one subject line, the body, and the trailers as the last paragraph.

    Subject, body and values may hold any text. No line of it can be read as a trailer, a divider or a comment: line
    breaks and control characters are removed, and a body line with a meaning to git is indented. Nothing of it has a
    meaning to a forge that the commit is pushed to, then or later.

    Args:
        subject: what was done, cut to 100 characters.
        body: why; cut to 200 lines.
        trailers: by the names of `TRAILERS`; one with an empty value is left out.

    Raises:
        ValueError: a trailer has another name.
    """
    if unknown := trailers.keys() - set(TRAILERS):
        raise ValueError(unknown)
    title = inert_title(subject, LONGEST_SUBJECT)
    rows = [inert_line(row, MAX_LINE) for row in re.split(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", body)]
    text = "\n".join(f" {row}" if _STRUCTURE.match(row) else row for row in rows[:LONGEST_BODY])
    text = re.sub(r"\n{3,}", "\n\n", text).strip("\n").rstrip()
    values = {name: one_line(trailers[name], LONGEST_VALUE) for name in TRAILERS if name in trailers}
    values |= {name: inert_line(value, LONGEST_VALUE) for name, value in values.items() if name in _OF_PEERS}
    block = "\n".join(f"{name}: {value}" for name, value in values.items() if value)
    return "\n\n".join(part for part in (title, text, block) if part) + "\n"


def diff(path: str, before: bytes | None, after: bytes | None) -> str:
    """A unified diff of one file for people, without context lines and line numbers, in linear time.

    Both would change when someone edits elsewhere in the file, and with them the approved effect. A diff that is too
    long to be read ends with the digest of its rest.
    """
    old, new = _rows(before or b""), _rows(after or b"")
    rows: list[str] = []
    for a, b, c, d in _hunks(old, new):
        rows += ["@@", *(f"-{row}" for row in old[a:b]), *(f"+{row}" for row in new[c:d])]
    if len(rows) > LONGEST_DIFF:
        rest = digest(rows[LONGEST_DIFF:])
        rows[LONGEST_DIFF:] = [f"@@ {len(rows) - LONGEST_DIFF} more rows, {rest}"]
    head = [
        f"--- a/{path}" if before is not None else "--- /dev/null",
        f"+++ b/{path}" if after is not None else "+++ /dev/null",
    ]
    return "\n".join([*head, *rows]) + "\n"


def _hunks(old: list[str], new: list[str]) -> Iterator[tuple[int, int, int, int]]:
    """Where the two differ, as slices of both.

    Rows that are unique in each are matched first, as far as their order is the same, and cut the texts into pieces.
    Equal rows at both ends of a piece are left out, and the rest is compared if it is small.
    """
    i = j = 0
    for end_i, end_j in [*_anchors(old, new), (len(old), len(new))]:
        yield from _piece(old, new, (i, end_i, j, end_j))
        i, j = end_i + 1, end_j + 1


def _anchors(old: list[str], new: list[str]) -> list[tuple[int, int]]:
    """The longest run of rows that are unique in each and in the same order."""
    counts, others = Counter(old), Counter(new)
    place = {row: j for j, row in enumerate(new) if others[row] == 1 and counts[row] == 1}
    ends: list[int] = []  # the least place in `new` at which a run of each length can end
    runs: list[tuple[tuple[int, int], int]] = []  # each matched row, and the one before it in its run
    last: list[int] = []  # which of `runs` ends there
    for i, row in enumerate(old):
        if (j := place.get(row)) is not None:
            at = bisect_left(ends, j)
            ends[at : at + 1], last[at : at + 1] = [j], [len(runs)]
            runs.append(((i, j), last[at - 1] if at else -1))
    found, here = [], last[-1] if last else -1
    while here >= 0:
        pair, here = runs[here]
        found.append(pair)
    return found[::-1]


def _piece(old: list[str], new: list[str], where: tuple[int, int, int, int]) -> Iterator[tuple[int, int, int, int]]:
    a, b, c, d = where
    while a < b and c < d and old[a] == new[c]:
        a, c = a + 1, c + 1
    while a < b and c < d and old[b - 1] == new[d - 1]:
        b, d = b - 1, d - 1
    if (b - a) * (d - c) <= SMALL:
        for tag, *part in difflib.SequenceMatcher(None, old[a:b], new[c:d], autojunk=False).get_opcodes():
            if tag != "equal":
                yield a + part[0], a + part[1], c + part[2], c + part[3]
    elif b - a == d - c:  # row by row: edits of values keep the number of rows
        for differs, group in groupby(range(b - a), lambda i: old[a + i] != new[c + i]):
            part = list(group)
            if differs:
                yield a + part[0], a + part[-1] + 1, c + part[0], c + part[-1] + 1
    else:
        yield a, b, c, d


def _rows(data: bytes) -> list[str]:
    try:
        text = decode(data)
    except Unreadable:
        text = data.decode("utf-8", "replace")
    *rows, last = text.split("\n")
    rows = [_visible(_short(row.removesuffix("\r"))) for row in [*rows, last]]
    if not last:
        return rows[:-1]
    return [*rows[:-1], rows[-1] + "\n\\ No newline at end of file"]


def _short(row: str) -> str:
    if len(row) <= LONGEST_ROW:
        return row
    return f"{row[:LONGEST_ROW]}… ({len(row)} characters, {digest(row)})"


def _visible(row: str) -> str:
    """A row with every character visible, spaces of other widths too: they are changes like any other."""
    return visible(_OTHER_SPACE.sub(lambda found: f"\\u{ord(found[0]):04x}", row))
