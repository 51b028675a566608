"""Whether work can be done, and with which rights, compared with the pages; and whether the ledger is an older copy."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
from clients.kube.conftest import Fault, FaultProxy
from engine.ledger_fixture import POLICY
from running_server import running_server

from infra_mcp.clients.kube.credentials import load
from infra_mcp.codes import Exit
from infra_mcp.engine import Engine
from infra_mcp.engine.health import Readiness
from infra_mcp.ledger import Ledger
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.outcome import exit_for
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import Submission
from infra_mcp.policy.acceptance import PolicyInForce
from infra_mcp.policy.policy import digest_of
from infra_mcp.policy.policy import load as load_policy
from infra_mcp.policy.rbac import render, to_yaml
from infra_mcp.server import http
from infra_mcp.server.ownership import prepared
from infra_mcp.server.tools.call import Service
from infra_mcp.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

ROOT = """
[[tree.roots]]
path = "apps"
kind = "raw"
"""
PAT = Caller(name="pat", circle=None, strength="token", operator=True)


@asynccontextmanager
async def served(tmp_path, kubeconfig, context):
    """A real engine and its HTTP channel, connected by a kubeconfig; and what `/readyz` says."""
    settings = Settings(repo=tmp_path / "repo", state_dir=tmp_path / "state", kubeconfig=kubeconfig)
    await anyio.run_process(["git", "init", "-q", str(settings.repo)])
    prepared(settings.state_dir)
    text = POLICY.replace("kwok-infra", context) + ROOT
    settings.policy_file.write_text(text, encoding="utf-8")
    (settings.repo / "apps").mkdir()
    (settings.repo / "apps" / "docs.yaml").write_text(MANIFEST, encoding="utf-8")
    for words in (["checkout", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        await anyio.run_process(["git", "-C", str(settings.repo), *identity, *words])
    async with Engine.open(settings, policy_pin=digest_of(text)) as engine:
        service = Service(engine)
        with http.open_listener(http.LOOPBACK, 0) as listener:
            url = http.url_of(listener)
            async with anyio.create_task_group() as group, httpx2.AsyncClient() as web:
                group.start_soon(http.serve, http.make_server(service, url), listener)

                async def ready():
                    answer = await web.get(url.replace("/mcp", "/readyz"), timeout=30)
                    assert answer.status_code == (200 if answer.json()["ready"] else 503)
                    return answer.json()

                yield engine, ready
                service.stopping.set()


def to(path, server):
    config = {
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "it", "user": {"token": "any"}}],
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


async def rights_of(engine):
    """What it finds out about its own rights, once it is connected."""
    with anyio.fail_after(30):
        while (rights := engine.health().get("rights")) is None:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.05)
    return rights


async def until(ready, missing):
    """Ask until it says so: what it found is kept for a moment."""
    with anyio.fail_after(20):
        while await ready() != {"ready": not missing, "missing": missing}:  # noqa: ASYNC110 - nothing tells of it
            await anyio.sleep(0.1)


@pytest.mark.fault("f20")
async def test_a_server_whose_api_server_cannot_be_reached_is_not_ready(tmp_path):
    async with served(tmp_path, to(tmp_path / "config", "http://127.0.0.1:9"), "it") as (_, ready):
        assert await ready() == {"ready": False, "missing": ["cluster"]}


MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: docs, namespace: docs-live}
spec:
  selector: {matchLabels: {app: docs}}
  template:
    metadata: {labels: {app: docs}}
    spec: {containers: [{name: site, image: "registry.example/docs/site:1.0.0"}]}
"""


@pytest.mark.fault("f20")
async def test_a_change_that_fails_by_an_unreachable_api_server_exits_with_6_and_status_still_lists_the_apps(tmp_path):
    async with served(tmp_path, to(tmp_path / "config", "http://127.0.0.1:9"), "it") as (engine, _):
        caller = Caller(name="docs", circle="docs", strength="token")
        action = Deploy(app="docs", version="1.0.1")
        made = await engine.submit(Submission(caller=caller, action=action, channel="tool"))
        ended = await engine.wait(made.request.id, 30)
        apps = (await engine.status(caller))["apps"]

        assert ended.receipt["error"]["code"] == "cluster-unreachable"
        assert exit_for(ended.state.value, ended.receipt["error"]["code"]) == Exit.UNREACHABLE
        assert [(one["app"], one["health"]) for one in apps] == [("docs", "unknown")]
        assert "could not be reached" in apps[0]["reason"]


@pytest.mark.cluster
@pytest.mark.fault("w05")
@pytest.mark.parametrize("do", ["reset-before", "hang", "answer"])
async def test_a_stopped_api_server_makes_the_server_not_ready_until_it_is_back(tmp_path, control_plane, do):
    login = await load(control_plane.kubeconfig, control_plane.context)
    proxy = FaultProxy(login.host, login.rest.ssl_context)
    serving = proxy.serve()
    await anext(serving)
    try:
        async with served(tmp_path, to(tmp_path / "config", proxy.url), "it") as (_, ready):
            await until(ready, [])
            stopped = Fault("", do, times=10_000, status=503)
            proxy.faults.append(stopped)
            await until(ready, ["cluster"])
            proxy.faults.remove(stopped)
            await until(ready, [])
    finally:
        await anext(serving, None)


