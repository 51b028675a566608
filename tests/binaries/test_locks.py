import sys

import anyio
import pytest

from infra_mcp.binaries.locks import exclusive

pytestmark = pytest.mark.anyio

HOLD = """
import anyio, sys
from pathlib import Path
from infra_mcp.binaries.locks import exclusive
async def main():
    async with exclusive(Path(sys.argv[1])):
        print("held", flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""


async def test_one_holds_the_lock_and_the_other_reports_that_it_waits(tmp_path):
    order = []
    waits = anyio.Event()

    async def second():
        async with exclusive(tmp_path / "lock", waits.set):
            order.append("second")

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks, exclusive(tmp_path / "lock"):
            tasks.start_soon(second)
            await waits.wait()
            order.append("first")
    assert order == ["first", "second"]


@pytest.mark.process
async def test_the_death_of_its_holder_frees_it(tmp_path):
    argv = [sys.executable, "-c", HOLD, tmp_path / "lock"]
    waits = anyio.Event()

    async def end(holder):
        await waits.wait()
        holder.kill()
        await holder.wait()

    async with await anyio.open_process(argv, stderr=None) as holder:
        assert (await holder.stdout.receive()).startswith(b"held")
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(end, holder)
                async with exclusive(tmp_path / "lock", waits.set):
                    pass
        assert holder.returncode == -9


async def test_a_lock_that_its_holder_removed_is_created_again_and_held_by_one(tmp_path):
    path = tmp_path / "lock"
    inside = 0
    most = 0

    async def enter():
        nonlocal inside, most
        async with exclusive(path):
            inside += 1
            most = max(most, inside)
            await anyio.lowlevel.checkpoint()
            inside -= 1
            path.unlink()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(enter)
    assert most == 1
    assert not path.exists()
