"""Completion knows what the parser knows, in a shell that sources it."""

from __future__ import annotations

import argparse
import shutil
import subprocess

import pytest

from infra_mcp.cli import completion
from infra_mcp.cli.main import main, parser


def verbs_of(tree):
    """The verbs that a parser takes next, each with its own parser."""
    return {
        word: below
        for one in tree._actions
        if isinstance(one, argparse._SubParsersAction)
        for word, below in one.choices.items()
    }


def parsers_of(tree, path=()):
    """Every step of the grammar: the words that lead to it, and its parser."""
    yield path, tree
    for word, below in verbs_of(tree).items():
        yield from parsers_of(below, (*path, word))


def options_of(tree):
    return {word for one in tree._actions for word in one.option_strings}


def first_of(tree):
    """What the first argument may be, where that is a fixed list."""
    return {*verbs_of(tree), *(next((one.choices for one in tree._actions if not one.option_strings), None) or ())}


ALL = list(parsers_of(parser()))


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The bash script, as printed."""
    file = tmp_path_factory.mktemp("completion") / "infra-mcp.bash"
    file.write_text(completion.script(parser(), "bash"), encoding="utf-8")
    return file


def completed(script, *lines):
    """What one real bash offers for each command line that ends where the cursor is."""
    source = (
        'set -u; source "$1"; shift; for line; do IFS=" " read -r -a COMP_WORDS <<< "${line}."; '
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_WORDS[COMP_CWORD]=${COMP_WORDS[COMP_CWORD]%.}; COMPREPLY=(); "
        '_shtab_infra_mcp; printf "%s\\n" "${COMPREPLY[@]}" "=="; done'
    )
    argv = ["bash", "--norc", "-c", source, "bash", script, *lines]
    done = subprocess.run(argv, capture_output=True, text=True, encoding="utf-8", check=False, cwd=script.parent)
    assert done.returncode == 0, done.stderr
    return [{word for word in part.splitlines() if word} for part in done.stdout.split("==\n")[:-1]]


EXPECTED = {
    "infra-mcp dep": {"deploy"},
    "infra-mcp request ": {"list", "show", "watch", "cancel", "resolve"},
    "infra-mcp request -": {"-h", "--help"},
    "infra-mcp request l": {"list"},
    "infra-mcp audit s": {"search", "show"},
    "infra-mcp deploy docs 1 --on-f": {"--on-failure"},
    "infra-mcp deploy docs 1 --on-failure ": {"rollback", "hold"},
    "infra-mcp deploy docs 1 --on-failure h": {"hold"},
    "infra-mcp deploy docs 1 --summary infra": {"infra-mcp.bash"},
    "infra-mcp --repo . inb": {"inbox"},
    "infra-mcp completion b": {"bash"},
    "infra-mcp backup infra": {"infra-mcp.bash"},
    "infra-mcp deploy docs 1 --reason ": set(),
}


def test_bash_completes(script):
    *found, unknown = completed(script, *EXPECTED, "infra-mcp nothing-of-the-kind ")

    assert dict(zip(EXPECTED, found, strict=True)) == EXPECTED
    assert "deploy" in unknown  # what is not known leads nowhere


def test_bash_offers_every_verb_and_option_of_every_command(script):
    found = completed(script, *(" ".join(["infra-mcp", *path, ""]) for path, _ in ALL))
    options = completed(script, *(" ".join(["infra-mcp", *path, "-"]) for path, _ in ALL))

    for (path, tree), offered in zip(ALL, found, strict=True):
        assert offered >= first_of(tree), path
    assert options == [options_of(tree) for _, tree in ALL]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_shell_gets_every_verb_and_option(shell, capsys):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out

    for _, tree in ALL:
        for verb in verbs_of(tree):
            assert verb in text
        for option in options_of(tree):
            form = option.lstrip("-")
            assert (f"-l {form}" in text or f"-s {form}" in text) if shell == "fish" else option in text


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_shell_that_is_there_takes_its_script(shell, tmp_path):
    if shutil.which(shell) is None:
        return  # nothing to show: that all words are in it is shown above
    file = tmp_path / "script"
    file.write_text(completion.script(parser(), shell), encoding="utf-8")
    done = subprocess.run([shell, "-n", file], capture_output=True, text=True, encoding="utf-8", check=False)

    assert (done.returncode, done.stderr) == (0, "")
