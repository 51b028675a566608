import os
import sys
from pathlib import Path

import anyio
import pytest

from infra_mcp.clients.process import run

pytestmark = pytest.mark.anyio


async def _python(code, tmp_path, **options):
    return await run([sys.executable, "-c", code], cwd=tmp_path, **{"env": {}, "seconds": 30.0} | options)


async def test_a_child_gets_exactly_the_given_bytes_arguments_and_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", "of-ours")
    code = "import os, sys; print(sorted(os.environ), sys.argv[1:], sys.stdin.read())"
    argv = [sys.executable, "-I", "-c", code, "$HOME; `x`", "--flag"]
    ended = await run(argv, cwd=tmp_path, env={"OWN": "1"}, seconds=30.0, given=b"its input")
    text = ended.out.decode()
    assert ended.code == 0
    assert "CANARY" not in text
    assert "'OWN'" in text
    assert text.endswith("['$HOME; `x`', '--flag'] its input\n")


async def test_a_child_without_given_bytes_reads_nothing_of_ours(tmp_path):
    ended = await _python("import os; print(os.fstat(0).st_rdev == os.stat(os.devnull).st_rdev)", tmp_path)
    assert ended.out == b"True\n"


async def test_a_child_that_does_not_want_its_input_is_no_failure(tmp_path):
    ended = await _python("import os; os.close(0); print('done')", tmp_path, given=b"x" * 1_000_000)
    assert (ended.code, ended.out) == (0, b"done\n")


async def test_lines_are_reported_as_they_come(tmp_path):
    lines = []
    code = "import sys; [print(n, file=sys.stderr) for n in range(3)]; print('x' * 9000, file=sys.stderr)"
    ended = await _python(code, tmp_path, on_line=lines.append)
    assert lines[:3] == ["0", "1", "2"]
    assert len(lines[3]) == 4096
    assert len(ended.err) > 9000


async def test_at_the_deadline_it_gets_the_chance_to_end_in_order(tmp_path):
    code = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(3)); print('up', flush=True); time.sleep(60)"
    )
    ended = await _python(code, tmp_path, seconds=2.0, grace=20.0)
    assert (ended.timed_out, ended.code) == (True, 3)


async def test_one_that_ignores_that_is_killed_with_all_its_children(tmp_path):
    code = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN); pid = os.fork()\n"
        "if pid: open('pid', 'w').write(str(pid))\n"
        "time.sleep(600)"
    )
    ended = await _python(code, tmp_path, seconds=2.0, grace=0.2)
    assert (ended.timed_out, ended.code) == (True, -9)
    child = int((tmp_path / "pid").read_text())
    with anyio.fail_after(20):
        while _runs(child):  # noqa: ASYNC110 - it is not our child
            await anyio.sleep(0.01)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_one_that_prints_too_much_is_stopped(tmp_path):
    ended = await _python("while True: print('x' * 1000)", tmp_path, max_output=10_000)
    assert ended.overflowed
    assert ended.code == -9


async def test_a_descriptor_of_ours_stays_open_only_where_it_is_named(tmp_path):
    reading, writing = os.pipe()
    try:
        code = f"import os\ntry: os.fstat({writing}); print('open')\nexcept OSError: print('closed')"
        assert (await _python(code, tmp_path, keep_open=[writing])).out == b"open\n"
        assert (await _python(code, tmp_path)).out == b"closed\n"
    finally:
        os.close(reading)
        os.close(writing)


async def test_a_program_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        await run([str(tmp_path / "none")], cwd=tmp_path, env={}, seconds=1.0)
