"""List, then watch, until the caller stops.

Every object of the collection is reported at least once in its latest state, and every deletion, also across dropped
connections and expired versions; not every state in between
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
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


@dataclass
class Watch:
    """One watch of one collection, or of one object in it."""

    transport: Transport
    path: str
    selectors: dict[str, str]  # `labelSelector` and `fieldSelector`, as query parameters
    lister: Callable[[], Awaitable[dict[str, Any]]]  # lists the same collection with the same selectors
    as_user: str | None
    seen: dict[tuple[str, str], dict[str, Any]]  # the objects known to exist, so that their absence can be reported

    async def events(self, resource_version: str | None) -> AsyncGenerator[dict[str, Any]]:
        """Yield `{"type": "ADDED" | "MODIFIED" | "DELETED", "object": …}` until the caller stops.

        Args:
            resource_version: continue from there; None lists first, and yields every object as `ADDED`.

        Raises:
            KubeError: the server refuses it for good (403, 404 …); after a broken connection it continues.
        """
        version, failures = resource_version, 0
        while True:
            try:
                if version is None:
                    listed = await self.lister()
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
            **self.selectors,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(LIFETIME),
        }
        async with (
            self.transport.stream(self.path, params, as_user=self.as_user, seconds=LIFETIME + 30) as stream,
            aclosing(stream) as events,
        ):
            async for event in events:
                if event["type"] == "ERROR":
                    status = event["object"]
                    code = int(status.get("code") or 0)
                    raise KubeError(code, str(status.get("reason") or ""), "the watch ended")
                yield event

    def _compare(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The events between what was seen before and a new list."""
        gone = dict(self.seen)
        events = [{"type": "MODIFIED" if gone.pop(_key(item), None) else "ADDED", "object": item} for item in items]
        events += [{"type": "DELETED", "object": stub} for stub in gone.values()]
        for event in events:
            self._note(event)
        return events

    def _note(self, event: dict[str, Any]) -> None:
        """Keep only an object's identity: enough to report that it is gone."""
        found = event["object"]
        if event["type"] == "DELETED":
            self.seen.pop(_key(found), None)
            return
        about = found["metadata"]
        metadata = {k: about[k] for k in ("name", "namespace", "uid", "resourceVersion") if k in about}
        self.seen[_key(found)] = {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": metadata}


def _key(found: dict[str, Any]) -> tuple[str, str]:
    return found["metadata"].get("namespace", ""), found["metadata"]["name"]
