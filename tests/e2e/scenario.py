"""A scenario for one test: a repository people work in, their app on the cluster, and the infra peer beside it.

Everything is real: git, the API server, a server process with a narrow service account, and MCP clients over HTTP. Each
world has its own repository, state directory and namespaces, so scenarios do not meet.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import anyio
import httpx2
from anyio import to_thread
from e2e.cluster_setup import ClusterSetup, suffix
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from running_server import unix_transport
from server_process import ServerProcess, start_server

from infra_mcp.cli.client import connect
from infra_mcp.model.request import END
from infra_mcp.policy.policy import digest_of
from infra_mcp.server import offline
from infra_mcp.settings import Settings

__all__ = ["APP", "APPS", "Reply", "Scenario"]

APP = """\
# The docs site. Written by hand long ago; ask the docs team before you touch the probes.
apiVersion: v1
kind: Namespace
metadata:
  name: {namespace}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: docs
  namespace: {namespace}
  labels: {{app: docs}}
spec:
  replicas: 2            # the autoscaler of the old cluster never went below two
  selector:
    matchLabels: {{app: docs}}
  template:
    metadata:
      labels: {{app: docs}}
    spec:
      containers:
        - name: site
          image: "registry.example/docs/site:0.13.3"   # bumped by release
          ports:
            - containerPort: 8080
          resources:
            requests: {{cpu: 50m, memory: 64Mi}}
