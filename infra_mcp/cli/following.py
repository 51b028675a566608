"""Carry a change out and follow it to its end, whatever happens to the connection on the way.

The first call takes the change in and names the request at once; the wait is the same call again with the same key. So
nothing is asked twice when an answer is lost, and a person who stops the command reads what goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from infra_mcp.cli.client import BrokenConnectionError, Client, OnProgress
from infra_mcp.cli.stopping import goes_on
from infra_mcp.codes import Exit
from infra_mcp.errors import InfraError

T = TypeVar("T")

PARKED = "awaiting_approval"  # people must do something first, so a command does not wait for it
AT_THE_FORGE = {"proposed", "reverting"}  # people decide there
# States in which the server is still at work.
WORKING = frozenset({"received", "scheduled", "queued", "planned", "applying", "verifying", "rolling_back"})

_CALL = 600.0  # seconds one call may wait
_OUTAGE = 30.0  # seconds a server that was there may be away, e.g. for an upgrade
_PAUSE = 0.5


def carry_out(
    client: Client, tool: str, arguments: dict[str, Any], key: str, *, wait: float, progress: OnProgress
) -> dict[str, Any]:
    """Send a change by its tool and wait for its end, at most `wait` seconds; 0 only takes it in.

    Args:
        client: of the server.
        tool: the change tool.
        arguments: of the tool, without key and wait.
        key: the idempotency key.
        wait: seconds.
        progress: called with each message about how far it is.

    Raises:
        InfraError: `server-unreachable`, when there is no server, or none came back in half a minute.
    """
    sent = arguments | {"idempotency_key": key}
    message = (
        "Stopped before the server named the request. If it was taken in it goes on; "
        f"the same command with --idempotency-key {key} gives its result."
    )
    with goes_on(lambda: message):
        result = steady(lambda: client.call(tool, sent | {"wait_seconds": 0}), progress, first=True)
        if request := (result.get("structuredContent") or {}).get("request"):
            message = stopped(str(request))
        return follow(
            lambda left: client.call(tool, sent | {"wait_seconds": left}, progress), result, works, wait, progress
        )


def until_merged(
    client: Client, result: dict[str, Any], wait_for: str, *, wait: float, progress: OnProgress
) -> dict[str, Any]:
    """Go on waiting for a request whose pull request people have to merge.

    Args:
        client: of the server.
        result: the newest result.
        wait_for: `proposed`, which is where it is; `merged`; or `landed`, its end.
        wait: seconds, counted from here.
        progress: called with each message about how far it is.

    Returns:
        The newest result. One that was merged, and waited for no further, has the exit code 0.
    """
    data = result.get("structuredContent") or {}
    if wait_for == "proposed" or data.get("state") not in AT_THE_FORGE:
        return result
    asked, said = {"request_id": data["request"]}, ""

    def look(_: float) -> dict[str, Any]:
        nonlocal said
        newest = client.call("get_request", asked)
        text = str((newest.get("structuredContent") or {}).get("progress") or said)
        if text != said:
            progress(text)
        said = text
        return newest

    def goes(newest: dict[str, Any]) -> bool:
        known = newest.get("structuredContent") or {}
        # From here on it is confirmed, which may take long; where nothing can confirm it, it has ended.
        merged = wait_for == "merged" and known.get("state") == "verifying"
        open_still = known.get("state") in WORKING | AT_THE_FORGE | {PARKED}
        if merged and open_still:
            known["exit"] = int(Exit.LANDED)
        return not merged and open_still

    progress(f"{data['request']} waits for people to merge {data.get('url', 'its pull request')}")
    return follow(look, result, goes, wait, progress)


def stopped(request: str) -> str:
    """The message about a request that goes on without the command."""
    return (
        f"{request} goes on. `infra-mcp request watch {request}` waits for its end; "
        f"`infra-mcp request cancel {request}` stops it before its first write."
    )


def follow(
    call: Callable[[float], dict[str, Any]],
    result: dict[str, Any],
    goes: Callable[[dict[str, Any]], bool],
    wait: float,
    progress: OnProgress,
) -> dict[str, Any]:
    """Repeat a waiting call until what it waits for has ended, or `wait` seconds are over.

    Args:
        call: waits up to the given seconds and returns a tool's result.
        result: the newest result so far.
        goes: whether a result says that it goes on.
        wait: seconds in all.
        progress: called when the server is away.
    """
    until = time.monotonic() + wait
    while goes(result) and (left := until - time.monotonic()) > 0:
        began = time.monotonic()
        result = steady(lambda seconds=left: call(min(seconds, _CALL)), progress)  # type: ignore[misc]
        if goes(result) and time.monotonic() - began < _PAUSE:
            time.sleep(min(_PAUSE, left))  # a server that is stopping answers at once
    return result


def works(result: dict[str, Any]) -> bool:
    """Whether the server goes on with the request of a result."""
    return not result.get("isError") and (result.get("structuredContent") or {}).get("state") in WORKING


def steady(work: Callable[[], T], progress: OnProgress, *, first: bool = False) -> T:
    """Do what may be done twice, again while the server is away.

    Args:
        work: the call.
        progress: called when the server is away.
        first: the server has not answered yet, so that there may be none.

    Raises:
        InfraError: `server-unreachable`, when it was away for half a minute; and what the call ends in.
    """
    until = None
    while True:
        try:
            return work()
        except InfraError as error:
            known = isinstance(error, BrokenConnectionError) or not first or until is not None
            until = until or time.monotonic() + _OUTAGE
            if error.code != "server-unreachable" or not known or time.monotonic() > until:
                raise
        progress("The server is away; waiting for it to come back.")
        time.sleep(_PAUSE)
