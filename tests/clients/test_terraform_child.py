"""A run of Terraform is never left alone: what cannot be noted or watched is stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path

import anyio
import pytest

from infra_mcp.clients.terraform.child import Command, end_work, run
from infra_mcp.drivers.terraform.runs import Runs

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


@pytest.mark.parametrize("end", ["exit 0", "kill -9 $$"], ids=["ended", "killed"])
async def test_what_a_run_leaves_behind_is_ended_with_it(tmp_path, end):
    """As a provider that goes on when the program is killed."""
    shell, said = shutil.which("sh"), []
    command = Command((shell, "-c", f"sleep 600 & echo $!; {end}"), shell, tmp_path, dict(os.environ), tmp_path, 60.0)
    await run(command, said.append, lambda _: None)

    await _gone(int(said[0]))


async def test_what_a_run_left_behind_whose_server_is_gone_too_is_ended_by_the_next(tmp_path):
    dead, left = _killed_run()
    runs = Runs(tmp_path)
    with suppress(_ServerKilled), runs.noted(tmp_path, is_apply=True) as note:
        note(dead)
        raise _ServerKilled
    await runs.wait(5.0, print)

    await _gone(left)


@pytest.mark.parametrize(("word", "ends"), [("plan", True), ("apply", False)])
def test_what_a_killed_server_started_and_did_not_note_is_ended_unless_an_apply_is_among_it(tmp_path, word, ends):
    shell, inside = shutil.which("sh"), tmp_path / "run-one" / "tree"
    inside.mkdir(parents=True)
    argv = (shell, "-c", "sleep 600 & wait", word)
    with (
        subprocess.Popen(argv, cwd=inside, start_new_session=True) as here,
        subprocess.Popen(argv, cwd=tmp_path, start_new_session=True) as elsewhere,
    ):
        try:
            assert end_work(inside.parent) is not ends
            with nullcontext() if ends else pytest.raises(subprocess.TimeoutExpired):
                here.wait(10 if ends else 0.2)
            assert (here.poll(), elsewhere.poll()) == (-9 if ends else None, None)
        finally:
            for one in (here, elsewhere):
                with suppress(ProcessLookupError):
                    os.killpg(one.pid, signal.SIGKILL)


def test_a_persons_shell_in_the_folder_of_a_run_is_left_alone(tmp_path):
    ours, theirs = os.openpty()
    script = (
        "import fcntl, termios, time; fcntl.ioctl(0, termios.TIOCSCTTY, 0); print('there', flush=True); time.sleep(600)"
    )
    argv = (sys.executable, "-c", script)
    try:
        with subprocess.Popen(
            argv, cwd=tmp_path, stdin=theirs, stdout=subprocess.PIPE, start_new_session=True
        ) as shell:
            try:
                assert shell.stdout.readline() == b"there\n"
                assert not end_work(tmp_path)
                with pytest.raises(subprocess.TimeoutExpired):
                    shell.wait(0.2)
            finally:
                shell.kill()
    finally:
        os.close(ours)
        os.close(theirs)


def _killed_run() -> tuple[int, int]:
    """The process ids of a run that is no more, and of what it left."""
    argv = (shutil.which("sh"), "-c", "sleep 600 >/dev/null & echo $!; wait")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as dead:
        left = int(dead.stdout.readline())
        dead.kill()
    return dead.pid, left


class _ServerKilled(BaseException):
    """What leaves the note, as a kill does."""


async def _gone(pid: int) -> None:
    """Wait until a process has ended; its new parent may not have looked yet."""
    with anyio.fail_after(30):
        while _lives(pid):  # noqa: ASYNC110 - a process that is no child gives no event
            await anyio.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
