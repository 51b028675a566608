"""`infra-mcp completion`: completion scripts for shells, made from the parser, so that they know what it knows."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from infra_mcp.cli.options import verb

_FILES = {"FILE", "DIR"}  # what an option or argument is called that takes a path


@dataclass(frozen=True)
class Command:
    """One step of the grammar: the words that lead to it, and what may follow."""

    path: tuple[str, ...]
    verbs: dict[str, str] = field(default_factory=dict)  # and what each does
    options: dict[str, str] = field(default_factory=dict)
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of options; empty where anything may follow
    files: frozenset[str] = frozenset()  # options that take a path
    arguments: tuple[str, ...] = ()  # what the first argument may be, where that is a fixed list
    takes_file: bool = False  # as its argument


def commands(tree: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[Command]:
    """The whole grammar, the shortest paths first."""
    options: dict[str, str] = {}
    values: dict[str, tuple[str, ...]] = {}
    files, verbs, arguments, takes_file = set(), {}, (), False
    below: list[tuple[str, argparse.ArgumentParser]] = []
    for action in tree._actions:  # noqa: SLF001 - argparse has no other way to look at a parser
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
            below = list(action.choices.items())
            verbs = {one.dest: one.help or "" for one in action._choices_actions}  # noqa: SLF001 - the same
        elif not action.option_strings:
            arguments = tuple(action.choices or ())
            takes_file = takes_file or action.metavar in _FILES
        for name in action.option_strings:
            options[name] = action.help or ""
            if action.nargs != 0:
                values[name] = tuple(action.choices or ())
                files |= {name} if action.metavar in _FILES else set()
    yield Command(path, verbs, options, values, frozenset(files), arguments, takes_file)
    for name, inner in below:
        yield from commands(inner, (*path, name))


def _bash(all_commands: list[Command]) -> str:
    lines = [
        "# bash completion for infra-mcp:  source <(infra-mcp completion bash)",
        "_infra_mcp() {",
        '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"',
        '  local path="" words="" values="" files="" word',
        "  COMPREPLY=()",
        '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        '    case "$path/$word" in',
        *(f"      {_bash_path(one.path)}) path={_bash_path(one.path)} ;;" for one in all_commands if one.path),
        "    esac",
        "  done",
        '  case "$path" in',
    ]
    for one in all_commands:
        words = " ".join([*one.verbs, *one.arguments, *one.options])
        lines.append(f"    {_bash_path(one.path) or chr(39) * 2})")
        lines.append(f"      words='{words}'{' files=1' if one.takes_file else ''}")
        if one.values:
            lines.append('      case "$prev" in')
            for name, choices in one.values.items():
                what = "files=2" if name in one.files else f"values='{' '.join(choices)}' files=3"
                lines.append(f"        {name}) {what} ;;")
            lines.append("      esac")
        lines.append("      ;;")
    return "\n".join(
        [
            *lines,
            "  esac",
            '  case "$files" in',
            '    3) COMPREPLY=($(compgen -W "$values" -- "$cur")) ;;',
            '    2) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")) ;;',
            '    1) COMPREPLY=($(compgen -W "$words" -- "$cur") $(compgen -f -- "$cur")) ;;',
            '    *) COMPREPLY=($(compgen -W "$words" -- "$cur")) ;;',
            "  esac",
            "}",
            "complete -F _infra_mcp infra-mcp",
        ]
    )


def _bash_path(path: tuple[str, ...]) -> str:
    return "".join(f"/{word}" for word in path)


def _zsh(all_commands: list[Command]) -> str:
    lines = [
        "#compdef infra-mcp",
        "# zsh completion for infra-mcp:  source <(infra-mcp completion zsh)",
        "_infra-mcp() {",
        '  local path_="" word prev="${words[CURRENT-1]}"',
        "  local -a found",
        '  for word in "${(@)words[2,CURRENT-1]}"; do',
        '    case "$path_/$word" in',
        *(f"      {_bash_path(one.path)}) path_={_bash_path(one.path)} ;;" for one in all_commands if one.path),
        "    esac",
        "  done",
        '  case "$path_" in',
    ]
    for one in all_commands:
        lines.append(f"    {_bash_path(one.path) or chr(39) * 2})")
        if one.values:
            lines.append('      case "$prev" in')
            for name, choices in one.values.items():
                what = "_files" if name in one.files else f"compadd -- {' '.join(choices)}" if choices else ":"
                lines.append(f"        {name}) {what}; return ;;")
            lines.append("      esac")
        known = {**one.verbs, **dict.fromkeys(one.arguments, ""), **one.options}
        lines += [
            "      found=(",
            *(f"        {_quoted(f'{name}:{words}')}" for name, words in known.items()),
            "      )",
        ]
        lines += ["      _describe infra-mcp found"] + (["      _files"] if one.takes_file else []) + ["      ;;"]
    # As a file in fpath it is run to complete, and completes; sourced, it says what it is for.
    end = 'if [ "$funcstack[1]" = "_infra-mcp" ]; then _infra-mcp "$@"; else compdef _infra-mcp infra-mcp; fi'
    return "\n".join([*lines, "  esac", "}", end])


def _fish(all_commands: list[Command]) -> str:
    lines = ["# fish completion for infra-mcp:  infra-mcp completion fish | source", "complete -c infra-mcp -f"]
    for one in all_commands:
        below = [other.path for other in all_commands if other.path[:-1] == one.path and other.path]
        seen = [f"__fish_seen_subcommand_from {word}" for word in one.path]
        unseen = f"not __fish_seen_subcommand_from {' '.join(path[-1] for path in below)}" if below else ""
        condition = "; and ".join([*seen, *([unseen] if unseen else [])])
        when = f" -n {_quoted(condition)}" if condition else ""
        for name, words in {**one.verbs, **dict.fromkeys(one.arguments, "")}.items():
            lines.append(f"complete -c infra-mcp{when} -a {name} -d {_quoted(words)}")
        if one.takes_file:
            lines.append(f"complete -c infra-mcp{when} -F")
        for name, words in one.options.items():
            form = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
            takes = ""
            if name in one.values:
                choices = " ".join(one.values[name])
                takes = " -r -F" if name in one.files else f" -x -a {_quoted(choices)}" if choices else " -x"
            lines.append(f"complete -c infra-mcp{when} {form}{takes} -d {_quoted(words)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """In single quotes, for zsh and fish alike: without what either would read inside them."""
    return "'" + text.replace("\\", "").replace("'", "") + "'"


SHELLS: dict[str, Callable[[list[Command]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}


def add_parser(verbs: Any, whole: Callable[[], argparse.ArgumentParser]) -> None:  # noqa: ANN401 - argparse's own
    """Add the verb; `whole` makes the parser that is completed."""
    parser = verb(
        verbs,
        "completion",
        "print a completion script for your shell",
        "completion bash > ~/.local/share/bash-completion/completions/infra-mcp",
        "completion zsh > ~/.zfunc/_infra-mcp",
        "completion fish > ~/.config/fish/completions/infra-mcp.fish",
    )
    parser.add_argument("shell", metavar="SHELL", choices=tuple(SHELLS), help="bash, zsh or fish")

    def run(options: argparse.Namespace) -> int:
        print(SHELLS[options.shell](list(commands(whole()))))
        return 0

    parser.set_defaults(run=run)
