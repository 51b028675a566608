"""A command that is stopped says what goes on without it, and leaves at once."""

from __future__ import annotations

import signal

import anyio
import pytest
from shell import Shell, distinct, shell

pytestmark = pytest.mark.process

SEED = "I need a namespace 'docs-staging' with image-pull secret X"


async def stopped(process, number, said):
    """Wait until the command has said something, stop it, and give back how it ended."""
    err = b""
    with anyio.fail_after(30):
        while said not in err:
            err += await process.stderr.receive()
        process.send_signal(number)
        async for more in process.stderr:
            err += more
        return await process.wait(), err.decode()


@pytest.mark.anyio
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["term", "int"])
@pytest.mark.parametrize("channel", ["unix", "both"], ids=["socket", "url"])
async def test_a_cancelled_pipeline_leaves_the_request_to_the_server_and_names_it(tmp_path, number, code, channel):
    async with shell(tmp_path, channel, held=True) as (at, run):
        url, summary = (["--url", at.url] if channel == "both" else []), tmp_path / "summary.md"
        words = ("deploy", "docs", "1", "--summary", str(summary), *url)
        async with run.start(*words, token=at.tokens["docs"]) as process:
            ended, err = await stopped(process, number, b"req-")
        (listed,) = (await run("request", "list", "--json")).json["requests"]
        at.engine.gate.set()
        watched = await run("request", "watch", listed["request"], token=at.tokens["docs"])

        assert ended == code, err
        assert f"{listed['request']} goes on." in err
        assert "Traceback" not in err
        assert watched.code == 0, watched
        assert len(distinct(at)) == 1
        assert f"{listed['request']} goes on." in summary.read_text(encoding="utf-8")


@pytest.mark.anyio
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["term", "int"])
async def test_a_stopped_ask_and_a_stopped_watch_say_the_same(tmp_path, number, code):
    async with shell(tmp_path, held=True) as (at, run):
        async with run.start("ask", SEED, token=at.tokens["docs"]) as process:
            ended, err = await stopped(process, number, b"ask-")
        (listed,) = (await run("request", "list", "--json")).json["requests"]
        async with run.start("request", "watch", listed["request"]) as process:
            watching, told = await stopped(process, number, b"req-")

        assert (ended, watching) == (code, code), (err, told)
        assert "goes on. Its answer comes into this peer's inbox" in err
        assert f"{listed['request']} goes on." in told


@pytest.mark.anyio
async def test_stopped_before_the_request_has_a_name_it_says_how_to_find_it(tmp_path):
    place = tmp_path / "state" / "run"
    place.mkdir(parents=True)
    asked = anyio.Event()

    async def mute(stream):
        async with stream:
            await stream.receive()
            await stream.send(b'{"jsonrpc": "2.0", "id": "hello", "result": {}}\n')
            await stream.receive()
            asked.set()
            await anyio.sleep_forever()

    run = Shell(tmp_path)
    await anyio.run_process(["git", "init", "-q", str(tmp_path / "repo")])
    async with await anyio.create_unix_listener(place / "infra.sock") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, mute)
        async with run.start("deploy", "docs", "1") as process:
            await asked.wait()
            process.terminate()
            with anyio.fail_after(30):
                err = b"".join([part async for part in process.stderr]).decode()
                code = await process.wait()
        group.cancel_scope.cancel()

    assert code == 143
    assert "--idempotency-key cli/" in err
