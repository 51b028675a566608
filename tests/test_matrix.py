"""Promises, faults and the tests that stand for them stay in step."""

import textwrap
from pathlib import Path

import matrix
import pytest

ROOT = Path(__file__).resolve().parent.parent


def _tree(tmp_path, text):
    folder = tmp_path / "tests" / "room"
    folder.mkdir(parents=True)
    (folder / "test_one.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return matrix.marked(root=tmp_path / "tests")


def test_marks_are_found_on_functions_classes_and_modules_without_importing(tmp_path):
    found = _tree(
        tmp_path,
        """
        import pytest
        import no_such_module

        pytestmark = [pytest.mark.cluster, pytest.mark.promise("a")]

        @pytest.mark.promise("b", "c")
        async def test_one(): ...

        @pytest.mark.promise("d")
        class TestMany:
            @pytest.mark.promise("b")
            def test_two(self): ...

        @pytest.mark.promise("e")
        def no_test(): ...
        """,
    )
    file = "tests/room/test_one.py"
    assert found == {
        "a": [file],
        "b": [f"{file}::test_one", f"{file}::TestMany::test_two"],
        "c": [f"{file}::test_one"],
        "d": [f"{file}::TestMany"],
    }


def test_a_gap_is_told_either_way():
    found = matrix.Matrix(
        "fault", {"a": "", "b": "", "d": "", "e": ""}, {"b": ["t"], "c": ["tests/x.py::t"], "e": ["u"]},
        frozenset({"d", "e", "f"}),
    )  # fmt: skip
    assert found.gaps == [
        "no test of fault a",
        "c is no fault (tests/x.py::t)",
        "fault e is pending and has a test",
        "fault f is pending and unknown",
    ]


@pytest.mark.parametrize("mark", matrix.MATRICES)
def test_everything_that_must_hold_has_a_test_and_every_mark_names_such_a_thing(mark):
    assert matrix.load(mark).sentences
    assert matrix.load(mark).gaps == []


def test_the_page_of_promises_is_as_the_tests_are():
    page = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    assert page == matrix.page(matrix.load("promise")), "python tests/matrix.py --page > docs/promises.md"


@pytest.mark.parametrize("arguments", [[], ["--gaps"]])
def test_the_command_prints_what_must_hold_with_its_tests_and_ends_with_0(capsys, arguments):
    assert matrix.main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f" {mark}s, " in out for mark in matrix.MATRICES)
    assert ("git.first: " in out and "f23: " in out) is not bool(arguments)


def test_with_a_gap_the_command_ends_with_1_and_names_it(capsys, monkeypatch):
    monkeypatch.setattr(matrix, "load", lambda mark: matrix.Matrix(mark, {"a": "It holds."}, {}))
    assert matrix.main([]) == 1
    assert "no test of promise a" in capsys.readouterr().err
