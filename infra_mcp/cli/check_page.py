"""What a check found, as text, and as Markdown for a comment on the pull request.

The texts in it are people's: names of files, values, objects. In Markdown they stand in fenced blocks only, each behind
a sign or a space at the beginning of its line. So they are no links, mentions, images, HTML or commands of bots, and
cannot end their block. A comment has a bound, which GitHub sets at 65,536 characters; what is beyond it is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from infra_mcp.text import one_line, visible

_LONGEST: Final = 60_000  # characters of a comment
_LONGEST_LINE: Final = 400
_SHORT: Final = 120
_ROWS: Final = 200  # of a part of the text
_DIFF_ROWS: Final = 60  # of one object in a comment
_VERDICTS: Final = {
    "allow": "nothing in policy is against it",
    "needs-approval": "people must approve it",
    "refuse": "policy refuses it",
}
_TICKS: Final = re.compile("`+")


def text(found: dict[str, Any]) -> str:
    """For people at a terminal, and for a pipeline's log."""
    lines = [_title(found)]
    for name, rows in _parts(found):
        if rows:
            lines += ["", f"{name}:", *(f"  {row}" for row in _bounded(rows))]
    diffs = [one for one in found["objects"] if one["diff"]]
    for one in diffs:
        lines += ["", _object(one), *(_line(row) for row in one["diff"].splitlines())]
    return "\n".join(lines)


def markdown(found: dict[str, Any]) -> str:
    """For a comment, or a pipeline's page."""
    page = f"### infra-mcp check: {_VERDICTS[found['decision']]}\n\n{_compared(found)}\n"
    for name, rows in _parts(found):
        if rows:
            page += f"\n**{name[:1].upper()}{name[1:]}**\n\n{_block('text', [f' {row}' for row in _bounded(rows)])}\n"
    diffs = [one for one in found["objects"] if one["diff"]]
    left = 0
    begun = "\n<details><summary>Rendered difference</summary>\n\n"
    for one in diffs:
        rows = one["diff"].splitlines()
        more = [f"@@ {len(rows) - _DIFF_ROWS} more rows @@"] if len(rows) > _DIFF_ROWS else []
        block = _block("diff", [f"# {_object(one)}", *map(_line, rows[:_DIFF_ROWS]), *more]) + "\n\n"
        if len(page) + len(begun) + len(block) > _LONGEST:
            left += 1
            continue
        page += begun + block
        begun = ""
    if not begun:
        page += "</details>\n"
    if left:
        page += f"\n{left} more objects differ: the comment has no room for them.\n"
    return page if len(page) <= _LONGEST else _shortened(found)


def _shortened(found: dict[str, Any]) -> str:
    """The verdict alone, where the rest has no room."""
    rows = [_line(f"{one['decision']} {one['rule']}", _SHORT) for one in found["findings"]][:_ROWS]
    page = f"### infra-mcp check: {_VERDICTS[found['decision']]}\n\n{_compared(found)}\n"
    return (
        page + (f"\n{_block('text', [f' {row}' for row in rows])}\n" if rows else "") + "\nThe rest has no room here.\n"
    )


def _title(found: dict[str, Any]) -> str:
    return f"{found['base'][:12]}..{found['head'][:12]}: {_VERDICTS[found['decision']]}"


def _compared(found: dict[str, Any]) -> str:
    by = f"policy `{found['policy'][:19]}` of the base" if found["policy"] else "no infra.toml in the base"
    return f"`{found['head'][:12]}` compared with `{found['compared_with'][:12]}`, by {by}. {_counted(found)}"


def _counted(found: dict[str, Any]) -> str:
    objects = len(found["objects"])
    return f"Files: {len(found['files'])}. Deliveries: {len(found['reach'])}. Objects: {objects}."


def _parts(found: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The parts that both forms have, each with its lines."""
    yield "policy", [row for one in found["findings"] for row in _finding(one)]
    yield "apps", _settings(found["settings"])
    yield "other values", [_value(one) for one in found["values"]]
    yield "reaches", list(dict.fromkeys(row for one in found["reach"] for row in _reached(one)))
    yield "objects", [_object(one) for one in found["objects"]]
    yield "not rendered here", [_line(one) for one in found["unrendered"]]
    yield "files", [_line(f"{one['operation']} {one['path']}") for one in found["files"]]
    yield "notes", [_line(one) for one in (*found["lacks"], *found["notes"])]


def _finding(one: dict[str, Any]) -> Iterator[str]:
    yield _line(f"{one['decision']} {one['rule']}: {one['reason']}", 2 * _LONGEST_LINE)
    if one["would_pass"]:
        yield _line(f"    would pass: {one['would_pass']}")


def _settings(found: Sequence[dict[str, Any]]) -> list[str]:
    return [
        _line(
            f"{one['app']}{_in(one['environment'])} {one['setting']}: {_side(one['before'])} -> {_side(one['after'])}"
            f" at {one['at']}{_owner(one['owner'])}"
        )
        for one in found
    ]


def _in(environment: str | None) -> str:
    return f" in {environment}" if environment else ""


def _owner(owner: str | None) -> str:
    return f", of {owner}" if owner else ""


def _side(value: str | None) -> str:
    return "(none)" if value is None else value


def _value(one: dict[str, Any]) -> str:
    return _line(f"{one['at']}: {_side(one['before'])} -> {_side(one['after'])}")


def _reached(one: dict[str, Any]) -> Iterator[str]:
    cluster = f" on {one['cluster']}" if one["cluster"] else ""
    by = f" ({one['by']})" if one["by"] else ""
    apps = f": {', '.join(one['apps'])}" if one["apps"] else ""
    yield _line(f"{one['delivery']} {one['root']}{cluster}{by}{apps}")
    if one["unbuilt"]:
        yield _line(f"    not built, so it counts as reached: {one['unbuilt']}")


def _object(one: dict[str, Any]) -> str:
    return _line(f"{one['operation']} {one['target']} by {one['root']}")


def _line(row: str, most: int = _LONGEST_LINE) -> str:
    """A row as one visible line."""
    indent = row[: len(row) - len(row.lstrip(" "))]
    shown = visible(row.replace("\n", " ").replace("\t", " ")).replace("##[", "## [")
    if shown.lstrip().startswith("::"):  # with `##[` a command to the runner of GitHub Actions or Gitea Actions
        shown = shown.replace("::", ": :")
    return shown if len(shown) <= most else indent + one_line(row, most)


def _bounded(rows: Sequence[str]) -> list[str]:
    return [*rows[:_ROWS], f"… and {len(rows) - _ROWS} more"] if len(rows) > _ROWS else list(rows)


def _block(language: str, rows: Iterable[str]) -> str:
    """Rows as a fenced block whose fence is longer than any in it."""
    body = "\n".join(rows)
    fence = "`" * max(3, 1 + max((len(run) for run in _TICKS.findall(body)), default=0))
    return f"{fence}{language}\n{body}\n{fence}"
