"""A run of Terraform is never left alone: what cannot be noted or watched is stopped."""

from __future__ import annotations

import os
import shutil

import pytest

from infra_mcp.clients.terraform.child import Command, run

pytestmark = pytest.mark.anyio


async def test_a_run_whose_process_cannot_be_noted_is_stopped_and_its_output_removed(tmp_path):
    sleep, seen = shutil.which("sleep"), []

    def noted(pid: int) -> None:
        seen.append(pid)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await run(Command((sleep, "600"), sleep, tmp_path, {}, tmp_path, 600.0), seen.append, noted)

    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)
    assert not list(tmp_path.iterdir())
