"""What a peer is told that was not understood: its own circle's forms, each of which can be sent back as it stands."""

from __future__ import annotations

import json
import re

import pytest
from running_server import POLICY, running_server

from infra_mcp.mesh.asks import ask
from infra_mcp.mesh.blocks import blocks
from infra_mcp.mesh.clarify import what_may_be_asked
from infra_mcp.mesh.intent import NotUnderstood, Understood, parse
from infra_mcp.model.outcome import Receipt
from infra_mcp.model.peer import Caller
from infra_mcp.model.request import State
from infra_mcp.server.operator import OPERATOR

pytestmark = pytest.mark.anyio

DOCS = Caller(name="docs", circle="docs", strength="token")
NAMESAKE = Caller(name="docs", circle="shop", strength="token")
SHOP = Caller(name="shop", circle="shop", strength="token")
READER = Caller(name="reader", circle="readers", strength="token")
MORE = f"""{POLICY}
[apps.search]
owner = "docs"
workload = "docs-live/deployment/search"
image = "registry.example/docs/search:{{version}}"
[circles.web]
namespaces = ["web", "*-web"]
actions = ["provision_namespace", "deploy"]
pull_secrets = ["registry.x"]
[pull_secrets."registry.x"]
from = "infra-secrets/registry-x"
"""

# What peers send that no action comes of, and what each has in common with a form that would.
UNCLEAR = [
    "hello there",
    "make it so",
    "I need a namespace docs-preview soon",
    "I need a namespace 'docs-preview' with image-pull secret X and delete docs-live",
    "deploy docs 0.13.4",
    "deploy 0.13.4",
    "deploy docs",
    "please ship it",
    "scale docs to 4",
    "",
    '```infra\n{"action": "deploy", "app": "docs", "version": "0.13.4", "dryRun": true}\n```',
    '```infra\n{"action": "deploy", "version": "0.13.4"}\n```',
    '```infra\n{"action": "deploy", "app": "docs", "version": "0.13.4", "force": true, "reason": "now"}\n```',
    '```infra\n{"action": "provision_namespace", "namespace": "docs-a", "quota": {"cpus": "4"}}\n```',
    '```infra\n{"action": "provision_namespace", "labels": {"team": "docs"}}\n```',
    '```infra\n{"action": "rm", "app": "docs"}\n```',
    "```infra\n{\n```",
]


def forms(text: str) -> list[str]:
    """Every sentence and every block in an answer, as someone who reads it would take them out."""
    found = [f"```infra\n{one.body}\n```" for one in blocks(text)]
    outside = re.sub(r"(?ms)^ {0,3}```infra$.*?^ {0,3}```$", "", text)
    return found + [line.strip() for line in outside.splitlines() if line.startswith("  I need ")]


def landed(request) -> Receipt:
    return Receipt(request=request.id, state=State.LANDED, message="done", action=request.action.action)


async def answered(at, caller, text):
    return await at.engine.wait_ask(await ask(at.engine, caller, "infra", text), 5)


@pytest.mark.promise("intent.clarify")
@pytest.mark.parametrize("known", [True, False], ids=["landed-before", "first-time"])
@pytest.mark.parametrize("text", UNCLEAR)
async def test_every_sentence_and_block_of_the_ack_is_understood_when_sent_back(tmp_path, text, known):
    async with running_server(tmp_path, "unix", script=landed, policy=MORE) as at:
        if known:
            await answered(at, DOCS, '```infra\n{"action": "deploy", "app": "docs", "version": "0.13.3"}\n```')
        reply = (await answered(at, DOCS, text)).reply
        offered = forms(reply)

        assert 'What "docs" of circle "docs" can ask:' in reply
        assert "I need a namespace 'docs-staging' with image-pull secret X" in offered
        assert all(isinstance(parse(form), Understood) for form in offered), offered
        back = [(await answered(at, DOCS, form)).request for form in offered]
        assert all(back)


@pytest.mark.promise("intent.clarify")
async def test_the_nearest_form_comes_first_filled_in_with_what_is_known(tmp_path):
    async with running_server(tmp_path, "unix") as at:
        sentence = (await answered(at, DOCS, "I need a namespace docs-preview soon")).reply
        deploy = (await answered(at, DOCS, "could you deploy 0.13.4?")).reply
        unknown = (await answered(at, DOCS, "deploy docs")).reply

        assert sentence.index("'docs-preview'") < sentence.index('What "docs" of circle "docs" can ask')
        assert json.loads(blocks(deploy)[0].body) == {"action": "deploy", "app": "docs", "version": "0.13.4"}
        assert '"app": "docs" and, for you to fill in, "version"' in unknown
        assert blocks(unknown) == []


@pytest.mark.promise("intent.clarify")
async def test_what_landed_last_stands_in_the_block_of_each_own_app(tmp_path):
    async with running_server(tmp_path, "unix", script=landed, policy=MORE) as at:
        for app, version in (("docs", "0.13.3"), ("search", "2.0")):
            block = json.dumps({"action": "deploy", "app": app, "version": version})
            await answered(at, DOCS, f"```infra\n{block}\n```")
        offered = [json.loads(one.body) for one in blocks((await answered(at, DOCS, "hm")).reply)]

        assert offered == [
            {"action": "deploy", "app": "docs", "version": "0.13.3"},
            {"action": "deploy", "app": "search", "version": "2.0"},
        ]