"""

APPS = """\
[apps.docs]
owner = "docs"
workload = "{namespace}/deployment/docs"
image = "registry.example/docs/site:{{version}}"
grace = "{grace}"
timeout = "30s"
settings.memory.at = "k8s/teams/docs-site.yaml#spec.template.spec.containers[name=site].resources.requests.memory"
settings.memory.type = "quantity"
settings.memory.max = "1Gi"
"""

_ENV = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
_PEOPLE = {"user.name": "Pat", "user.email": "pat@example.invalid"}


@dataclass(frozen=True)
class Reply:
    """What a tool answered."""

    ok: bool
    text: str
    data: dict[str, Any]


@dataclass
class Scenario:
    """See the module. `async with World(ground, folder) as world:` has a server running and peers docs and shop.

    Args:
        ground: the session's control plane.
        home: an empty folder.
        policy: more sections of infra.toml, instead of the app catalogue of this scenario.
        live: whether the hand-written app is applied and rolled out.
        serve: whether a server runs from the start.
    """

    cluster_setup: ClusterSetup
    home: Path
    policy: str | None = None
    live: bool = True
    serve: bool = True
    name: str = field(default_factory=suffix)
    tokens: dict[str, str] = field(default_factory=dict)
    server: ServerProcess | None = None

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers it has, each of the circle of its name."""
        return ("docs", "shop")

    @property
    def namespace(self) -> str:
        """The namespace of the app people wrote by hand."""
        return f"docs-{self.name}"

    def fresh(self, word: str = "new", circle: str = "docs") -> str:
        """A name for a namespace of the circle's that is this scenario's own; removed with it."""
        return f"{circle}-{self.name}-{word}"

    def apps(self, grace: str = "1s") -> str:
        """The app catalogue's sections of this scenario."""
        return APPS.format(namespace=self.namespace, grace=grace)

    @property
    def repo(self) -> Path:
        """The checkout people work in."""
        return self.home / "infra"

    @property
    def manifest(self) -> Path:
        """The hand-written manifest, in a layout that is not the template's."""
        return self.repo / "k8s" / "teams" / "docs-site.yaml"

    @property
    def settings(self) -> Settings:
        """Where this scenario's server has its things."""
        return Settings(repo=self.repo, state_dir=self.home / "state", kubeconfig=self.cluster_setup.server_config)

    async def __aenter__(self) -> Self:
        """Build it all."""
        await to_thread.run_sync(self._build)
        await self._move_in()
        if self.serve:
            await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the server, and remove the namespaces in the background."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._leave)

    def _build(self) -> None:
        self.write_files()
        (self.repo / "README.md").write_text("# infra\n\nWhat runs where.\n", encoding="utf-8")
        self.write_policy(self.apps() if self.policy is None else self.policy)
        self.git("init", "-q", "-b", "main")
        for key, value in _PEOPLE.items():
            self.git("config", key, value)
        self.git("add", ".")
        self.git("commit", "-q", "-m", "The docs site as it runs")
        if self.live:
            self.roll_out()

    def write_files(self) -> None:
        """Write the app's files, in a layout that is not the template's."""
        self.manifest.parent.mkdir(parents=True)
        self.manifest.write_text(APP.format(namespace=self.namespace), encoding="utf-8")

    def roll_out(self) -> None:
        """Apply the app as people do, and wait until it runs."""
        self.kubectl("apply", "-f", self.manifest)
        self.cluster_setup.apply(self.cluster_setup.bindings(self.namespace))
        self.cluster_setup.api.rolled_out("docs", self.namespace)

    def write_policy(self, more: str) -> None:
        """Write infra.toml with more sections than the session's. It is not in force until it is accepted."""
        self.settings.policy_file.write_text(self.cluster_setup.policy(more), encoding="utf-8")

    async def _move_in(self) -> None:
        """What an operator does before the first start: accept the policy, add the peers."""
        text = self.settings.policy_file.read_text(encoding="utf-8")
        await offline.call(self.settings, "operator/policy.accept", {"digest": digest_of(text)})
        for name in self.peers:
            added = await offline.call(self.settings, "operator/peer.add", {"name": name, "circle": name})
            self.tokens[name] = added["token"]

    def _leave(self) -> None:
        if self.server is not None:
            self.server.kill()
        api = self.cluster_setup.api
        for name in api.namespaces():
            if self.name in name.split("-"):
                api.delete_namespace(name)

    # -- the server's process
    async def start(self, setup: Callable[[], None] | None = None, env: Mapping[str, str] | None = None) -> None:
        """Start a server; `setup` is called in its process first."""
        self.server = await to_thread.run_sync(partial(start_server, self.settings, env, setup=setup))

    async def kill(self) -> None:
        """End the server by SIGKILL and wait until it is gone."""
        assert self.server is not None
        await to_thread.run_sync(self.server.kill)

    async def stop(self) -> None:
        """Ask the server to stop, and wait until it has."""
        assert self.server is not None
        await to_thread.run_sync(self.server.stop)

    async def gone(self, seconds: float = 60.0) -> int | None:
        """Wait until the server has ended by itself; its exit code, negative for a signal, None when it still runs."""
        assert self.server is not None
        return await to_thread.run_sync(self.server.wait, seconds)

    async def restart(self, setup: Callable[[], None] | None = None) -> None:
        """Kill the server and start another."""
        await self.kill()
        await self.start(setup)

    @property
    def log(self) -> str:
        """What all servers of this scenario have logged."""
        return (self.settings.state_dir / "server.log").read_text(encoding="utf-8", errors="replace")

    async def accept_policy(self, more: str) -> None:
        """Change infra.toml and accept it, as the operator does at the running server's socket."""
        self.write_policy(more)
        digest = digest_of(self.settings.policy_file.read_text(encoding="utf-8"))
        await self.operate("operator/policy.accept", digest=digest)

    async def operate(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the socket as the local operator."""
        return await to_thread.run_sync(self._operate, method, params)

    async def approve(self, request: str, digest: str, *, approve: bool = True) -> dict[str, Any]:
        """Decide about a parked request, as the local operator."""
        return await self.operate("operator/approve", request_id=request, digest=digest, approve=approve)

    def _operate(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        with connect(self.settings, None) as client:
            return client.method(method, params)

    # -- as a peer
    @asynccontextmanager
    async def peer(self, name: str = "docs", *, mode: str = "auto") -> AsyncIterator[Client]:
        """Connect as a peer: an MCP client over HTTP with its token."""
        assert self.server is not None
        headers = {"Authorization": f"Bearer {self.tokens[name]}"}
        url = self.server.url
        async with (
            httpx2.AsyncClient(headers=headers, timeout=120) as web,
            Client(streamable_http_client(url, http_client=web), mode=mode, cache=None) as client,
        ):
            yield client

    @asynccontextmanager
    async def attend(self, *, mode: str = "auto", **options: Any) -> AsyncIterator[Client]:
        """Connect as a session that attends as infra: an MCP client over the socket. `options` are the client's."""
        transport = unix_transport(self.settings.socket, {"attend": "infra"})
        async with Client(transport, mode=mode, cache=None, **options) as client:
            yield client

    async def tool(self, name: str, *, by: str = "docs", **arguments: Any) -> Reply:
        """Call one tool as a peer, over a connection of its own."""
        async with self.peer(by) as client:
            return await self.call(client, name, **arguments)

    async def call(self, client: Client, name: str, **arguments: Any) -> Reply:
        """Call one tool over a connection that is there."""
        result = await client.call_tool(name, arguments)
        text = "\n".join(part.text for part in result.content if part.type == "text")
        return Reply(not result.is_error, text, dict(result.structured_content or {}))

    async def notify(self, text: str, *, by: str = "docs") -> Reply:
        """Notify the infra peer: `text` is the notify's id."""
        sent = await self.tool("notify_peer", by=by, peer_name="infra", message=text)
        assert sent.ok, sent.text
        return sent

    async def outcome(self, notify: str, *, by: str = "docs", seconds: float = 60.0) -> str:
        """Wait until what came of a notify is in its sender's inbox; its text. Marks nothing as read."""
        async with self.peer(by) as client:
            with anyio.fail_after(seconds):
                while True:
                    found = await self.call(client, "inbox", wait_seconds=0)
                    for one in found.data["messages"]:
                        if one["reply_to"] == notify:
                            return str(one["text"])
                    await anyio.sleep(0.05)

    async def ask(self, text: str, *, by: str = "docs", seconds: float = 60.0) -> Reply:
        """Ask the infra peer and wait for its ack: `text` is the reply, `data` all of `wait_on_ack`."""
        asked = await self.tool("ask", by=by, peer_name="infra", query=text)
        assert asked.ok, asked.text
        return await self.ack(asked.text.strip(), by=by, seconds=seconds)

    async def ack(self, ask_id: str, *, by: str = "docs", seconds: float = 60.0) -> Reply:
        """Wait for the ack of an ask."""
        acked = await self.tool("wait_on_ack", by=by, correlation_id=ask_id, timeout_seconds=seconds)
        assert acked.ok, acked.text
        assert acked.data["status"] == "resolved", acked.text
        return Reply(acked.data.get("exit") == 0, acked.data["reply"] or "", acked.data)

    # -- as the people beside it
    def kubectl(self, *words: str | Path, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl as the admin; what it printed."""
        return self.cluster_setup.run(*words, stdin=stdin, check=check).stdout

    def live_object(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """An object as the API server has it, managedFields included; None when it is not there."""
        return self.cluster_setup.api.get(kind, name, namespace)

    def git(self, *words: str | Path, check: bool = True) -> str:
        """Run git in the checkout, as its people do; what it printed."""
        done = subprocess.run(
            ["git", "-C", str(self.repo), *map(str, words)],
            env=os.environ | _ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"git {' '.join(map(str, words))}: {done.stderr}"
        return done.stdout

    def image(self) -> str:
        """The image that the app's Deployment is set to."""
        found = self.live_object("deployment", "docs", self.namespace)
        assert found is not None
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

    # -- as the auditor
    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Rows of the ledger, read by nothing but SQLite."""
        connection = sqlite3.connect(f"file:{self.settings.state_dir / 'ledger.sqlite3'}?mode=ro", uri=True, timeout=10)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]
        finally:
            connection.close()

    def requests(self) -> list[dict[str, Any]]:
        """All requests, oldest first."""
        return self.rows("SELECT * FROM requests ORDER BY position")

    def events(self, request: str) -> list[dict[str, Any]]:
        """The events of a request, oldest first."""
        return self.rows("SELECT * FROM events WHERE request = ? ORDER BY seq", request)

    async def reached(self, state: str, seconds: float = 30.0) -> str:
        """Wait until the newest request is in a state; its id."""
        with anyio.fail_after(seconds):
            while not (rows := self.requests()) or rows[-1]["state"] != state:  # noqa: ASYNC110 - another process's news
                await anyio.sleep(0.01)
        return str(rows[-1]["id"])

    async def settled(self, seconds: float = 90.0) -> list[dict[str, Any]]:
        """Wait until every request has ended; all requests, oldest first."""
        ends = {state.value for state in END}
        with anyio.fail_after(seconds):
            while any(row["state"] not in ends for row in self.requests()):  # noqa: ASYNC110 - another process's news
                await anyio.sleep(0.02)
        return self.requests()
