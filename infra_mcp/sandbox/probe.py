"""A few requests to a sandbox's own API server while it starts, without a kubeconfig or a client library."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

import anyio.to_thread

from infra_mcp.sandbox.places import Place

_LONGEST_ANSWER = 5.0  # seconds


class Probe:
    """Asks the API server of `place` as its administrator, over loopback, checking its certificate."""

    def __init__(self, place: Place, port: int) -> None:
        self._pki = place.cluster / "pki"
        self._port = port

    async def get(self, path: str) -> tuple[int, Any]:
        """The status code and, where it is JSON, the body; status 0 when nothing answers."""
        return await anyio.to_thread.run_sync(self._ask, "GET", path, None)

    async def post(self, path: str, body: dict[str, Any]) -> int:
        """Create an object; returns the status code."""
        status, _ = await anyio.to_thread.run_sync(self._ask, "POST", path, body)
        return status

    async def delete(self, path: str) -> int:
        """Delete an object at once, if it is there; returns the status code."""
        status, _ = await anyio.to_thread.run_sync(self._ask, "DELETE", path, {"gracePeriodSeconds": 0})
        return status

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        try:
            context = ssl.create_default_context(cafile=self._pki / "ca.crt")
            context.load_cert_chain(self._pki / "admin.crt", self._pki / "admin.key")
            server = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=_LONGEST_ANSWER, context=context)
            try:
                content = None if body is None else json.dumps(body)
                server.request(method, path, content, {"Content-Type": "application/json"})
                answer = server.getresponse()
                data = answer.read()
            finally:
                server.close()
        except (OSError, http.client.HTTPException):
            return 0, None
        try:
            return answer.status, json.loads(data)
        except ValueError:
            return answer.status, None
