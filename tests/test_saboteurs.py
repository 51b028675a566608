"""The saboteurs themselves: their patches apply, their promises exist, and being caught means what it should."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matrix
import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def _runner():
    spec = importlib.util.spec_from_file_location("saboteurs_run", HERE / "saboteurs" / "run.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


run = _runner()
SABOTEURS = run.load()
MARKED = matrix.marked()
ASKED_FOR = {
    "no-dry-run",
    "blind-force",
    "ack-before-landed",
    "undo-over-others",
    "lock-dropped",
    "event-after-effect",
    "policy-skipped-at-apply",
    "old-policy-new-action",
    "secret-unmasked",
    "create-only-dropped",
    "answered-before-durable",
    "looking-marks",
    "attendant-unlimited",
    "claim-without-end",
    "release-found-anywhere",
    "older-left-waiting",
    "older-than-landed",
    "written-although-so",
    "there-already-taken-for-made",
    "ack-awaited-by-nobody",
    "same-words-same-request",
    "masked-when-read",
    "commit-guessed-made",
    "commit-guessed-not-made",
    "approval-of-anything",
    "asker-approves",
    "session-approves-itself",
    "silence-is-yes",
    "revoked-token-passes",
    "two-owners",
    "base-edited",
    "other-environment",
    "other-environment-touched",
    "digest-dropped",
    "expanded-value",
    "reach-not-judged",
}


def test_every_safety_that_matters_most_has_its_saboteur():
    assert {one.name for one in SABOTEURS} >= ASKED_FOR


@pytest.mark.parametrize("saboteur", SABOTEURS, ids=lambda one: one.name)
def test_a_saboteur_still_applies_and_breaks_promises_that_tests_prove(saboteur, tmp_path):
    for patch in saboteur.patches:
        (tmp_path / patch.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / patch.file, tmp_path / patch.file)
    run.apply(saboteur, tmp_path)
    assert set(saboteur.promises) <= set(matrix.load("promise").sentences)
    assert set(saboteur.promises) <= set(MARKED)


@pytest.mark.parametrize("saboteur", SABOTEURS, ids=lambda one: one.name)
def test_the_tests_a_saboteur_names_prove_every_promise_it_breaks(saboteur):
    tests = {test.partition("[")[0] for test in saboteur.tests}
    proofs = [
        {test for test in tests if {test, test.partition("::")[0]} & set(MARKED[name])} for name in saboteur.promises
    ]
    assert all(proofs) or not tests
    assert set().union(*proofs) == tests
    assert all(f"def {test.rpartition('::')[2]}(" in (ROOT / test.partition("::")[0]).read_text() for test in tests)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with two commits that touched one file each; returns how to run git in it."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)

    def git(*words):
        identity = ["-c", "user.name=u", "-c", "user.email=u@example.invalid"]
        subprocess.run(["git", "-C", tmp_path, *identity, *words], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    for name in ("first", "second"):
        (tmp_path / name).write_text(name)
        git("add", name)
        git("commit", "-q", "-m", name)
    return git


def test_what_a_change_touched_is_what_differs_from_the_release_or_commit_before_it(repository, tmp_path):
    base, files = run.changed(tmp_path)
    assert base.startswith("the commit before")
    assert files == {"second"}
    (tmp_path / "first").write_text("edited, and not committed")
    assert run.changed(tmp_path)[1] == {"first", "second"}
    repository("tag", "v1", "HEAD~1")
    assert run.changed(tmp_path)[0].startswith("the last release")
    repository("branch", "upstream", "HEAD~1")
    repository("branch", "--set-upstream-to=upstream")
    assert run.changed(tmp_path)[0].startswith("its upstream")
    repository("checkout", "-q", "--orphan", "new")
    repository("commit", "-q", "-m", "all of it")
    assert run.changed(tmp_path) == ("nothing", {"first", "second"})


def test_with_little_time_no_further_saboteur_is_begun_and_those_left_out_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "_copy", lambda _, root: root)
    monkeypatch.setattr(run, "_caught", lambda *_: _ended("t", "failed"))
    assert run.prove([_saboteur()] * 2, tmp_path, minutes=-1) == 0
    assert "no time for one, one" in capsys.readouterr().out
    assert run.prove([_saboteur()] * 2, tmp_path, minutes=1) == 0
    assert "2 of 2 saboteurs caught" in capsys.readouterr().out


def test_what_may_notice_is_every_file_with_a_proof():
    files = {test.partition("::")[0] for name in ("git.first", "http.tokens") for test in MARKED[name]}
    assert set(run.of_promises(["git.first", "http.tokens"])) == files
    assert all((ROOT / file).is_file() for file in files)


def _saboteur(*patches):
    return run.Saboteur("one", "it", ("a", "b"), tuple(run.Patch(*patch) for patch in patches))


@pytest.mark.parametrize("text", ["x = 1\n", "y = 2\ny = 2\n"], ids=["none", "twice"])
def test_a_patch_whose_place_is_not_there_exactly_once_does_not_apply(tmp_path, text):
    (tmp_path / "m.py").write_text(text, encoding="utf-8")
    with pytest.raises(run.Broken, match="no longer applies"):
        run.apply(_saboteur(("m.py", "y = 2", "y = 3")), tmp_path)


def test_a_patch_that_leaves_no_python_is_no_saboteur(tmp_path):
    (tmp_path / "m.py").write_text("y = 2\n", encoding="utf-8")
    with pytest.raises(run.Broken, match="no Python"):
        run.apply(_saboteur(("m.py", "y = 2", "y = (")), tmp_path)


def _ended(test, outcome, phase="call", marks=("a", "b"), why="AssertionError"):
    return run.Outcome(test, phase, outcome, tuple(marks), why)


def test_a_saboteur_is_caught_by_a_test_that_passes_without_it():
    before = [_ended("t1", "passed"), _ended("t2", "passed", marks=("a",))]
    caught = run.judge(_saboteur(), before, [_ended("t1", "passed"), _ended("t2", "failed", marks=("a",))])
    assert caught.test == "t2"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ([("t", "passed")], [("t", "passed")], "NOT CAUGHT"),
        ([("t", "failed")], [("t", "failed")], "fails already"),
        ([("t", "skipped")], [("t", "failed")], "no test ran for a, b"),
        ([("t", "passed", "call", ("a",))], [("t", "failed")], "no test ran for b"),
        ([("t", "passed")], [("t", "failed", "setup")], "NOT CAUGHT"),
        ([("t", "passed")], [("t", "failed", "call", ("a", "b"), "NameError: name 'x' is not defined")], "breaks down"),
        ([("t", "passed")], [("m.py", "failed", "collect", ())], "cannot be collected"),
        ([("t", "passed"), ("m.py", "failed", "collect", ())], [("t", "failed")], "fails already"),
    ],
)
def test_nothing_else_counts_as_caught(before, after, why):
    with pytest.raises(run.Broken, match=why):
        run.judge(_saboteur(), [_ended(*one) for one in before], [_ended(*one) for one in after])


def test_the_tests_that_a_saboteur_names_are_there():
    """`make prove` names them by their ids, which change with their parameters."""
    named = sorted({test for one in SABOTEURS for test in one.tests})

    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *named],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip

    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
