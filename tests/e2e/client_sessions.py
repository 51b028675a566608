"""Clients that outlive servers: each connects again when its server has died, and does again what it never heard of.

They are the SDK's own clients, over HTTP and over the unix socket. What they try and what they are told goes into the
journal before and after.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from e2e.scenario import Reply, Scenario
from mcp.client.client import Client
from running_server import unix_transport

__all__ = ["ClientSession", "Life", "by_http", "by_socket"]

LATE = 0.2  # seconds in which an answer that was sent before a server died may still come out of the pipe
SURE = 10.0  # seconds after which a connection that broke by itself is a fault

Way = Callable[[Scenario], AbstractAsyncContextManager[Client]]


@dataclass
class Life:
    """The life of one server, as clients know it: it begins ready, and is over when it was killed."""

    number: int
    expected: int = 0  # clients that will come
    full: anyio.Event = field(default_factory=anyio.Event)  # they are all there
    over: anyio.Event = field(default_factory=anyio.Event)

    def come(self) -> None:
        """One more client is connected."""
        self.expected -= 1
        if not self.expected:
            self.full.set()


def by_http(peer: str, mode: str) -> Way:
    """Over HTTP with the peer's token, in the era given: `auto` or `legacy`."""
    return lambda scenario: scenario.peer(peer, mode=mode)


def by_socket(mode: str, **hello: str) -> Way:
    """Over the unix socket, with what the first frame says: `token` names the peer whose it is, or `attend`."""

    @asynccontextmanager
    async def way(scenario: Scenario) -> AsyncIterator[Client]:
        said = {key: scenario.tokens[value] if key == "token" else value for key, value in hello.items()}
        async with Client(unix_transport(scenario.settings.socket, said), mode=mode, cache=None) as client:
            yield client

    return way


class ClientSession:
    """One client.

    Args:
        world: whose server it calls.
        who: name and circle it is known by; the circle is None for one that attends as infra.
        way: how it connects.
        born: waits for the next server that is ready.
    """

    def __init__(
        self, scenario: Scenario, who: tuple[str, str | None], way: Way, born: Callable[[int], Any], faults: list[str]
    ) -> None:
        self.scenario, self.who, self.faults = scenario, who, faults
        self._way, self._born = way, born
        self._client: Client | None = None
        self._life = Life(0)
        self._connected = anyio.Event()

    async def stay(self) -> None:
        """Be connected whenever a server is there, until cancelled."""
        last = 0
        while True:
            life = await self._born(last)
            last = life.number
            try:
                async with self._way(self.scenario) as client:
                    self._client, self._life = client, life
                    life.come()
                    self._connected.set()
                    self._connected = anyio.Event()
                    await life.over.wait()
            except Exception as error:  # noqa: BLE001 - whatever its libraries make of a server that is gone
                await self._gone(life, f"{self.who[0]} could not connect: {error!r}")

    async def call(self, name: str, *, trying: Callable[[], None] | None = None, **arguments: Any) -> Reply:
        """Call a tool until it is answered, over as many servers as it takes.

        Args:
            name: the tool.
            trying: called before each try.
            arguments: the tool's.
        """
        while True:
            while self._client is None or self._life.over.is_set():
                await self._connected.wait()
            client, life = self._client, self._life
            if trying is not None:
                trying()
            answer, why = await _attempt(client, life, name, arguments)
            if answer is not None:
                text = "\n".join(part.text for part in answer.content if part.type == "text")
                return Reply(not answer.is_error, text, dict(answer.structured_content or {}))
            await self._gone(life, f"{name} of {self.who[0]} was not answered by a server that lives: {why}")

    async def _gone(self, life: Life, otherwise: str) -> None:
        """Wait until the server is known to be gone; a fault when it is not."""
        with anyio.move_on_after(SURE):
            await life.over.wait()
            return
        self.faults.append(otherwise)
        raise RuntimeError(otherwise)


async def _attempt(client: Client, life: Life, name: str, arguments: dict[str, Any]) -> tuple[Any, str]:
    """One call: its answer, or None when the server died under it, and why."""
    answer, why = None, "no answer"
    async with anyio.create_task_group() as group:

        async def cut() -> None:
            await life.over.wait()
            await anyio.sleep(LATE)
            group.cancel_scope.cancel()

        group.start_soon(cut)
        try:
            answer = await client.call_tool(name, arguments)
        except Exception as error:  # noqa: BLE001 - whatever its libraries make of a lost connection
            why = repr(error)
        group.cancel_scope.cancel()
    return answer, why
