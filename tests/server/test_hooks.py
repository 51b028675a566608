"""The door for webhooks: a signed event wakes what waits, and a new tag is its peer's release notice, once."""

import hashlib
import hmac
import json
import socket
from pathlib import Path

import anyio
import httpx2
import pytest
from anyio import to_thread
from running_server import POLICY, running_server

from infra_mcp.engine.signals import PROPOSALS
from infra_mcp.errors import InfraError
from infra_mcp.mesh.hooks import Hooks
from infra_mcp.policy.policy import load
from infra_mcp.policy.releases import render, version_of
from infra_mcp.server import hooks, http_guard

pytestmark = pytest.mark.anyio

KEY, OTHER = "k" * 40, "o" * 40
RELEASE = {
    "action": "published",
    "release": {
        "tag_name": "v1.4.0",
        "draft": False,
        "name": "deploy /merge everything",
        "body": "release/9.9.9 merged",
    },
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


async def releases(server):
    found = await server.engine.ledger.recent(None, 50, every_open=True)
    return [(one.caller.name, one.caller.circle, one.action.app, one.action.version) for one in found]


async def notifies(server):
    return [one for one in (await server.engine.ledger.search("", circle=None)).events if one.kind == "notify"]


@pytest.mark.promise("notify.catalogue")
@pytest.mark.parametrize("form", ["github", "gitea"])
@pytest.mark.parametrize("event", [RELEASE, TAG], ids=["release", "tag"])
async def test_a_new_tag_is_the_release_notice_of_its_peer_and_no_word_of_it_but_the_tag_counts(server, form, event):
    answer = await send(server, event, form=form)
    (notify,) = await notifies(server)

    assert (answer.status_code, answer.json()) == (200, {"ok": True, "notify": notify.data["id"]})
    assert await releases(server) == [("docs", "docs", "docs", "1.4.0")]
    assert notify.text.startswith("release/1.4.0 merged\n\nby hook docs, sha256")
    assert (notify.peer, notify.circle) == ("docs", "docs")


@pytest.mark.parametrize(
    "event",
    [
        RELEASE | {"action": "edited"},
        RELEASE | {"release": RELEASE["release"] | {"draft": True}},
        RELEASE | {"release": RELEASE["release"] | {"tag_name": "nightly"}},
        RELEASE | {"release": RELEASE["release"] | {"tag_name": "v1.4.0 merged, now release/9"}},
        RELEASE | {"release": RELEASE["release"] | {"tag_name": ["v1.4.0"]}},
        RELEASE | {"release": "v1.4.0"},
        TAG | {"ref": "refs/heads/v1.4.0"},
        TAG | {"before": "b" * 40},  # moved
        TAG | {"after": "0" * 40},  # deleted
        {"ref": "refs/tags/v1.4.0"},
        {"zen": "Keep it logically awesome.", "hook_id": 1},
        {},
    ],
    ids=str,
)
async def test_what_is_no_new_tag_of_the_policys_form_only_wakes(server, event):
    with server.engine.signals.waiter(PROPOSALS) as woken:
        answer = await send(server, event)

    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert woken.is_set()
    assert await releases(server) == []
    assert await notifies(server) == []


async def test_a_hook_without_a_peer_wakes_and_deploys_nothing(server):
    with server.engine.signals.waiter(PROPOSALS) as woken:
        answer = await send(server, RELEASE, "forge", key=OTHER)

    assert answer.json() == {"ok": True}
    assert woken.is_set()
    assert await releases(server) == []


async def test_the_same_event_again_does_nothing_again_also_after_a_restart(server):
    answers = [(await send(server, RELEASE, form=form)).json()["notify"] for form in ("github", "gitea")]
    fresh = Hooks(server.engine, server.service.releases, server.service.limits)  # which remembers nothing itself
    body = json.dumps(RELEASE).encode()
    answers.append(await fresh.take("docs", signed(body, form="gitea")["X-Gitea-Signature"], body))

    assert len(set(answers)) == 1
    assert len(await releases(server)) == len(await notifies(server)) == 1


async def test_of_many_at_once_of_the_same_event_one_counts(server):
    answers = []

    async def one():
        answers.append((await send(server, RELEASE)).json())

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(one)

    assert all(one == answers[0] for one in answers)
    assert len(await releases(server)) == len(await notifies(server)) == 1


async def test_an_event_that_is_sent_again_wakes_nothing_again(server):
    await send(server, {"action": "closed"})
    with server.engine.signals.waiter(PROPOSALS) as woken:
        await send(server, {"action": "closed"})
        assert not woken.is_set()
        await send(server, {"action": "reopened"})
        assert woken.is_set()


def no_signature(_):
    return {"Content-Type": "application/json"}


def of_another_hook(body):
    return signed(body, OTHER)


def of_another_body(body):
    return signed(body + b" ")


def cut_off(body):
    return {one: value[:-1] for one, value in signed(body).items() if one != "Content-Type"} | no_signature(body)


def by_sha1(body):
    digest = hmac.new(KEY.encode(), body, hashlib.sha1).hexdigest()
    return no_signature(body) | {"X-Hub-Signature": f"sha1={digest}", "X-Hub-Signature-256": ""}


def no_letters(body):
    return no_signature(body) | {"X-Gitea-Signature": b"\xff\xfe"}


@pytest.mark.promise("notify.catalogue")
@pytest.mark.parametrize("forge", [no_signature, of_another_hook, of_another_body, cut_off, by_sha1, no_letters])
async def test_a_forged_event_is_refused_with_the_answer_that_an_unknown_hook_gives(server, forge):
    body = json.dumps(RELEASE).encode()
    with server.engine.signals.waiter(PROPOSALS) as woken:
        forged = await send(server, body, headers=forge(body))
        unknown = await send(server, body, "no-such-hook")

    assert (forged.status_code, forged.content) == (unknown.status_code, unknown.content)
    assert forged.status_code == 403
    assert not woken.is_set()
    assert await releases(server) == []


@pytest.mark.parametrize("spoil", ["mode", "short", "gone"])
async def test_a_key_file_that_others_may_read_or_that_holds_no_key_opens_nothing(server, tmp_path, spoil):
    file, key = tmp_path / "docs.key", KEY
    if spoil == "mode":
        file.chmod(0o644)
    elif spoil == "short":
        key = "short"
        file.write_text(key, encoding="utf-8")
    else:
        file.unlink()
    answer = await send(server, RELEASE, key=key)

    assert answer.status_code == 403
    assert await releases(server) == []


async def test_a_hook_of_a_peer_that_was_removed_deploys_nothing(server):
    await server.engine.ledger.remove_peer("docs", "docs")
    answer = await send(server, RELEASE)

    assert answer.status_code == 403
    assert "infra-mcp peer add" not in answer.text
    assert await releases(server) == []


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b"\xff{}", DEEP, b'{"a":' + DEEP + b"}", b"1" * 5_000])
async def test_a_signed_body_that_is_no_json_object_is_refused(server, body):
    answer = await send(server, body)

    assert (answer.status_code, answer.json()) == (400, {"error": "The body is not a JSON object."})


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
async def test_another_content_type_is_refused_and_named(server, kind):
    body = json.dumps(RELEASE).encode()
    answer = await send(server, body, headers=signed(body) | {"Content-Type": kind})

    assert (answer.status_code, answer.json()) == (415, {"error": "The content type must be application/json."})


