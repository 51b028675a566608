"""Two clusters in one policy: a request is planned, written and landed in the one that it is for, and in no other."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from drivers.json_world import KIND, Json, JsonWorld, body, deliveries
from engine.ledger_fixture import DOCS

from infra_mcp.actions.registry import EDITS
from infra_mcp.engine.engine import Engine
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.request import Submission
from infra_mcp.policy.actions import RULES
from infra_mcp.policy.policy import digest_of
from infra_mcp.policy.systems import SCOPES
from infra_mcp.repository.edit import apply_edits
from infra_mcp.repository.edits import Edit, Goal, Location, SetValue
from infra_mcp.settings import Settings

pytestmark = pytest.mark.anyio

POLICY = """
[[tree.roots]]
path = "prod"
cluster = "prod"
[[tree.roots]]
path = "test"
cluster = "test"
[clusters.prod]
context = "p"
[clusters.test]
context = "t"
[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy"]
images = ["registry.example/docs/*"]
[apps.docs]
owner = "docs"
workload = "docs-live/deployment/docs"
image = "registry.example/docs/site:{version}"
[apps.docs.environments.production]
at = "prod"
[apps.docs.environments.staging]
at = "test"
"""
THING = {place: f"{place}/thing.json" for place in ("prod", "test")}


class Clusters:
    """A repository with a thing for each cluster, and what each cluster holds."""

    def __init__(self, home, written=None):
        self.home, self.written = home, written
        self.worlds = {place: JsonWorld(home / f"{place}.json") for place in THING}
        self.settings = Settings(home / "repo", home / "state", home / "kubeconfig")
        for place, path in THING.items():
            (home / "repo" / path).parent.mkdir(parents=True)
            (home / "repo" / path).write_bytes(body("thing", value="1.0.0"))
            self.worlds[place].put("thing", {"value": "1.0.0"}, by="people")
        self.settings.policy_file.write_text(POLICY, encoding="utf-8")
        for words in (["init", "-qb", "main"], ["add", "-A"], ["commit", "-qm", "Begin"]):
            named = ["-c", "user.name=u", "-c", "user.email=u@localhost"]
            subprocess.run(["git", "-C", str(home / "repo"), *named, *words], check=True)

    async def edit(self, look, action):
        """Set the version in the file of the cluster that the request is for, or in the one that a test names."""
        path = THING[self.written or look.place]
        before = json.loads(look.tree.read(path))["data"]["value"]
        change = SetValue(path=path, field=("data", "value"), before=before, after=action.version)
        return Edit(apply_edits(look.tree, [change]), Goal("Deploy", timeout=20.0), (change,), (Location(path=path),))

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        """An engine with a driver for each cluster."""

        @asynccontextmanager
        async def connect(setup, _, place):
            yield Json("json", place, self.worlds[place], setup.masker, carries_out=True)

        made = {name: replace(one, connect=connect) for name, one in deliveries(self.home).items() if one.name == name}
        pin = digest_of(POLICY)
        async with Engine.open(self.settings, policy_pin=pin, deliveries=made) as engine:
            yield engine

    def live(self):
        """What each cluster holds, and who wrote it there."""
        return {place: (world.data("thing") or {}).get("value") for place, world in self.worlds.items()}


@pytest.fixture
def clusters(tmp_path, monkeypatch):
    def make(written=None):
        made = Clusters(tmp_path, written)
        rules = replace(
            RULES["deploy"],
            writes=frozenset({KIND}),
            systems=frozenset({"json"}),
            is_about=lambda *_: True,
            effect_refusals=lambda *_: iter(()),
        )
        monkeypatch.setitem(EDITS, "deploy", made.edit)
        monkeypatch.setitem(RULES, "deploy", rules)
        monkeypatch.setitem(SCOPES, "json", SCOPES["kubernetes"])
        return made

    return make


async def asked(engine, **named):
    action = Deploy(app="docs", version="2.0.0", **named)
    taken = await engine.submit(Submission(caller=DOCS, action=action, channel="tool"))
    return await engine.wait(taken.request.id, 60.0)


@pytest.mark.parametrize(
    ("named", "place"),
    [
        ({"environment": "production"}, "prod"),
        ({"environment": "staging"}, "test"),
        ({"cluster": "test"}, "test"),
    ],
)
async def test_a_request_lands_in_its_cluster_and_the_other_is_as_it_was(clusters, named, place):
    made = clusters()
    async with made.engine() as engine:
        done = await asked(engine, **named)

    assert done.state.value == "landed", done.receipt
    assert made.live() == {"prod": "1.0.0", "test": "1.0.0"} | {place: "2.0.0"}


async def test_a_request_that_could_be_for_either_is_refused_with_their_names(clusters):
    made = clusters()
    async with made.engine() as engine:
        done = await asked(engine)

    assert done.state.value == "refused"
    assert "prod, test" in json.dumps(done.receipt)
    assert made.live() == {"prod": "1.0.0", "test": "1.0.0"}


async def test_an_edit_below_another_clusters_root_is_refused_before_the_commit(clusters):
    made = clusters(written="prod")
    async with made.engine() as engine:
        done = await asked(engine, environment="staging")

    assert (done.state.value, done.commit) == ("refused", None)
    assert "effect.cluster" in json.dumps(done.receipt)
    assert made.live() == {"prod": "1.0.0", "test": "1.0.0"}
