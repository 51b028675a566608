"""Peers' words in texts for a forge: made inert, so that no forge and no bot there does what they say.

A forge reads commands out of titles, bodies, comments and commit messages: who is mentioned is told, `Closes #1` closes
an issue at the merge, `[skip ci]` keeps checks from running, `/approve` and `bors r+` are orders to bots. A fence is no
protection alone: bots read the source of a comment, and a squash merge makes a commit message of it.
So the characters that begin such a command are set apart from what follows by a space, which changes no word: a search
for the words finds them. Brackets become round ones. What stays hidden is made visible first (`infra_mcp.text`).

Sources: GitHub's documentation ("Basic writing and formatting syntax", "Autolinked references and URLs", "Using
keywords in issues and pull requests", "Skipping workflow runs"), GitLab's ("Quick actions", "Pipelines: skip a
pipeline"), Gitea's source (`modules/references`, the setting `SKIP_WORKFLOW_STRINGS`), Prow's and bors' commands.
"""

from __future__ import annotations

import re
from typing import Final

from infra_mcp.text import FRAGMENT, one_line, visible

MAX_LINES, MAX_LINE = 200, 500  # of a text in a fence; characters of a line
_BRACKETS: Final = str.maketrans("[]", "()")  # [skip ci] in all its spellings, links, images, task lists
_APART: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"<(?=[A-Za-z/!?])", "< "),  # tags, comments, <https://…>, the address of a co-author
        (r"&(?=[A-Za-z][A-Za-z0-9]{1,31};)", "& "),  # &commat; is an @ in Markdown; numbers are met by the next but one
        (r":(?=//)", ": "),  # an address of an issue is a reference like its number
        (r"(?<![A-Za-z0-9_])@(?=[\w-])", "@ "),  # people, teams and bots; not the @ of an address or a digest
        (r"#(?=\w)", "# "),  # issues, also owner/repo#1
        (r"!(?=\d)", "! "),  # pull requests at Gitea and GitLab
        (r"(?i)\bGH-(?=\d)", "GH- "),
        (r"(?<![\w./-])/(?=[A-Za-z])", "/ "),  # quick actions and bots' commands; not the slash of a path
        (r"\*{3}(?=\w)", "* * *"),  # ***NO_CI***
        (r"(?im)^([ \t]*(?:(?:[a-z]+-)+by|(?:skip|request)-checks|change-id|depends-on)):", r"\1 :"),  # trailers
    )
)
# How a title begins that has a meaning: a draft, a command to a bot, a commit that git folds into another.
_LEADS = re.compile(r"(?i)\W|(wip|draft|bors|fixup!|squash!|amend!|r\?|r\+)(?!\w)")
_BACKTICKS = re.compile("`+")


def inert(text: str) -> str:
    """A text of several lines in which nothing is a command, a reference or a mention; all characters are visible."""
    text = visible(text).translate(_BRACKETS)
    for pattern, replacement in _APART:
        text = pattern.sub(replacement, text)
    return text


def inert_line(text: str, most: int = FRAGMENT) -> str:
    """The same as one line of at most so many characters, before spaces are put in."""
    return inert(one_line(text, most))


def title(text: str, most: int = FRAGMENT) -> str:
    """The title of a pull request or commit: one inert line that begins with a word without a meaning of its own."""
    line = inert_line(text, most)
    return f"infra-mcp: {line}" if _LEADS.match(line) else line or "infra-mcp"


def code(text: str, most: int = FRAGMENT) -> str:
    """A peer's words in a sentence of Markdown: one inert line in a code span that it cannot end."""
    line = inert_line(text, most)
    ticks = "`" * (_longest_run(line) + 1)
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line or ' '}`"


def fenced(text: str) -> str:
    """A peer's text in Markdown: a fence that it cannot end, and each line of it quoted, since bots read the source."""
    lines = visible(text).split("\n")
    shown = [f"> {inert_line(line, MAX_LINE)}".rstrip() for line in lines[:MAX_LINES]]
    if len(lines) > MAX_LINES:
        shown.append(f"({len(lines) - MAX_LINES} more lines not shown)")
    fence = "`" * max(3, _longest_run("\n".join(shown)) + 1)
    return "\n".join([f"{fence}text", *shown, fence])


def _longest_run(text: str) -> int:
    return max((len(run) for run in _BACKTICKS.findall(text)), default=0)
