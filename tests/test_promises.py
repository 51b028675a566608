"""The promises and their proofs stay in step."""

import subprocess
import sys
import textwrap
from pathlib import Path

import promises

ROOT = Path(__file__).resolve().parent.parent


def _tree(tmp_path, text):
    folder = tmp_path / "tests" / "room"
    folder.mkdir(parents=True)
    (folder / "test_one.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return promises.marked(tmp_path / "tests")


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
    assert promises.gaps({"a": "", "b": ""}, {"b": ["t"], "c": ["tests/x.py::t"]}) == [
        "no test proves a",
        "c is no promise (tests/x.py::t)",
    ]


def test_no_mark_names_a_promise_there_is_not():
    known = promises.load()
    assert sorted(set(promises.marked()) - set(known)) == []


def test_every_promise_has_a_proof():
    assert promises.gaps(promises.load(), promises.marked()) == []


def test_the_page_of_promises_is_as_the_tests_are():
    page = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    made = promises.table(promises.load(), promises.marked())
    assert page == made, "python tests/promises.py --table > docs/promises.md"


def test_the_command_prints_promises_with_tests_and_ends_with_0():
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "promises.py"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "git.first: " in done.stdout
