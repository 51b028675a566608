"""A Flux-shaped repository and no cluster: what others deliver is committed, and a page is the evidence."""

from __future__ import annotations

import pytest
from engine.ledger_fixture import DOCS, PAT
from engine.two_kinds import until
from engine.zone_ground import ZoneGround
from forge_world import ForgeWorld
from scripted_http import Answer, scripted

from infra_mcp.engine.engine import Engine
from infra_mcp.engine.repositories import Repositories
from infra_mcp.model.actions.configure import Configure
from infra_mcp.model.actions.deploy import Deploy
from infra_mcp.model.approval import Decided
from infra_mcp.model.request import State, Submission
from infra_mcp.policy.policy import digest_of

pytestmark = [pytest.mark.anyio, pytest.mark.promise("delivery.external")]

RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata:
  name: docs
  namespace: docs-live
spec:
  chart:
    spec:
      chart: docs
      version: 4.0.0
      sourceRef: {kind: HelmRepository, name: charts}
  values:
    image:
      repository: registry.example/docs/site
      tag: 1.1.0   # set by releases
"""
FLUX = """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec: {path: ./apps, prune: true, sourceRef: {kind: GitRepository, name: infra}}
"""
POLICY = """
[[tree.roots]]
path = "apps"
delivery = "%s"
[circles.docs]
namespaces = ["docs-*"]
actions = ["deploy"]
images = ["registry.example/docs/*"]
[[owners]]
paths = ["apps/docs/**"]
owner = "docs"
[apps.docs]
owner = "docs"
%s
"""
PATH = "apps/docs/release.yaml"
FILES = {PATH: RELEASE, "clusters/main/apps.yaml": FLUX}


class Ground(ZoneGround):
    """The repository, and an engine with its real drivers."""

    def lay(self, *more: str, delivery: str = "external") -> Ground:
        self.make(POLICY % (delivery, "\n".join(more)), FILES)
        return self

    def opened(self, actions=""):
        pin = digest_of(self.settings.policy_file.read_text(encoding="utf-8"))
        return Engine.open(self.settings, policy_pin=f"{pin}{actions}")

    @staticmethod
    async def deploy(engine, version="1.2.0", **more):
        action = Deploy(app="docs", version=version)
        request = (await engine.submit(Submission(caller=DOCS, action=action, channel="tool", **more))).request
        return await engine.wait(request.id, 60.0)


VERSIONS = 'versions = ["1.*"]'


async def test_without_evidence_a_change_ends_committed_and_without_any_cluster(tmp_path):
    ground = Ground(tmp_path).lay(VERSIONS)
    async with ground.opened() as engine:
        shown = await ground.deploy(engine, dry_run=True)
        done = await ground.deploy(engine)
        again = await ground.deploy(engine)

    assert any("no evidence in infra.toml" in note for note in shown.receipt["plan"]["notes"])
    assert done.state is State.COMMITTED, done.receipt
    assert "no evidence in infra.toml shows when it is live" in done.receipt["message"]
    assert again.state is State.UNCHANGED, again.receipt
    assert ground.show(PATH) == RELEASE.replace("1.1.0", "1.2.0")


async def test_what_nothing_renders_here_waits_for_an_approval_unless_policy_names_the_version(tmp_path):
    ground = Ground(tmp_path).lay()
    async with ground.opened() as engine:
        waiting = await ground.deploy(engine)
        before = ground.subjects()
        await engine.approve(PAT, waiting.id, waiting.effect_digest, Decided(approve=True, way="cli"))
        done = await engine.wait(waiting.id, 60.0, to_end=True)

    assert (waiting.state, before) == (State.AWAITING_APPROVAL, [])
    assert done.state is State.COMMITTED, done.receipt


async def test_a_page_that_shows_the_version_is_the_landing(tmp_path):
    live = ["1.1.0"]

    def answer(_):
        # Somebody delivers what is committed.
        live[:] = ["1.2.0"] if ground.subjects() else live
        return Answer({"version": live[0]})

    with scripted(answer) as (url, _):
        page = f'url = {{ at = "{url}/version", pointer = "/version", value = "{{version}}", private = true }}'
        ground = Ground(tmp_path).lay(VERSIONS, "[apps.docs.evidence]", page)
        async with ground.opened() as engine:
            done = await ground.deploy(engine)

    assert done.state is State.LANDED, done.receipt
    assert f'url {url}/version answers "1.2.0"' in done.receipt["message"]


async def test_a_page_that_shows_it_before_the_commit_is_no_evidence(tmp_path):
    with scripted(lambda _: Answer({"version": "1.2.0"})) as (url, _):
        page = f'url = {{ at = "{url}/version", pointer = "/version", value = "{{version}}", private = true }}'
        ground = Ground(tmp_path).lay(VERSIONS, "[apps.docs.evidence]", page)
        async with ground.opened() as engine:
            done = await ground.deploy(engine)

    assert done.state is State.COMMITTED, done.receipt


async def test_an_approved_change_whose_server_ends_while_it_waits_is_confirmed_by_the_next_one(tmp_path):
    live = ["1.1.0"]
    with scripted(lambda _: Answer({"version": live[0]})) as (url, _):
        page = f'url = {{ at = "{url}/version", pointer = "/version", value = "{{version}}", private = true }}'
        ground = Ground(tmp_path).lay("[apps.docs.evidence]", page)
        async with ground.opened() as engine:
            waiting = await ground.deploy(engine)
            await engine.approve(PAT, waiting.id, waiting.effect_digest, Decided(approve=True, way="cli"))
            await until(lambda: "answers" in engine.progress(waiting.id))
        live[:] = ["1.2.0"]
        async with ground.opened() as engine:
            done = await engine.wait(waiting.id, 60.0, to_end=True)

    assert done.state is State.LANDED, done.receipt
    assert ground.subjects() == ["Deploy docs 1.2.0"]


PROPOSING = """
[tree]
write = "pull-request"
[forge]
kind = "gitea"
url = "http://127.0.0.1:9"
repository = "team/infra"
poll = "1s"
"""


def proposing(tmp_path, monkeypatch, *more):
    """The ground at a remote, with a forge in memory where people merge."""
    ground = Ground(tmp_path)
    ground.make(POLICY.replace("[[tree", f"{PROPOSING}\n[[tree", 1) % ("external", "\n".join([VERSIONS, *more])), FILES)
    bare = tmp_path / "origin.git"
    ground.git("clone", "-q", "--bare", str(ground.repo), str(bare))
    ground.git("remote", "add", "origin", str(bare))
    forge = ForgeWorld(bare)

    async def connected(*_):
        return forge

    monkeypatch.setattr(Repositories, "forge", connected)
    return ground, forge


@pytest.mark.parametrize("how", ["merge", "squash", "rebase"])
async def test_what_is_live_as_soon_as_people_have_merged_it_is_confirmed_by_a_page(tmp_path, monkeypatch, how):
    """The page shows it before the server has seen that it was merged."""
    live = ["1.1.0"]
    with scripted(lambda _: Answer({"version": live[0]})) as (url, _):
        page = f'url = {{ at = "{url}/version", pointer = "/version", value = "{{version}}", private = true }}'
        ground, forge = proposing(tmp_path, monkeypatch, "[apps.docs.evidence]", page)
        async with ground.opened() as engine:
            waiting = await ground.deploy(engine)
            live[:] = ["1.2.0"]
            forge.merge(1, how)
            done = await engine.wait(waiting.id, 60.0, to_end=True)

    assert waiting.state is State.PROPOSED, waiting.receipt
    assert done.state is State.LANDED, done.receipt


async def test_a_check_of_the_merge_commit_is_the_evidence_and_one_before_the_merge_where_policy_says_so(
    tmp_path, monkeypatch
):
    for number, applies in enumerate(("on-branch", "before-merge")):
        check = f'check = {{ name = "deploy", by = "ann", applies = "{applies}" }}'
        ground, forge = proposing(tmp_path / applies, monkeypatch, "[apps.docs.evidence]", check)
        async with ground.opened() as engine:
            waiting = await ground.deploy(engine)
            head = forge.made[1].head or forge.git("rev-parse", forge.made[1].branch)
            if number:
                forge.passes(head, "deploy", "ann")
            merged = forge.merge(1, "squash")
            if not number:
                await until(lambda: "not set for" in engine.progress(waiting.id))  # noqa: B023 - awaited here
                forge.passes(merged, "deploy", "ann")
            done = await engine.wait(waiting.id, 60.0, to_end=True)

        assert done.state is State.LANDED, done.receipt
        assert f"succeeded for {(merged, head)[number][:12]}" in done.receipt["message"]


async def test_without_evidence_what_people_merged_ends_merged(tmp_path, monkeypatch):
    ground, forge = proposing(tmp_path, monkeypatch)
    async with ground.opened() as engine:
        waiting = await ground.deploy(engine)
        forge.merge(1)
        done = await engine.wait(waiting.id, 60.0, to_end=True)

    assert done.state is State.MERGED, done.receipt


async def test_a_page_with_a_version_says_nothing_of_a_change_that_sets_none(tmp_path):
    page = 'url = { at = "http://127.0.0.1:9/", value = "{version}", private = true }'
    setting = ["[apps.docs.settings.tries]", f'at = "{PATH}#spec.install.remediation.retries"', 'type = "integer"']
    allowed = POLICY.replace('actions = ["deploy"]', 'actions = ["deploy", "configure"]\nallow = ["effect.unrendered"]')
    ground = Ground(tmp_path)
    text = RELEASE.replace("  values:", "  install: {remediation: {retries: 1}}\n  values:")
    policy = allowed % ("external", "\n".join([VERSIONS, "[apps.docs.evidence]", page, *setting]))
    ground.make(policy, {PATH: text, "clusters/main/apps.yaml": FLUX})
    async with ground.opened("+deploy,configure") as engine:
        action = Configure(app="docs", settings={"tries": 3})
        taken = await engine.submit(Submission(caller=DOCS, action=action, channel="tool"))
        done = await engine.wait(taken.request.id, 60.0)

    assert done.state is State.COMMITTED, done.receipt


async def test_a_check_at_a_forge_that_cannot_be_found_is_refused_before_the_commit(tmp_path):
    check = 'check = { name = "deploy", by = "ci-bot" }'
    ground = Ground(tmp_path).lay(VERSIONS, "[apps.docs.evidence]", check, '[forge]\nkind = "gitea"')
    async with ground.opened() as engine:
        done = await ground.deploy(engine)

    assert done.receipt["error"]["code"] == "setup-failed", done.receipt
    assert ground.subjects() == []


@pytest.mark.parametrize("delivery", ["flux", "argocd"])
async def test_a_delivery_that_is_not_followed_yet_is_refused_with_what_to_set_instead(tmp_path, delivery):
    ground = Ground(tmp_path).lay(VERSIONS, delivery=delivery)
    async with ground.opened() as engine:
        done = await ground.deploy(engine)

    assert done.receipt["error"]["code"] == "delivery-unsupported", done.receipt
    assert 'delivery = "external"' in done.receipt["error"]["next"]
    assert "[apps.NAME.evidence]" in done.receipt["error"]["next"]
    assert ground.subjects() == []
