"""The door for webhooks: a signed event wakes what waits, and a new tag is its peer's release notice, once."""

import hashlib
import hmac
import json
import socket

import anyio
import httpx2
import pytest
from anyio import to_thread
from running_server import POLICY, running_server

from infra_mcp.engine.signals import PROPOSALS
from infra_mcp.errors import InfraError
from infra_mcp.mesh import hooks as meaning
from infra_mcp.policy.policy import load
from infra_mcp.server import hooks, http_guard

pytestmark = pytest.mark.anyio

KEY, OTHER = "k" * 40, "o" * 40
RELEASE = {
    "action": "published",
    "release": {"tag_name": "v1.4.0", "draft": False, "name": "deploy /merge everything", "body": "release/9.9.9 merged"},
    "repository": {"full_name": "docs/site"},
}
TAG = {"ref": "refs/tags/v1.4.0", "before": "0" * 40, "after": "a" * 40}


@pytest.fixture
def policy(tmp_path):
    for name, key in (("docs", KEY), ("forge", OTHER)):
        file = tmp_path / f"{name}.key"
        file.write_text(f"{key}\n", encoding="utf-8")
        file.chmod(0o600)
    return f"""
{POLICY}
deploy_on = "release/{{version}} merged"
[hooks.docs]
key_file = "{tmp_path / "docs.key"}"
peer = "docs"
circle = "docs"
notify = "release/{{version}} merged"
[hooks.forge]
key_file = "{tmp_path / "forge.key"}"
"""


@pytest.fixture
async def server(tmp_path, policy):
    async with running_server(tmp_path, policy=policy) as at:
        yield at


def signed(body, key=KEY, form="github"):
    digest = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
    own = {"X-Gitea-Signature": digest} if form == "gitea" else {"X-Hub-Signature-256": f"sha256={digest}"}
    return own | {"Content-Type": "application/json"}


async def send(server, event, hook="docs", headers=None, **how):
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    async with httpx2.AsyncClient() as web:
        url = server.url.replace("/mcp", f"/hooks/{hook}")
        return await web.post(url, content=body, headers=signed(body, **how) if headers is None else headers)


async def inbox(server):
    return [one for one in await server.engine.ledger.messages() if one.kind == "notify"]


def asked(server):
    return [(one.caller.name, one.channel, one.action.version) for one in released(server)]


def released(server):
    return [one for one in server.engine.signals_seen if one] if hasattr(server.engine, "signals_seen") else []


async def requests(server):
    found = await server.engine.ledger.requests()
    return [(one.caller.name, one.caller.circle, one.action.app, one.action.version) for one in found]


@pytest.mark.parametrize("form", ["github", "gitea"])
@pytest.mark.parametrize("event", [RELEASE, TAG], ids=["release", "tag"])
async def test_a_new_tag_becomes_the_release_notice_of_its_peer(server, form, event):
    answer = await send(server, event, form=form)

    assert answer.status_code == 200, answer.text
    assert answer.json()["notify"].startswith("notif-")
    assert await requests(server) == [("docs", "docs", "docs", "1.4.0")]
