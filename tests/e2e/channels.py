"""The ways to the infra peer, each as one call: a change is asked for in these words, and this is what was answered.

`CHANNELS` has them by name: an MCP tool over HTTP, an ask with an infra block, a session that attends and acts for the
asker, the command line at the server's socket, and a pipeline's machine that has only the server's URL.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from e2e.scenario import Reply, Scenario
from shell import Shell

from infra_mcp.model.actions import ACTIONS

__all__ = ["ATTEND", "CHANNELS", "Channel", "code_of"]

# What a session may do for the peers of the scenario: all that their own circles may.
ATTEND = f"""
[attend]
namespaces = ["docs-*", "shop-*"]
actions = {json.dumps(list(ACTIONS))}
pull_secrets = ["X"]
images = ["registry.example/docs/*"]
labels = ["team", "turn"]
limits = {{ replicas = 10, cpu = "20", memory = "40Gi" }}
"""

Fields = dict[str, Any]


@dataclass(frozen=True)
class Channel:
    """One way in.

    Args:
        send: asks for an action in some words, as the peer docs.
        door: its name in the ledger.
        asks: whether the words are an ask's; elsewhere they are the reason that goes with the call.
        attendant: who acts for the asker, if anyone.
    """

    send: Callable[[Scenario, str, str, Fields], Awaitable[Reply]]
    door: str
    asks: bool = False
    attendant: str | None = None


def code_of(reply: Reply) -> str:
    """The error code of an answer, which is in the data of a call and begins the text of an ack."""
    return str(reply.data.get("code") or (reply.data.get("error") or {}).get("code") or reply.text.partition(":")[0])


async def _by_tool(scenario: Scenario, words: str, action: str, fields: Fields) -> Reply:
    if action in ACTIONS and ACTIONS[action].listed:
        return await scenario.tool(action, reason=words, **fields)
    return await scenario.tool("change", action=action, arguments=fields, reason=words)


async def _by_ask(scenario: Scenario, words: str, action: str, fields: Fields) -> Reply:
    return await scenario.ask(f"{words}\n```infra\n{json.dumps({'action': action, **fields})}\n```")


async def _by_session(scenario: Scenario, words: str, action: str, fields: Fields) -> Reply:
    async with scenario.attend() as session:
        ask = (await scenario.tool("ask", peer_name="infra", query=words)).text
        claimed = await scenario.call(session, "inbox", claim=ask)
        assert claimed.ok, claimed.text
        done = await scenario.call(session, "change", action=action, arguments=fields, on_behalf_of=ask)
        if "request" not in done.data:  # no request ends this ask, so that the session answers it
            await scenario.call(session, "ack", correlation_id=ask, message=done.text)
        return done


async def _by_shell(scenario: Scenario, words: str, action: str, fields: Fields) -> Reply:
    shell = Shell(scenario.home, scenario.repo.name, INFRA_MCP_TOKEN=scenario.tokens["docs"])
    return await _run(shell, words, "run", action, *_pairs(fields))


async def _by_pipeline(scenario: Scenario, words: str, action: str, fields: Fields) -> Reply:
    assert scenario.server is not None
    (scenario.home / "elsewhere").mkdir(exist_ok=True)
    where = {"INFRA_MCP_URL": scenario.server.url, "INFRA_MCP_TOKEN": scenario.tokens["docs"]}
    shell = Shell(scenario.home, "elsewhere", **where)
    return await _run(shell, words, "run", action, *_pairs(fields), "--run-id", "77")


async def _run(shell: Shell, words: str, *line: str) -> Reply:
    done = await shell(*line, "--reason", words, "--json")
    return Reply(done.code == 0, done.out + done.err, done.json)


def _pairs(fields: Fields) -> Iterator[str]:
    yield from (f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in fields.items())


CHANNELS = {
    "tool": Channel(_by_tool, "tool"),
    "ask": Channel(_by_ask, "ask", asks=True),
    "session": Channel(_by_session, "tool", asks=True, attendant="infra"),
    "shell": Channel(_by_shell, "cli"),
    "pipeline": Channel(_by_pipeline, "cli"),
}
