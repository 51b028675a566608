"""Completion knows what the parser knows, in a shell that sources it."""

from __future__ import annotations

import argparse
import shutil
import subprocess

import pytest

from infra_mcp.cli.completion import SHELLS, commands
from infra_mcp.cli.main import main, parser

ALL = list(commands(parser()))


def words_of(tree, path=()):
    """What argparse itself takes at each step, by the words that lead there."""
    inner = [one for one in tree._actions if isinstance(one, argparse._SubParsersAction)]
    yield path, {word for one in tree._actions for word in one.option_strings}
    for group in inner:
        for word, below in group.choices.items():
            yield from words_of(below, (*path, word))


def test_what_is_completed_is_what_the_parser_takes():
    assert {one.path: set(one.options) for one in ALL} == dict(words_of(parser()))


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The bash script, as printed."""
    file = tmp_path_factory.mktemp("completion") / "infra-mcp.bash"
    file.write_text(SHELLS["bash"](ALL), encoding="utf-8")
    return file


def completed(script, line):
    """What a real bash offers for a command line that ends where the cursor is."""
    words = line.split(" ")
    source = (
        'set -u; source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=();'
        '_infra_mcp; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    argv = ["bash", "--norc", "-c", source, "bash", script, *words]
    done = subprocess.run(argv, capture_output=True, text=True, encoding="utf-8", check=False, cwd=script.parent)
    assert done.returncode == 0, done.stderr
    return {word for word in done.stdout.splitlines() if word}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("infra-mcp dep", {"deploy"}),
        ("infra-mcp request ", {"list", "show", "watch", "cancel", "-h", "--help"}),
        ("infra-mcp request l", {"list"}),
        ("infra-mcp audit s", {"search", "show"}),
        ("infra-mcp deploy docs 1 --on-f", {"--on-failure"}),
        ("infra-mcp deploy docs 1 --on-failure ", {"rollback", "hold"}),
        ("infra-mcp deploy docs 1 --on-failure h", {"hold"}),
        ("infra-mcp deploy docs 1 --summary infra", {"infra-mcp.bash"}),
        ("infra-mcp --repo . inb", {"inbox"}),
        ("infra-mcp completion b", {"bash"}),
        ("infra-mcp backup infra", {"infra-mcp.bash"}),
        ("infra-mcp deploy docs 1 --reason ", set()),
        ("infra-mcp nothing-of-the-kind ", None),
    ],
)
def test_bash_completes(script, line, expected):
    found = completed(script, line)

    if expected is None:
        assert "deploy" in found  # what is not known leads nowhere
    else:
        assert found == expected


@pytest.mark.parametrize("command", ALL, ids=lambda one: " ".join(one.path) or "top")
def test_bash_offers_every_verb_and_option_of_every_command(script, command):
    found = completed(script, " ".join(["infra-mcp", *command.path, ""]))
    options = completed(script, " ".join(["infra-mcp", *command.path, "-"]))

    assert found >= {*command.verbs, *command.arguments}
    assert options == set(command.options)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_every_verb_and_option(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out

    for command in ALL:
        for verb in command.verbs:
            assert verb in text
        for option in command.options:
            form = option.lstrip("-")
            assert (f"-l {form}" in text or f"-s {form}" in text) if shell == "fish" else option in text


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_that_is_there_takes_its_script(shell, tmp_path):
    if shutil.which(shell) is None:
        return  # nothing to show: that all words are in it is shown above
    file = tmp_path / "script"
    file.write_text(SHELLS[shell](ALL), encoding="utf-8")
    done = subprocess.run([shell, "-n", file], capture_output=True, text=True, encoding="utf-8", check=False)

    assert (done.returncode, done.stderr) == (0, "")
