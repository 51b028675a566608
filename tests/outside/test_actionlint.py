"""The GitHub workflow of docs/ci passes actionlint, which is built from its Go module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from infra_mcp import binaries
from infra_mcp.binaries.gomodule import find_go, go_environment
from infra_mcp.binaries.progress import Progress
from infra_mcp.errors import InfraError
from infra_mcp.settings import cache_home

pytestmark = [pytest.mark.outside, pytest.mark.timeout(600)]

GITHUB = Path(__file__).parents[2] / "docs" / "ci" / "github-actions.yaml"
LINTER = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory):
    """The linter, built from its Go module; what it needs may have to be fetched."""
    folder = tmp_path_factory.mktemp("actionlint")
    module = Path(binaries.__file__).parent / "gomod" / "sandbox"
    try:
        go = anyio.run(find_go, module, cache_home(), Progress(sys.stderr))
    except InfraError as error:
        pytest.skip(f"no Go to build actionlint with: {error.what}")
    env = go_environment() | {"GOBIN": str(folder)}
    argv = [go, "install", LINTER]
    done = subprocess.run(argv, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=280)
    if done.returncode:
        pytest.skip(f"the module of actionlint cannot be had: {done.stderr.strip()[-300:]}")
    return folder / "actionlint"


def linted(actionlint, file):
    argv = [actionlint, "-no-color", "-shellcheck=", "-pyflakes=", file]  # what else is installed here is no matter
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, cwd=file.parent)
    return done.returncode, done.stdout


def test_the_workflow_passes_actionlint_which_sees_what_is_wrong_in_one(actionlint, tmp_path):
    text = GITHUB.read_text(encoding="utf-8")
    for name, broken in (
        ("injection", text.replace('docs "$VERSION" --dry-run', "docs ${{ github.event.head_commit.message }}")),
        ("unknown", text.replace("timeout-minutes", "timeout-minuets")),
    ):
        assert broken != text
        (tmp_path / f"{name}.yaml").write_text(broken, encoding="utf-8")
        assert linted(actionlint, tmp_path / f"{name}.yaml")[0] == 1, name

    assert linted(actionlint, GITHUB) == (0, "")
