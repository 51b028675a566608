"""Evidence by a forge: statuses at a real Gitea; deployments, which Gitea has not, at a stand-in of the protocol."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

import anyio
import pytest
from gitea import gitea

from infra_mcp.clients.forge import Deployment as Made
from infra_mcp.clients.forge.gitea import Gitea
from infra_mcp.drivers.base import Context
from infra_mcp.drivers.external import evidence
from infra_mcp.drivers.external.check import Check, Deployment
from infra_mcp.errors import InfraError, Unavailable
from infra_mcp.policy.evidence import CheckRules, DeploymentRules
from infra_mcp.policy.policy import load

__all__ = ["gitea"]

pytestmark = [pytest.mark.anyio, pytest.mark.promise("delivery.external")]


class Place:
    """A repository at Gitea, the pipeline's account, another one, and a check that policy names."""

    def __init__(self, gitea):
        self.owner, self.bot, self.other = gitea.account("owner"), gitea.account("ci"), gitea.account("other")
        self.repository = gitea.repository(self.owner, **{self.bot.name: "write", self.other.name: "write"})
        self.commit = self.repository.commit({"a.txt": "ours\n"})
        self.forge = Gitea(gitea.url, self.repository.full_name, gitea.token_file(self.bot))

    def check(self, applies="on-branch"):
        async def forge():
            return self.forge

        return Check(forge, CheckRules(name="deploy", by=self.bot.name, applies=applies))


@pytest.fixture
async def place(gitea):
    made = Place(gitea)
    yield made
    await made.forge.aclose()


def context(commit, say=lambda _: None, head=""):
    return Context("req-1", "media", load(""), say=say, commit=commit, head=head)


async def test_a_status_of_our_commit_by_the_named_account_is_waited_for_from_pending_to_success(place):
    place.repository.status(place.commit, "deploy", "pending", "under way", by=place.bot)
    said = []

    def succeed(text):
        if not said:
            place.repository.status(place.commit, "deploy", "success", by=place.bot)
        said.append(text)

    fact = await place.check().holds(context(place.commit, succeed), None, 30.0)

    assert "pending" in said[0]
    assert "under way" in said[0]
    assert fact == f"check deploy by {place.bot.name} succeeded for {place.commit[:12]}"


async def test_an_event_of_the_forge_is_a_reason_to_look_again_at_once(place, monkeypatch):
    monkeypatch.setattr(evidence, "_FIRST_PAUSE", 1_000.0)
    event = anyio.Event()
    check = replace(place.check(), news=lambda: nullcontext(event))

    def succeed(_):
        place.repository.status(place.commit, "deploy", "success", by=place.bot)
        event.set()

    with anyio.fail_after(30):
        assert await check.holds(context(place.commit, succeed), None, 600.0)


async def test_one_that_another_account_set_says_nothing(place):
    place.repository.status(place.commit, "deploy", "success", by=place.other)

    with pytest.raises(InfraError, match=f"only {place.other.name} set it") as caught:
        await place.check().holds(context(place.commit), None, 0.5)

    assert caught.value.code == "not-landed"


async def test_neither_one_of_another_commit_nor_one_of_another_name_says_anything(place):
    later = place.repository.commit({"b.txt": "theirs\n"})
    place.repository.status(place.commit, "deploy", "success", by=place.bot)
    place.repository.status(later, "lint", "success", by=place.bot)

    with pytest.raises(InfraError, match="not set for"):
        await place.check().holds(context(later), None, 0.5)


async def test_a_failure_ends_the_wait_with_the_words_of_the_pipeline_and_its_log(place):
    place.repository.status(place.commit, "deploy", "failure", "quota exceeded", by=place.bot)

    with pytest.raises(InfraError, match="quota exceeded") as caught:
        await place.check().holds(context(place.commit), None, 60.0)

    assert caught.value.code == "not-landed"
    assert "/log" in caught.value.what


async def test_another_accounts_failure_ends_nothing(place):
    place.repository.status(place.commit, "deploy", "failure", "made up", by=place.other)
    place.repository.status(place.commit, "deploy", "success", by=place.bot)

    assert await place.check().holds(context(place.commit), None, 10.0)


async def test_before_the_merge_the_commit_that_was_proposed_counts(place):
    head = place.repository.commit({"c.txt": "proposed\n"}, branch="proposed")
    place.repository.status(head, "deploy", "success", by=place.bot)

    assert await place.check("before-merge").holds(context(place.commit, head=head), None, 10.0)
    with pytest.raises(InfraError):
        await place.check().holds(context(place.commit, head=head), None, 0.5)


async def test_an_undo_waits_for_the_check_of_the_revert(place):
    revert = place.repository.commit({"a.txt": "theirs again\n"})
    place.repository.status(place.commit, "deploy", "success", by=place.bot)

    with pytest.raises(InfraError):
        await place.check().gone(context(revert), None, 0.5)
    place.repository.status(revert, "deploy", "success", by=place.bot)
    assert await place.check().gone(context(revert), None, 10.0)


class Forge:
    """A stand-in for the protocol of forges, with deployments only: GitHub, which has them, cannot be had here."""

    def __init__(self, *made):
        self.made, self.away = list(made), 0

    async def deployments(self, commit):
        if self.away:
            self.away -= 1
            raise Unavailable("forge-unreachable", "The forge does not answer.")
        return tuple(one for at, one in self.made if at == commit)


def deployment(forge):
    async def connected():
        return forge

    return Deployment(connected, DeploymentRules(environment="production", by="ci-bot"))


def made(state, by="ci-bot", environment="production", minute=0):
    return Made(environment, by, state, datetime(2026, 1, 1, 0, minute, tzinfo=UTC), "said")


async def test_the_newest_state_of_the_named_environment_and_account_counts_and_a_forge_that_is_away_is_asked_again():
    forge = Forge(
        ("c1", made("failure", minute=1)),
        ("c1", made("success", minute=2)),
        ("c1", made("failure", by="mallory", minute=3)),
        ("c1", made("failure", environment="staging", minute=4)),
    )
    forge.away, said = 1, []

    assert await deployment(forge).holds(context("c1", said.append), None, 10.0)
    assert "does not answer" in said[0]
    with pytest.raises(InfraError, match="not set for c2"):
        await deployment(forge).holds(context("c2"), None, 0.3)


async def test_a_deployment_that_fails_ends_the_wait():
    with pytest.raises(InfraError, match="failed for c1"):
        await deployment(Forge(("c1", made("failure")))).holds(context("c1"), None, 60.0)


async def test_however_much_news_there_is_a_forge_is_not_asked_without_a_pause(monkeypatch):
    slept, looks = [], []

    @contextmanager
    def news():
        event = anyio.Event()
        event.set()
        yield event

    async def sleep(seconds):
        slept.append(seconds)

    async def look():
        looks.append(1)
        return evidence.Seen(len(looks) == 20, "there")

    monkeypatch.setattr(evidence.anyio, "sleep", sleep)
    await evidence.poll("it", look, 60.0, lambda _: None, 15.0, news)

    assert slept[0] == evidence._FIRST_PAUSE
    assert set(slept[5:]) == {evidence._LEAST_PAUSE}
    assert len(slept) == 19
