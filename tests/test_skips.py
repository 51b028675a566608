"""Where every test must run, one that is skipped has failed."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = {
    "marked": "import pytest\n@pytest.mark.skip(reason='no cluster')\ndef test_it(): pass\n",
    "inside": "import pytest\ndef test_it(): pytest.skip('no cluster')\n",
    "module": "import pytest\npytest.skip('no cluster', allow_module_level=True)\n",
}


def _run(folder, text, monkeypatch, **environment):
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    for name in ("CI", "INFRA_MCP_CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    argv = [sys.executable, "-m", "pytest", "-p", "conftest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    return subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("way", TESTS)
@pytest.mark.parametrize("setting", [{"CI": "true"}, {"INFRA_MCP_CI": "1"}], ids=["ci", "own"])
def test_a_skipped_test_fails_where_every_test_must_run(tmp_path, monkeypatch, way, setting):
    ended = _run(tmp_path, TESTS[way], monkeypatch, **setting)
    assert ended.returncode != 0
    assert "skipped, where every test must run" in ended.stdout


@pytest.mark.parametrize("way", ["marked", "inside"])
def test_elsewhere_a_skipped_test_is_just_skipped(tmp_path, monkeypatch, way):
    ended = _run(tmp_path, TESTS[way], monkeypatch)
    assert ended.returncode == 0, ended.stdout
    assert "1 skipped" in ended.stdout


def test_an_expected_failure_is_no_skip(tmp_path, monkeypatch):
    text = "import pytest\n@pytest.mark.xfail\ndef test_it(): assert False\n"
    assert _run(tmp_path, text, monkeypatch, CI="true").returncode == 0