@pytest.mark.cluster
@pytest.mark.fault("w05")
async def test_a_full_disk_makes_the_server_not_ready_until_it_has_space(tmp_path, control_plane):
    async with served(tmp_path, control_plane.kubeconfig, control_plane.context) as (_, ready):
        await until(ready, [])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # each write to a file fails, as on a full disk
        try:
            await until(ready, ["disk"])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await until(ready, [])


@pytest.mark.cluster
@pytest.mark.fault("w01")
async def test_a_server_with_an_admins_credentials_says_so_in_its_status_and_its_log(tmp_path, control_plane, caplog):
    async with served(tmp_path, control_plane.kubeconfig, control_plane.context) as (engine, ready):
        await until(ready, [])
        rights = await rights_of(engine)

        assert "every right" in rights
        assert rights in caplog.text


@pytest.mark.fault("f20")
async def test_the_page_names_everything_that_can_be_missing(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"what is `missing`: (.*?)\. ", page, re.DOTALL)

    async def gone():
        return False

    async with running_server(tmp_path, "unix", policy=None) as at:
        at.engine.missing = Readiness((tmp_path / "nowhere",), gone).missing
        at.service.stopping.set()
        found = await http._missing(at.service)

    assert re.findall(r"`([a-z]+)`", told) == found


@pytest.fixture
async def admitted(control_plane, tmp_path):
    """The kubeconfig of a server's own account, with the rights that are rendered for it and no more."""
    name = f"rights-{uuid.uuid4().hex[:8]}"
    admin = [control_plane.kubectl, "--kubeconfig", control_plane.kubeconfig, "--context", control_plane.context]
    policy = POLICY
    rendered = render(load_policy(policy.replace('"kwok-infra"', f'"it"\nservice_accounts = "{name}"')), "sandbox")
    manifests = to_yaml(rendered).encode()
    await anyio.run_process([*admin, "apply", "--server-side", "-f", "-"], input=manifests)
    try:
        made = await anyio.run_process([*admin, "-n", name, "create", "token", "server"])
        view = json.loads(
            (await anyio.run_process([*admin, "config", "view", "--minify", "--flatten", "-o", "json"])).stdout
        )
        path = to(tmp_path / "config", "")
        config = json.loads(path.read_text(encoding="utf-8"))
        config["clusters"][0]["cluster"] = view["clusters"][0]["cluster"]
        config["users"][0]["user"] = {"token": made.stdout.decode().strip()}
        path.write_text(json.dumps(config), encoding="utf-8")
        yield path
    finally:
        gone = [*admin, "delete", "--wait=false", "--ignore-not-found", "-f", "-"]
        await anyio.run_process(gone, input=manifests, check=False)


@pytest.mark.cluster
@pytest.mark.fault("w01")
async def test_a_server_with_only_its_own_rights_warns_of_nothing(tmp_path, admitted):
    async with served(tmp_path, admitted, "it") as (engine, ready):
        await until(ready, [])
        assert await rights_of(engine) == ""


BARE = '[clusters.sandbox]\ncontext = "kwok-infra"\n'
ELSEWHERE = "f" * 64


async def _reported(settings, caplog):
    """What a server that starts on this ledger reports of it: in its health, and in its log."""
    caplog.clear()
    async with Engine.open(settings) as engine:
        return engine.health().get("ledger"), caplog.text


def _git(repo, *arguments):
    own = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    done = subprocess.run(["git", "-C", repo, *own, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _commit(repo, head):
    _git(repo, "commit", "-q", "--allow-empty", "-m", f"Deploy docs 1\n\nAudit-Head: {head}")


@pytest.mark.fault("w04")
async def test_an_older_copy_of_the_ledger_is_noticed_at_start_against_the_newest_heads_on_the_branch(tmp_path, caplog):
    repo, state = tmp_path / "repo", tmp_path / "state"
    repo.mkdir()
    _git(repo, "init", "-q", "-b", "main")
    settings = Settings(repo=repo, state_dir=state, kubeconfig=tmp_path / "none")
    settings.policy_file.write_text(BARE, encoding="utf-8")
    ledger = await Ledger.open_in(state)
    await PolicyInForce(settings.policy_file, ledger).accept(digest_of(BARE), PAT)
    _commit(repo, await ledger.head())
    await ledger.aclose()
    shutil.copytree(state, tmp_path / "older")
    ledger = await Ledger.open_in(state)
    _commit(repo, newest := await ledger.note("note", "docs", {}))
    await ledger.aclose()
    last = _git(repo, "rev-parse", "HEAD")

    whole = await _reported(settings, caplog)
    behind, logged = await _reported(
        Settings(repo=repo, state_dir=tmp_path / "older", kubeconfig=tmp_path / "none"), caplog
    )
    _commit(repo, ELSEWHERE)  # anyone with push rights can write one: it is reported as a claim, and hides nothing
    claimed, _ = await _reported(settings, caplog)

    assert (whole[0], "older copy" in whole[1]) == (None, False)
    assert last[:12] in behind
    assert newest[:12] in behind
    assert "older copy" in behind
    assert "Ann" in behind
    assert behind in logged
    assert ELSEWHERE[:12] in claimed