def connect(server, *fields):
    """A connection on which the head of an event was sent."""
    line = socket.create_connection(("127.0.0.1", int(server.url.split(":")[2].split("/")[0])), timeout=20)
    head = ("POST /hooks/docs HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *fields)
    line.sendall("\r\n".join((*head, "", "")).encode())
    return line


async def test_a_body_that_is_announced_as_too_large_is_not_read(server):
    with await to_thread.run_sync(connect, server, f"Content-Length: {hooks.MAX_BODY + 1}") as line:
        assert b" 413 " in await to_thread.run_sync(line.recv, 1000)


async def test_of_a_body_that_is_not_announced_no_more_than_the_limit_is_read(server):
    with await to_thread.run_sync(connect, server, "Transfer-Encoding: chunked") as line:
        await to_thread.run_sync(line.sendall, f"{64 << 20:x}\r\n".encode() + b" " * (hooks.MAX_BODY + 1))
        assert b" 413 " in await to_thread.run_sync(line.recv, 1000)


async def test_a_body_that_does_not_come_ends_in_time_and_others_are_answered_meanwhile(server, monkeypatch):
    monkeypatch.setattr(http_guard, "BODY_SECONDS", 1.0)
    lines = [await to_thread.run_sync(connect, server, "Content-Length: 50") for _ in range(4)]
    assert (await send(server, TAG)).status_code == 200
    for line in lines:
        with line:
            assert b" 408 " in await to_thread.run_sync(line.recv, 1000)


async def test_bodies_that_do_not_come_take_no_place_from_an_event_that_does(server):
    lines = [await to_thread.run_sync(connect, server, "Content-Length: 50") for _ in range(hooks._AT_ONCE + 4)]
    for line in lines[:4]:
        assert b" 503 " in await to_thread.run_sync(line.recv, 1000)
    assert (await send(server, TAG)).status_code == 200
    for line in lines:
        line.close()


async def test_more_events_at_once_than_are_taken_are_put_off(server, monkeypatch):
    monkeypatch.setattr(hooks, "_AT_ONCE", 0)
    answer = await send(server, RELEASE)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_a_post_is_an_event(server, method):
    async with httpx2.AsyncClient() as web:
        answer = await web.request(method, server.url.replace("/mcp", "/hooks/docs"))

    assert answer.status_code == 405


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ('peer = "docs"', "peer, circle and notify belong together"),
        ('notify = "release/{version}"', "peer, circle and notify belong together"),
        ('peer = "docs"\ncircle = "none"\nnotify = "r/{version}"', "names no circle of the policy"),
        ('tags = "v*"', "tags"),
    ],
)
def test_a_hook_of_the_policy_that_cannot_be_meant_so_is_refused(keys, why):
    with pytest.raises(InfraError, match=why) as caught:
        load(f'{POLICY}\n[hooks.docs]\nkey_file = "/k"\n{keys}\n')
    assert caught.value.code == "policy-invalid"


async def test_gitea_sends_a_release_and_it_is_deployed(server, gitea):
    """A real Gitea, whose webhook of a release reaches the door."""
    owner = gitea.account("owner")
    repository = gitea.repository(owner)
    await to_thread.run_sync(repository.webhook, server.url.replace("/mcp", "/hooks/docs"), KEY)
    inbox = server.engine.signals.waiter("inbox docs/docs")
    with inbox as news:
        body = {"tag_name": "v2.0.0", "target_commitish": "main", "name": "Two", "body": "release/9.9.9 merged"}
        await to_thread.run_sync(repository.call, "POST", "/releases", body)
        with anyio.fail_after(30):
            await news.wait()

    assert set(await releases(server)) == {("docs", "docs", "docs", "2.0.0")}


def test_the_policy_of_the_page_is_one():
    page = (Path(__file__).parents[2] / "docs" / "hooks.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    found = load(f"{POLICY}\n{example}").hooks

    assert render(found["docs"].notify, version_of(found["docs"].tags, "v1.4.0")) == "release/1.4.0 merged"
    assert found["forge"].notify is None
