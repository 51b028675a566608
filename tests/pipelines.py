"""Machines that run a pipeline's job, for the examples of docs/ci."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import anyio
import pytest
from shell import Shell

import infra_mcp

__all__ = ["Runner", "wheel"]


def wheel(folder):
    """The package as a wheel (PEP 427), as its owner would publish it; made without anything to fetch."""
    root = Path(infra_mcp.__file__).parent
    file = folder / "infra_mcp-0.0.0-py3-none-any.whl"
    info = "infra_mcp-0.0.0.dist-info"
    texts = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: infra-mcp\nVersion: 0.0.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\ninfra-mcp = infra_mcp.cli.main:main\n",
    }
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(one for one in root.rglob("*") if one.is_file() and "__pycache__" not in one.parts):
            archive.write(path, f"infra_mcp/{path.relative_to(root).as_posix()}")
        for name, text in texts.items():
            archive.writestr(name, text)
        names = [*archive.namelist(), f"{info}/RECORD"]
        archive.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in names))
    return file


class Runner:
    """A machine that runs a job: a working folder, an environment, and nothing of this package on its path."""

    def __init__(self, folder: Path, **variables: str) -> None:
        if importlib.util.find_spec("pip") is None:
            pytest.skip("no pip here, with which the examples install the command")
        self.folder = folder
        self.env = {key: value for key, value in Shell(folder).env.items() if key not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.env |= {"PATH": path, "INFRA_MCP_PACKAGE": str(wheel(folder))} | variables
        self.env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INDEX": "1"}  # nothing is fetched

    async def __call__(self, script: str, **variables: str) -> tuple[int, str]:
        argv = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]
        with anyio.fail_after(240):
            done = await anyio.run_process(
                argv, env=self.env | variables, cwd=self.folder, check=False, stderr=subprocess.STDOUT
            )
        return done.returncode, done.stdout.decode()
