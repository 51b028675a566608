"""What holds for every test: skips that are failures, marks that are true, and Ctrl-C that reaches children."""

import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """
import pytest
@pytest.mark.skip(reason="no cluster")
def test_marked(): pass
def test_inside(): pytest.skip("no cluster")
@pytest.mark.xfail
def test_expected_to_fail(): assert False
"""
SKIPPED_MODULE = "import pytest\npytest.skip('no cluster', allow_module_level=True)\n"
IMPORTS = """
import subprocess, sys, anyio, server_process, pytest
from pathlib import Path
from infra_mcp.settings import Settings
"""
STARTS = {
    "command": "subprocess.run([sys.executable, '-m', 'infra_mcp.cli.main', '--version'], check=True)",
    "script": "subprocess.run([Path(sys.executable).parent / 'infra-mcp', '--version'], check=True)",
    "code": "subprocess.run([sys.executable, '-c', 'import infra_mcp'], check=True)",
    "async": "anyio.run(anyio.run_process, [sys.executable, '-m', 'infra_mcp.cli.main', '--version'])",
    "server": "server_process.start_server(Settings(repo=tmp_path, state_dir=tmp_path / 's', kubeconfig=None)).stop()",
}
STARTS_NONE = f"""
@pytest.mark.process
def test_marked(): {STARTS["code"]}
def test_other(): subprocess.run([sys.executable, "-c", "print(1)"], check=True)
def test_cluster(control_plane, request): assert request.node.get_closest_marker("cluster")
"""
INTERRUPT = """
import subprocess, sys
CHILD = "import signal, os; os.kill(os.getpid(), signal.SIGINT); signal.pause()"
def test_it(): assert subprocess.run([sys.executable, "-c", CHILD]).returncode == -2
"""

SURROGATES = """
import logging
def test_logs(): logging.getLogger("x").warning("\\udcff")
def test_fails(): raise ValueError("\\udcff")
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs pytest on some texts, with the conftest.py of these tests, and with some words before it."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  cluster\n  process\n  outside\n")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    for name in ("CI", "INFRA_MCP_CI"):
        monkeypatch.delenv(name, raising=False)

    def runs(*texts, before=(), after=()):
        for number, text in enumerate(texts):
            (tmp_path / f"test_{number}.py").write_text(text)
        argv = [*before, sys.executable, "-m", "pytest", "-p", "conftest", "-q", "-p", "no:cacheprovider", *after]
        argv.append("--continue-on-collection-errors")
        return subprocess.run(
            argv, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120
        )

    return runs


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("INFRA_MCP_CI", "1")])
def test_a_skipped_test_fails_where_every_test_must_run(run, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    ended = run(SKIPS, SKIPPED_MODULE).stdout
    for where in ("ERROR test_0.py::test_marked", "FAILED test_0.py::test_inside", "ERROR test_1.py"):
        assert f"{where} - skipped, where every test must run" in ended, ended
    assert "1 failed, 1 xfailed, 2 errors" in ended


def test_elsewhere_a_skipped_test_is_just_skipped(run):
    ended = run(SKIPS, SKIPPED_MODULE)
    assert ended.returncode == 0, ended.stdout
    assert "3 skipped, 1 xfailed" in ended.stdout


def test_a_test_that_starts_the_product_as_a_process_fails_unless_it_is_marked(run):
    ended = run(IMPORTS + "".join(f"def test_{way}(tmp_path): {code}\n" for way, code in STARTS.items()))
    assert f"{len(STARTS)} failed" in ended.stdout, ended.stdout
    for way in STARTS:
        assert f"test_{way} starts the product as a process: mark it `process`" in ended.stdout


@pytest.mark.process
def test_marks_that_are_true_let_a_test_do_what_they_say_and_that_of_the_cluster_comes_by_itself(run, monkeypatch):
    monkeypatch.setenv("INFRA_MCP_TEST_KUBECONFIG", "none")
    monkeypatch.setenv("INFRA_MCP_TEST_CONTEXT", "none")
    ended = run(IMPORTS + STARTS_NONE)
    assert "3 passed" in ended.stdout, ended.stdout


@pytest.mark.fault("f23")
def test_an_interrupt_reaches_the_children_of_tests_whose_parent_ignores_it(run):
    ended = run(INTERRUPT, before=("sh", "-c", "trap '' INT; exec \"$@\"", "sh"))
    assert ended.returncode == 0, ended.stdout


def test_what_is_no_text_is_told_by_a_worker_too(run):
    ended = run(SURROGATES, after=("-n", "1"))
    assert "1 failed, 1 passed" in ended.stdout, ended.stdout
    assert "\\udcff" in ended.stdout
