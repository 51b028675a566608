"""Every test is in exactly one part, and every part in what some make target runs."""

import itertools
import re
import tomllib
from pathlib import Path

import parts
import pytest
from _pytest.mark.expression import Expression

ROOT = Path(__file__).resolve().parent.parent
MARKS = ["core", "cluster", "process", "slow", "outside"]
COMBINED = [set(some) for count in range(len(MARKS) + 1) for some in itertools.combinations(MARKS, count)]


def _selects(some, marks):
    return Expression.compile(parts.expression(some)).evaluate(lambda name, **_: name in marks)


def test_whatever_its_marks_a_test_is_in_exactly_one_part():
    for marks in COMBINED:
        assert len([part for part in parts.PARTS if _selects([part], marks)]) == 1, marks


def test_what_selects_some_parts_selects_what_they_select_one_by_one():
    for some in {some for sessions in parts.TARGETS.values() for some, _ in sessions}:
        for marks in COMBINED:
            assert _selects(some, marks) == any(_selects([part], marks) for part in some)


@pytest.mark.fault("d12")
def test_the_marks_are_known_to_pytest_whichever_folder_it_is_given():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert set(MARKS) <= {re.match(r"\w+", line).group() for line in options["markers"]}
    assert set(re.findall(r"\w+", " ".join(parts.PARTS.values()))) - {"and", "or", "not"} == set(MARKS)


def test_make_has_a_target_for_all_that_is_run_and_no_part_is_left_out():
    made = re.findall(r"tests/parts\.py ([\w-]+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert sorted(made) == sorted(parts.TARGETS)
    assert {part for sessions in parts.TARGETS.values() for some, _ in sessions for part in some} == set(parts.PARTS)


@pytest.fixture
def tried(monkeypatch):
    """What `run` would start, and with which exit codes it ends; nothing is started."""
    ran, codes = [], []

    class Getting:
        def poll(self):
            return 0

    class Ended:
        def __init__(self, code):
            self.returncode = code

    def start(argv, **_):
        ran.append(argv)
        return Ended(codes.pop(0))

    monkeypatch.setattr(parts, "_binaries", parts.contextmanager(lambda: iter([Getting()])))
    monkeypatch.setattr(parts.subprocess, "run", start)
    return ran, codes


@pytest.mark.fault("d12")
@pytest.mark.parametrize(
    ("codes", "ends"),
    [((0, 5), 0), ((5, 0), 0), ((5, 5), 5), ((0, 0), 0), ((1, 0), 1), ((0, 1), 1), ((2, 5), 2), ((0, 4), 4)],
)
def test_files_that_are_in_one_of_a_targets_sessions_only_are_no_failure(tried, codes, ends):
    ran, left = tried
    left += codes
    assert parts.run("test", ["tests/policy"]) == ends
    assert [argv[-1] for argv in ran] == ["tests/policy"] * 2
