"""List, then watch, for as long as anyone listens.

What is promised: every object of the collection is seen at least once in its latest state, also across dropped
connections and expired versions; a deletion is told, also one that happened while nobody watched. What is not: that
each state in between is seen
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import anyio

from infra_mcp.clients.kube.errors import KubeError

if TYPE_CHECKING:  # it imports `kubernetes`
    from infra_mcp.clients.kube.transport import Transport

LIFETIME = 240  # seconds after which the server ends a watch, so that no balancer does
PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between tries while the server cannot be reached
_FINAL = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.UNPROCESSABLE_ENTITY,
}

Lister = Callable[[], Awaitable[dict[str, Any]]]


class Watch:
    """One watch of one collection, or of one object in it.

    Args:
        transport: where to ask.
        path: the collection's path.
        selectors: `labelSelector` and `fieldSelector`, as query parameters.
        lister: lists the same collection with the same selectors.
        only: the object that is watched, as far as it is known, where it is one; so that its absence can be told.
        as_user: the identity to watch as.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        selectors: dict[str, str],
        lister: Lister,
        *,
        only: dict[str, Any] | None,
        as_user: str | None,
    ) -> None:
        self._transport = transport
        self._path = path
        self._selectors = selectors
        self._lister = lister
        self._as_user = as_user
        self._seen: dict[tuple[str, str], dict[str, Any]] = {}
        self._only = only

    async def events(self, resource_version: str | None) -> AsyncGenerator[dict[str, Any]]:
        """Yield `{"type": "ADDED" | "MODIFIED" | "DELETED", "object": …}` until the caller stops.

        Args:
            resource_version: go on from there; None lists first, and yields what is there as `ADDED`.

        Raises:
            KubeError: the server refuses it for good (403, 404 …). Broken connections are not raised: it goes on.
        """
        version, failures = resource_version, 0
        if version is not None and self._only is not None:
            self._remember(self._only)
        while True:
            try:
                if version is None:
                    listed = await self._lister()
                    version = listed["metadata"]["resourceVersion"]
                    for event in self._compare(listed["items"]):
                        yield event
                async with aclosing(self._follow(version)) as following:
                    async for event in following:
                        failures = 0
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            self._note(event)
                            yield event
            except KubeError as error:
                if error.status in _FINAL:
                    raise
                if error.status == HTTPStatus.GONE:
                    version = None
            # Also after an end without an error: something between us and the server may end every watch at once.
            await anyio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1

    async def _follow(self, version: str) -> AsyncGenerator[dict[str, Any]]:
        """The events of one connection. It ends when the server ends it."""
        params = {
            **self._selectors,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(LIFETIME),
        }
        async with (
            self._transport.stream(self._path, params, as_user=self._as_user, seconds=LIFETIME + 30) as stream,
            aclosing(stream) as events,
        ):
            async for event in events:
                if event["type"] == "ERROR":
                    status = event["object"]
                    code = int(status.get("code") or 0)
                    raise KubeError(code, str(status.get("reason") or ""), "the watch ended")
                yield event

    def _compare(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What a new list means against what was seen before."""
        gone = dict(self._seen)
        events = []
        for item in items:
            known = gone.pop(_key(item), None)
            events.append({"type": "MODIFIED" if known else "ADDED", "object": item})
        events.extend({"type": "DELETED", "object": stub} for stub in gone.values())
        for event in events:
            self._note(event)
        return events

    def _note(self, event: dict[str, Any]) -> None:
        if event["type"] == "DELETED":
            self._seen.pop(_key(event["object"]), None)
        else:
            self._remember(event["object"])

    def _remember(self, found: dict[str, Any]) -> None:
        """Keep who it is, not what it is: enough to tell that it is gone."""
        about = found["metadata"]
        metadata = {k: about[k] for k in ("name", "namespace", "uid", "resourceVersion") if k in about}
        self._seen[_key(found)] = {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": metadata}


def _key(found: dict[str, Any]) -> tuple[str, str]:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]
