"""`infra-mcp check BASE..HEAD`: what a pull request would do, and policy's verdict on it, in a pipeline.

The work is done in a process of its own, bounded in time, memory and output: what it reads comes from anyone. It gets
no token, and imports nothing from the folder that the command is run in.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, Final

from infra_mcp.cli.options import common_options, seconds, settings_of, verb
from infra_mcp.cli.output import note, show
from infra_mcp.codes import Exit
from infra_mcp.errors import InfraError
from infra_mcp.text import quoted

_MAX_MEMORY: Final = 2 * 1024 * 1024 * 1024  # bytes of data
_MAX_ANSWER: Final = 32 * 1024 * 1024  # bytes
_FOR_BUILDS: Final = 0.6  # of the time: the rest is for reading and for the answer
_GRACE: Final = 5.0  # seconds in which it ends its builds
_EXITS: Final = {"allow": Exit.LANDED, "needs-approval": Exit.WAITING, "refuse": Exit.REFUSED}


def add_parser(verbs: Any) -> None:  # noqa: ANN401 - argparse gives it no public name
    """Add the verb."""
    parser = verb(
        verbs,
        "check",
        "what a pull request would do, and policy's verdict on it; needs no server, no cluster and no token",
        "check origin/main..HEAD",
        'check HEAD^1..HEAD --summary "$GITHUB_STEP_SUMMARY"',
        "check main..feature --format markdown --as-circle docs",
        run=_run,
    )
    parser.add_argument("range", metavar="BASE..HEAD", help="two commits or branches of this clone")
    parser.add_argument("--as-circle", metavar="CIRCLE", help="judge all of it as this circle")
    parser.add_argument(
        "--format", choices=("text", "markdown", "json"), default="text", help="what to print (default: text)"
    )
    parser.add_argument("--summary", metavar="FILE", help="also append it to this file, as Markdown")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=300.0, help="the longest time for it (default: 300)"
    )
    common_options(parser)


def _run(options: argparse.Namespace) -> int:
    from infra_mcp.cli.check_page import markdown, text  # noqa: PLC0415 - only this command prints it

    options.json = options.json or options.format == "json"
    found = _checked(options)
    shown = markdown(found) if options.format == "markdown" and not options.json else text(found)
    show(options.json, found, shown)
    if options.summary is not None:
        try:
            with Path(options.summary).open("a", encoding="utf-8") as file:
                file.write(markdown(found) + "\n")
        except OSError as error:
            note(f"The summary could not be written: {error.strerror}.")
    return int(_EXITS[found["decision"]])


def _checked(options: argparse.Namespace) -> dict[str, Any]:
    """What the process of its own found.

    Raises:
        InfraError: what it ended in; `timed-out`; `run-stopped`: it needed too much memory, or said too much.
    """
    import anyio  # noqa: PLC0415 - only this command needs it

    from infra_mcp.clients import process  # noqa: PLC0415 - the same
    from infra_mcp.settings import without_tokens  # noqa: PLC0415 - the same

    asked = {
        "repo": str(settings_of(options).repo),
        "range": options.range,
        "circle": options.as_circle,
        "seconds": options.timeout * _FOR_BUILDS,
    }
    run = partial(
        process.run,
        [sys.executable, "-P", "-m", "infra_mcp.cli.check"],  # -P: nothing is imported from the working folder
        cwd=Path("/"),
        env=without_tokens(),
        seconds=options.timeout,
        given=json.dumps(asked).encode(),
        grace=_GRACE,
        max_output=_MAX_ANSWER,
        max_memory=_MAX_MEMORY,
    )
    ended = anyio.run(run)
    if ended.timed_out:
        what = f"The check did not end within {options.timeout:g} s and was stopped."
        raise InfraError("timed-out", what, next_step="Give it more time with --timeout, or check smaller pieces.")
    try:
        answer: dict[str, Any] = json.loads(ended.out)
    except ValueError:
        last = ended.err.decode("utf-8", "replace").strip().rpartition("\n")[2]
        why = (
            "said too much" if ended.overflowed else f"ended with {ended.code}: {quoted(last) if last else 'no reason'}"
        )
        step = "Where memory ran out, check smaller pieces."
        raise InfraError("run-stopped", f"The check {why}.", next_step=step) from None
    if "code" in answer:
        raise InfraError.from_data(answer)
    return answer


def _work() -> None:
    """The process of its own: reads what to check, and prints what was found, or the error, as JSON."""
    import anyio  # noqa: PLC0415 - as above

    asked = json.load(sys.stdin)
    try:
        found = anyio.run(_until_stopped, asked)
    except InfraError as error:
        found = error.as_dict()
    except RecursionError:
        what = "Something in the pull request is nested too deeply to be read."
        found = InfraError("run-stopped", what, next_step="Nest it less deeply.").as_dict()
    sys.stdout.write(json.dumps(found))


async def _until_stopped(asked: dict[str, Any]) -> dict[str, Any]:
    """The check; SIGTERM ends it with its builds."""
    import signal  # noqa: PLC0415 - as above
    from datetime import UTC, datetime  # noqa: PLC0415 - the same

    import anyio  # noqa: PLC0415 - the same

    from infra_mcp.engine.check import check  # noqa: PLC0415 - it needs the YAML reader
    from infra_mcp.gather import unwrapped  # noqa: PLC0415 - the same

    found: dict[str, Any] = {}
    with unwrapped():
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                    async for _ in signals:
                        group.cancel_scope.cancel()

            group.start_soon(stop)
            found = await check(
                Path(asked["repo"]),
                asked["range"],
                circle=asked["circle"],
                now=datetime.now(UTC),
                seconds=asked["seconds"],
            )
            group.cancel_scope.cancel()
    return found


if __name__ == "__main__":
    _work()