@pytest.mark.promise("intent.clarify")
async def test_a_dry_run_that_was_misspelt_is_not_offered_as_a_real_one():
    given = {"action": "deploy", "app": "docs", "version": "1"}
    for wrong in ({"dryRun": True}, {"dry-run": True}, {"DryRun": True}, {"plan_only": True}, {"dry_run": "yes"}):
        answer = parse(f"```infra\n{json.dumps(given | wrong)}\n```")
        assert isinstance(answer, NotUnderstood)
        again = parse(answer.nearest[0])
        assert isinstance(again, Understood)
        assert again.dry_run is True, wrong
    fine = parse(f"```infra\n{json.dumps({**given, 'onFailure': 'hold'})}\n```")
    assert isinstance(fine, NotUnderstood)
    assert "dry_run" not in fine.nearest[0]
    assert '"on_failure": "hold"' in fine.nearest[0]


@pytest.mark.promise("policy.reason")
async def test_each_circle_is_shown_its_own_forms_and_nothing_of_others(tmp_path):
    async with running_server(tmp_path, "unix", policy=MORE) as at:
        shop = await what_may_be_asked(at.engine, SHOP, ('```infra\n{"action": "deploy", "app": "docs"}\n```',))
        namesake = await what_may_be_asked(at.engine, NAMESAKE)
        web = await what_may_be_asked(at.engine, Caller(name="web", circle="web", strength="token"))

        assert "'shop-staging'" in shop
        assert not {"deploy", "docs", "secret", "X"} & set(re.findall(r"\w+", shop))
        assert "docs-" not in namesake
        assert "I need a namespace 'web' with image-pull secret 'registry.x'" in web
        assert "no app of this peer yet" in web
        assert "grants this circle no action" in await what_may_be_asked(at.engine, READER)
        assert "no circle" in await what_may_be_asked(at.engine, OPERATOR)


async def test_without_a_policy_it_says_so(tmp_path):
    async with running_server(tmp_path, "unix", policy=None) as at:
        assert "policy-not-accepted" in await what_may_be_asked(at.engine, DOCS)


NO_APP = [
    "roll back frontend",
    "deploy frontend 0.13.4",
    "please ship 0.13.4 of frontend",
    "update and deploy everything to 0.13.4",
    "upgrade frontend@0.13.4",
    "deploy search 0.13.4",
    '```infra\n{"action": "deploy", "app": "frontend", "version": "0.13.4", "force": true}\n```',
]


@pytest.mark.promise("intent.clarify")
@pytest.mark.parametrize("text", NO_APP)
async def test_no_app_is_proposed_that_is_none_of_the_askers(tmp_path, text):
    other = (
        '\n[apps.search]\nowner = "shop"\nworkload = "docs-live/deployment/s"\nimage = "registry.example/s:{version}"\n'
    )
    async with running_server(tmp_path, "unix", policy=POLICY + other) as at:
        reply = (await answered(at, DOCS, text)).reply
        offered = [json.loads(one.body) for one in blocks(reply)]

        assert not any("app" in one for one in offered), reply
        assert not re.search(r'"(frontend|back|update|everything|search)"', reply)
        if "0.13.4" in text:
            assert re.search('"version": "0.13.4".* and, for you to fill in, "app"', reply)


@pytest.mark.promise("intent.clarify")
@pytest.mark.parametrize(
    "text", ["please update and deploy docs to 0.13.4", "deploy everything of docs 0.13.4", "bump prod docs:0.13.4"]
)
async def test_of_all_words_the_one_that_names_an_app_of_the_asker_is_taken_for_it(tmp_path, text):
    async with running_server(tmp_path, "unix", policy=MORE) as at:
        reply = (await answered(at, DOCS, text)).reply

        assert json.loads(blocks(reply)[0].body) == {"action": "deploy", "app": "docs", "version": "0.13.4"}


@pytest.mark.fault("r9")
@pytest.mark.promise("intent.clarify")
async def test_an_environment_of_the_app_is_filled_in_and_one_that_it_has_not_is_asked_for(tmp_path):
    places = '[apps.docs.environments.staging]\nat = ["k8s/a"]\n[apps.docs.environments.production]\nat = ["k8s/b"]\n'
    async with running_server(tmp_path, "unix", policy=f"{POLICY}\n{places}") as at:
        known = (await answered(at, DOCS, "update docs image tag to 1.2.3 for production")).reply
        other = (await answered(at, DOCS, "roll back docs to 1.2.3 in prod")).reply

        wanted = {"action": "deploy", "app": "docs", "version": "1.2.3", "environment": "production"}
        assert json.loads(blocks(known)[0].body) == wanted
        assert '"version": "1.2.3" and, for you to fill in, "environment"' in other
