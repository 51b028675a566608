"""One path: every command calls the tools that models call, or a method that is told here, and nothing else."""

from __future__ import annotations

import argparse

import pytest
from shell import shell

from infra_mcp.cli.main import parser
from infra_mcp.model.actions import ACTIONS
from infra_mcp.server.app import InfraServer
from infra_mcp.server.operator import METHODS, Operator
from infra_mcp.server.tools import TOOLS

DIGEST = "sha256:" + "0" * 64
SEED = "I need a namespace 'docs-staging' with image-pull secret X"
# Each command that speaks to a server: words, who runs it, and what it calls, in this order.
CALLS = {
    "ask": (["ask", SEED], "docs", ["ask", "wait_on_ack"]),
    "notify": (["notify", "infra", "hello"], "docs", ["notify_peer"]),
    "inbox": (["inbox"], "docs", ["inbox"]),
    "ack": (["ack", "ask-000000000000"], "docs", ["ack"]),
    **{
        name.replace("_", "-"): (
            [name.replace("_", "-"), *(str(model.example[field]) for field in model.positional)],
            "docs",
            [name if model.listed else "change"],
        )
        for name, model in ACTIONS.items()
    },
    "run": (["run", "deploy", "app=docs", "version=1"], "docs", ["deploy"]),
    "request list": (["request", "list"], "docs", ["infra/requests"]),
    "request show": (["request", "show", "req-0"], "docs", ["get_request"]),
    "request watch": (["request", "watch", "req-0"], "docs", ["get_request"]),
    "request cancel": (["request", "cancel", "req-0"], "docs", ["cancel"]),
    "request resolve": (["request", "resolve", "req-0", "seen"], None, ["operator/resolve"]),
    "audit search": (["audit", "search", "x"], "docs", ["search_audit"]),
    "audit show": (["audit", "show", "docs-live/deployment/docs"], "docs", ["infra/trail"]),
    "audit head": (["audit", "head"], None, ["operator/audit.head"]),
    "audit verify": (["audit", "verify"], None, ["operator/policy.show", "operator/audit.verify"]),
    "status": (["status"], None, ["status", "operator/health"]),
    "approve": (["approve", "req-0", DIGEST], None, ["operator/approve"]),
    "deny": (["deny", "req-0", DIGEST], None, ["operator/approve"]),
    "peer add": (["peer", "add", "a", "--circle", "docs"], None, ["operator/peer.add"]),
    "peer remove": (["peer", "remove", "shop"], None, ["operator/peer.remove"]),
    "peer token": (["peer", "token", "shop"], None, ["operator/peer.token"]),
    "peer confirm": (["peer", "confirm", "alice"], None, ["operator/peer.confirm"]),
    "peer list": (["peer", "list"], None, ["operator/peer.list"]),
    "policy show": (["policy", "show"], None, ["operator/policy.show"]),
    "policy diff": (["policy", "diff"], None, ["operator/policy.diff"]),
    "policy check": (["policy", "check"], None, ["operator/policy.check"]),
    "policy test": (["policy", "test", "infra.toml"], None, ["operator/policy.test"]),
    "policy accept": (["policy", "accept"], None, ["operator/policy.diff"]),
    "freeze": (["freeze", "--reason", "the network"], None, ["operator/freeze"]),
    "unfreeze": (["unfreeze"], None, ["operator/unfreeze"]),
    "dashboard": (["dashboard", "--print"], None, ["operator/dashboard"]),
    "backup": (["backup", "infra.backup"], None, ["operator/backup"]),
}
# Those that start, make or read something on this machine, and call no server.
ALONE = {
    "check",
    "init",
    "apps",
    *(f"preview {name.replace('_', '-')}" for name in ACTIONS),
    "serve",
    "connect",
    "rbac diff",
    "rbac render",
    "restore",
    "completion",
    "sandbox up",
    "sandbox status",
    "sandbox down",
    "sandbox binaries",
    "tools get",
    "policy explain",
    "doctor",  # it works without a server, and asks one where one runs: see its own tests
}
# Over a URL there are tools, and an operator's decisions; what a socket's method tells is told by these.
BY_URL = {"request list": {"search_audit", "get_request"}, "audit show": {"search_audit", "get_request"}}
DECISIONS = {"operator/approve", "operator/resolve"}


def leaves_of(tree, *path):
    """Every command that does something, by its words."""
    inner = [action.choices for action in tree._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield " ".join(path)
    for choices in inner:
        for word, below in choices.items():
            yield from leaves_of(below, *path, word)


@pytest.fixture
def called(monkeypatch):
    """What a server in this process is called for, in its order."""
    names = []
    call_tool, call = InfraServer.call_tool, Operator.call

    async def tool(self, name, arguments, context=None):
        names.append(name)
        return await call_tool(self, name, arguments, context)

    async def method(self, caller, name, params):
        names.append(name)
        return await call(self, caller, name, params)

    monkeypatch.setattr(InfraServer, "call_tool", tool)
    monkeypatch.setattr(Operator, "call", method)
    return names


def test_every_command_is_told_here():
    leaves = set(leaves_of(parser()))

    assert leaves - {"connect"} == (set(CALLS) | ALONE) - {"connect"}
    for _, _, calls in CALLS.values():
        assert set(calls) <= set(TOOLS) | set(METHODS)


@pytest.mark.process
@pytest.mark.anyio
@pytest.mark.promise("cli.same-path")
async def test_every_command_calls_what_is_told_here_and_nothing_else(tmp_path, called):
    async with shell(tmp_path) as (at, run):
        for command, (words, who, calls) in CALLS.items():
            called.clear()
            done = await run(*words, token=at.tokens[who] if who else None)

            # a change and a wait may be called for again, under the same key
            assert list(dict.fromkeys(called)) == calls, (command, called, done)
            assert "Traceback" not in done.err, (command, done)


@pytest.mark.process
@pytest.mark.anyio
@pytest.mark.promise("cli.same-path")
async def test_by_a_url_a_command_calls_tools_or_decides_or_says_that_it_cannot(tmp_path, called):
    async with shell(tmp_path, "both") as (at, run):
        for command, (words, who, calls) in CALLS.items():
            if who is None and command not in {"status", "approve", "deny", "request resolve"}:
                continue  # works on this machine's own server, whatever the URL
            called.clear()
            done = await run(*words, "--url", at.url, token=at.tokens["docs"])

            assert set(called) <= {*TOOLS, *DECISIONS}, (command, called)
            assert set(called) <= BY_URL.get(command, set(calls)), (command, called)
            assert called or "own machine" in done.err, (command, done)


@pytest.mark.process
@pytest.mark.anyio
@pytest.mark.promise("cli.same-path")
async def test_the_same_policy_refuses_and_the_same_ledger_tells_both_doors_apart(tmp_path):
    async with shell(tmp_path) as (at, run):
        arguments = {"namespace": "docs-preview"}
        async with at.unix("shop") as client:
            by_tool = await client.call_tool("provision_namespace", arguments)
        by_shell = await run("provision-namespace", "docs-preview", "--json", token=at.tokens["shop"])
        listed = (await run("request", "list", "--json")).json["requests"]

        told = by_tool.structured_content
        assert by_shell.code == told["exit"] == 3
        for key in ("code", "what", "next", "error"):
            assert by_shell.json[key] == told[key]
        assert [one["door"] for one in listed] == ["cli", "tool"]
        assert {one["caller"] for one in listed} == {"shop"}
        assert {one["state"] for one in listed} == {"refused"}
