"""The examples of a page, run: files of a section become a checkout, and each command prints what the page says.

In a section (below any heading) fenced blocks give the files, each behind a line `# path/of/a/file.yaml`. A block
`console` has commands behind `$`, each with what it prints on both streams.
Run this to write what they print now into the pages.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from infra_mcp.cli.main import main as infra_mcp

__all__ = ["PAGES", "Example", "examples", "printed"]

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("repositories.md", "policy.md", "terraform.md", "helm.md", "dns.md")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"# ((?:[\w.-]+/)+[\w.-]+|[\w-]+\.(?:yaml|toml))")


@dataclass
class Example:
    """A section's files and commands."""

    title: str
    files: dict[str, str] = field(default_factory=dict)
    consoles: list[str] = field(default_factory=list)


def examples(text: str) -> list[Example]:
    """The sections of a page that have commands."""
    found = []
    for section in re.split(r"^(?=#{2,4} )", text, flags=re.MULTILINE):
        one = Example(section.partition("\n")[0].lstrip("# "))
        for language, body in _BLOCK.findall(section):
            if language == "console":
                one.consoles.append(body)
            else:
                one.files |= dict(_files(body))
        if one.files and one.consoles:
            found.append(one)
    return found


def _files(body: str) -> Iterator[tuple[str, str]]:
    path, lines = "", []
    for line in [*body.splitlines(keepends=True), "# the/end\n"]:
        if begins := _PATH.fullmatch(line.rstrip("\n")):
            if path:
                yield path, "".join(lines)
            path, lines = begins[1], []
        else:
            lines.append(line)


def printed(example: Example) -> list[str]:
    """Each console block as it comes out in a checkout of the section's files."""
    with TemporaryDirectory() as folder:
        repo = Path(folder, "infra")
        for path, text in example.files.items():
            (repo / path).parent.mkdir(parents=True, exist_ok=True)
            (repo / path).write_text(text, encoding="utf-8")
        for words in (("init", "-q", "-b", "main"), ("add", "--all"), ("commit", "-q", "-m", "As it is")):
            _git(repo, *words)
        return [_console(body, repo) for body in example.consoles]


def _git(repo: Path, *words: str) -> None:
    person = ("-c", "user.name=Pat", "-c", "user.email=pat@example.org")
    clean = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}
    subprocess.run(["git", "-C", str(repo), *person, *words], check=True, env=clean, stdin=subprocess.DEVNULL)


def _console(body: str, repo: Path) -> str:
    lines = []
    for command in re.findall(r"^\$ (.*)$", body, re.MULTILINE):
        program, *words = shlex.split(command)
        if program != "infra-mcp":
            raise ValueError(command)
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            infra_mcp([*words, "--repo", str(repo)])
        lines.append(f"$ {command}\n{out.getvalue().rstrip()}\n")
    return "".join(lines)


def _written(text: str) -> str:
    """A page with what its commands print now."""
    for one in examples(text):
        for before, now in zip(one.consoles, printed(one), strict=True):
            text = text.replace(f"```console\n{before}```", f"```console\n{now}```", 1)
    return text


def main() -> int:
    """Write the pages anew."""
    for name in PAGES:
        page = DOCS / name
        page.write_text(_written(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
