"""What a command did, as Markdown for a pipeline's page: `--summary FILE`, which may be GITHUB_STEP_SUMMARY.

Texts that peers, clusters and registries wrote stand in it as texts: they make no links, headings, images, mentions or
HTML, and cannot end the block they stand in.
"""

from __future__ import annotations

import argparse
import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra_mcp.cli.client import Client
from infra_mcp.cli.options import connected
from infra_mcp.cli.output import note, text_of
from infra_mcp.cli.stopping import INTERRUPTED, TERMINATED, Terminated
from infra_mcp.codes import Exit
from infra_mcp.errors import InfraError
from infra_mcp.text import escaped

_LONGEST = 10_000  # characters of a block
_LONGEST_CELL = 500
_MARKUP = re.compile(r"[\\`*_{}\[\]|#~!$]")
_LINKS = re.compile(r"://|www\.|@", re.IGNORECASE)
_ENDS = {
    int(Exit.LANDED): "done",
    int(Exit.FAILED): "failed",
    int(Exit.INVALID): "not well formed",
    int(Exit.REFUSED): "refused",
    int(Exit.WAITING): "waiting for an approval",
    int(Exit.NOT_UNDERSTOOD): "not understood",
    int(Exit.UNREACHABLE): "no server, no cluster, or the wait ran out",
    int(Exit.NEEDS_OPERATOR): "a person must look",
    INTERRUPTED: "interrupted; what was asked goes on",
    TERMINATED: "cancelled; what was asked goes on",
}
_ROWS = (
    ("state", "state"),
    ("request", "request"),
    ("correlation_id", "ask"),
    ("effect_digest", "effect"),
    ("commit", "commit"),
    ("revert", "revert"),
    ("audit_head", "audit head"),
    ("idempotency_key", "idempotency key"),
)


def inline(text: str) -> str:
    """A text as one line of Markdown that means nothing but itself (CommonMark 0.31, and GitHub's additions)."""
    short = escaped(text[:_LONGEST_CELL]).replace("\n", " ").replace("\t", " ")
    marked = _MARKUP.sub(lambda found: f"\\{found[0]}", html.escape(short, quote=False))
    return _LINKS.sub(lambda found: "".join(f"&#{ord(c)};" if c in ":/.@" else c for c in found[0]), marked)


def block(text: str) -> str:
    """A text as a fenced block whose fence is longer than any in the text."""
    kept = escaped(text[:_LONGEST]) + ("\n…" if len(text) > _LONGEST else "")
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", kept)), default=0))
    return f"{fence}text\n{kept}\n{fence}"


def summary_option(parser: argparse.ArgumentParser) -> None:
    """`--summary`."""
    parser.add_argument("--summary", metavar="FILE", help="also append the outcome to this file, as Markdown")


@dataclass
class Summary:
    """What a command knows of its outcome so far; written once, at its end."""

    title: str
    data: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    def result(self, result: dict[str, Any], text: str | None = None) -> None:
        """Take in a tool's result."""
        self.data |= result.get("structuredContent") or {}
        self.text = text_of(result) if text is None else text

    def markdown(self, code: int) -> str:
        """The page for an end with this exit code."""
        lines = [f"### infra-mcp {inline(self.title)}: {_ENDS.get(code, 'failed')}", ""]
        rows = [(word, str(self.data[key])) for key, word in _ROWS if self.data.get(key)]
        if objects := self.data.get("objects"):
            rows.append(("objects", ", ".join(map(str, objects))))
        lines += ["| | |", "|---|---|", *(f"| {word} | {inline(value)} |" for word, value in rows)]
        lines.append(f"| exit code | {code} |")
        if self.text:
            lines += ["", block(self.text)]
        return "\n".join(lines) + "\n\n"


def summarized(options: argparse.Namespace, title: str, work: Callable[[Client, Summary], int]) -> int:
    """Run `work` on a connection to the server, and write its outcome to `--summary`, however it ends.

    Raises:
        InfraError: `invalid-argument`, before anything is asked, when the file cannot be written; and what the work
            ends in.
    """
    summary = Summary(title)
    if options.summary is None:
        return connected(options, lambda client: work(client, summary))
    file = Path(options.summary)
    try:
        with file.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise InfraError("invalid-argument", f"--summary: the file cannot be written: {error.strerror}.") from None
    code = int(Exit.FAILED)
    try:
        code = connected(options, lambda client: work(client, summary))
    except InfraError as error:
        code, summary.text = int(error.exit), str(error)
        raise
    except (KeyboardInterrupt, Terminated) as stop:
        code = TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
        summary.text = "\n".join(getattr(stop, "__notes__", ()))
        raise
    finally:
        try:
            with file.open("a", encoding="utf-8") as out:
                out.write(summary.markdown(code))
        except OSError as error:
            note(f"The summary could not be written: {error.strerror}.")
    return code
