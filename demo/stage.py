"""How the demo tells its story: numbered steps, each with the command it ran and what that printed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

__all__ = ["Failed", "Stage"]


class Failed(Exception):  # noqa: N818 - told to a person
    """A step did not come out as the story says."""


class Stage:
    """Prints and runs. Colour only on a terminal that wants it.

    Args:
        env: the environment of everything the demo starts.
    """

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._step = 0

    def step(self, title: str) -> None:
        """Begin a numbered step."""
        self._step += 1
        print(f"\n{self._bold(f'{self._step}. {title}')}", flush=True)

    def tell(self, text: str) -> None:
        """A sentence of the story."""
        print(textwrap.fill(text, 110, initial_indent="   ", subsequent_indent="   "), flush=True)

    def show(self, text: str, lines: int = 40, *, wrap: bool = False) -> None:
        """Output of something, indented, its length bounded; prose is wrapped, other lines are cut."""
        found = text.rstrip("\n").splitlines()
        if wrap:
            found = [part for line in found for part in textwrap.wrap(line, 130, subsequent_indent="    ") or [""]]
        for line in found[:lines]:
            print(f"     {line}"[:180])
        if len(found) > lines:
            print(f"     … {len(found) - lines} more lines")
        sys.stdout.flush()

    def command(self, *words: str) -> None:
        """Show a command as a person would type it."""
        print(f"   {self._bold('$ ' + shlex.join(words))}", flush=True)

    def run(
        self,
        *argv: str | Path,
        expect: int = 0,
        shown: str | None = None,
        quiet: bool = False,
        lines: int = 40,
        stdin: str | None = None,
        cwd: Path | None = None,
    ) -> str:
        """Run a command, show it and what it printed, and return its standard output.

        Raises:
            Failed: its exit code is not the expected one.
        """
        words = [str(word) for word in argv]
        if shown is None:
            words[0] = Path(words[0]).name
            self.command(*words)
            words[0] = str(argv[0])
        elif shown:
            print(f"   {self._bold('$ ' + shown)}", flush=True)
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=self.env,
            cwd=cwd,
            check=False,
            timeout=1800,
        )
        if not quiet or done.returncode != expect:
            self.show(done.stdout, lines)
            self.show(done.stderr, lines)
        if done.returncode != expect:
            msg = f"{shlex.join(words)} ended with {done.returncode}, not {expect}"
            raise Failed(msg)
        return done.stdout

    def _bold(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self._colour else text
