"""The client of GitHub at a stand-in that answers as GitHub's documentation says: GitHub itself cannot be had here."""

from dataclasses import replace

import pytest
from github_stand_in import NOON, TOKEN, GitHubStandIn, person
from scripted_http import Answer

from infra_mcp.clients.forge import Account, http
from infra_mcp.clients.forge.github import GitHub
from infra_mcp.clients.forge.limits import parsed_time
from infra_mcp.errors import InfraError, Unavailable

pytestmark = pytest.mark.anyio
OURS, HEAD, MERGED = "infra-mcp/1", "a" * 40, "c" * 40
ALICE = person("alice")


@pytest.fixture(params=["", "/api/v3"], ids=["github.com", "enterprise"])
def hub(request):
    return GitHubStandIn(below=request.param, heads={OURS: HEAD})


@pytest.fixture
async def forge(hub, tmp_path):
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(TOKEN, encoding="utf-8")
    with hub.up() as url:
        client = GitHub(url, "acme/infra", file)
        yield client
        await client.aclose()


async def test_a_proposal_is_what_was_proposed_and_is_not_made_twice(hub, forge):
    made = await forge.propose(OURS, "main", "Deploy docs 2.0", "Why", ("infra-mcp",))
    again = await forge.propose(OURS, "main", "Other", "")

    assert again.number == made.number == 1
    assert (hub.pulls[1]["title"], hub.pulls[1]["body"], hub.labels[1]) == ("Deploy docs 2.0", "Why", ["infra-mcp"])
    assert (made.state, made.branch, made.head, made.base) == ("open", OURS, HEAD, "main")
    assert made.author == await forge.account() == Account("infra-bot")
    assert made.url == "https://github.example/acme/infra/pull/1"
    assert (made.merged, made.ended_by, made.conflicts, made.auto) == ("", None, False, False)


async def test_a_proposal_that_came_first_from_elsewhere_is_taken(hub, forge, monkeypatch):
    """Between our look and our call another process of ours opened it: GitHub answers 422."""
    list_pulls, looked = hub._list, []

    def first_empty(asked, query):
        looked.append(query)
        if len(looked) == 1:
            hub.open(OURS, hub.bot)
            return Answer([])
        return list_pulls(asked, query)

    monkeypatch.setattr(hub, "_list", first_empty)

    assert (await forge.propose(OURS, "main", "One", "")).number == 1
    assert len(looked) == 2


async def test_a_merge_names_its_commit_and_who_did_it_and_before_there_is_none(hub, forge):
    """Before the merge, `merge_commit_sha` is a commit that only tests the merge."""
    made = await forge.propose(OURS, "main", "One", "")
    hub.merge(1, MERGED, person("github-merge-queue[bot]", "Bot"))

    done = await forge.proposal(1)

    assert made.merged == ""
    assert (done.state, done.merged) == ("merged", MERGED)
    assert done.ended_by == Account("github-merge-queue[bot]", bot=True)


async def test_a_close_names_who_did_it_and_ours_is_fine_twice(hub, forge):
    await forge.propose(OURS, "main", "One", "")
    hub.close(1, ALICE)
    closed = await forge.proposal(1)
    await forge.propose(OURS, "main", "Two", "")
    await forge.close(2)
    await forge.close(2)

    assert (closed.state, closed.ended_by) == ("closed", Account("alice"))
    assert (await forge.proposal(2)).ended_by == Account("infra-bot")
    assert (await forge.proposal_of(OURS)).number == 2
    assert await forge.proposal_of("infra-mcp/none") is None
    with pytest.raises(InfraError) as caught:
        await forge.proposal(7)
    assert caught.value.code == "not-found"


@pytest.mark.parametrize(("mergeable", "conflicts"), [(None, False), (True, False), (False, True)])
async def test_conflicts_show_once_github_has_looked(hub, forge, mergeable, conflicts):
    await forge.propose(OURS, "main", "One", "")
    hub.pulls[1]["mergeable"] = mergeable

    assert (await forge.proposal(1)).conflicts is conflicts


async def test_title_body_and_comments_are_set(hub, forge):
    await forge.propose(OURS, "main", "One", "first")

    await forge.describe(1, "Two", "second")
    await forge.comment(1, "superseded")

    assert (hub.pulls[1]["title"], hub.pulls[1]["body"], hub.comments[1]) == ("Two", "second", ["superseded"])


async def test_the_last_word_of_each_reviewer_counts(hub, forge):
    def review(who, state, head=HEAD):
        hub.reviews.append({"user": who, "state": state, "commit_id": head})

    await forge.propose(OURS, "main", "One", "")
    bob, carol = person("bob"), person("carol")
    review(ALICE, "CHANGES_REQUESTED")
    review(ALICE, "APPROVED", MERGED)
    review(ALICE, "COMMENTED")
    review(bob, "APPROVED")
    review(bob, "DISMISSED")
    review(carol, "APPROVED")
    review(carol, "CHANGES_REQUESTED")
    review(None, "APPROVED")  # of an account that was deleted
    review(person("dave"), "PENDING")

    assert {(one.by.name, one.approves, one.head) for one in await forge.reviews(1)} == {
        ("alice", True, MERGED),
        ("carol", False, HEAD),
    }


async def test_the_authors_are_who_pushed_and_whom_the_commits_name(hub, forge):
    def pushed(who, after, kind="push", ref=OURS):
        hub.activity.append({"actor": who, "after": after, "activity_type": kind, "ref": f"refs/heads/{ref}"})

    made = await forge.propose(OURS, "main", "One", "")
    bob, carol, dave, erin = (person(name) for name in ("bob", "carol", "dave", "erin"))
    pushed(dave, "0" * 40, "branch_deletion")
    pushed(bob, made.head, "force_push")
    pushed(None, MERGED)  # of an account that was deleted
    pushed(erin, made.head, ref="other")
    hub.commits += [{"sha": MERGED, "author": carol, "committer": None}]

    assert await forge.authors(made) == {"bob", "carol"}
    assert await forge.authors(replace(made, head="1" * 40)) is None


def check_run(name, app, conclusion, at=NOON, **more):
    status = "completed" if conclusion else "in_progress"
    ends = {"completed_at": at} if conclusion else {"completed_at": None}
    made = {"head_sha": HEAD, "name": name, "app": {"slug": app}, "status": status, "conclusion": conclusion}
    return made | {"started_at": at, "output": {"title": None}, "html_url": f"https://x/{name}"} | ends | more


@pytest.mark.parametrize(
    ("conclusion", "state"),
    [
        ("success", "success"),
        (None, "pending"),
        ("action_required", "pending"),
        ("failure", "failure"),
        ("timed_out", "failure"),
        ("cancelled", "failure"),
        ("skipped", "failure"),
        ("neutral", "failure"),
        ("stale", "failure"),
        ("startup_failure", "failure"),
    ],
)
async def test_only_a_check_run_that_succeeded_is_a_success(hub, forge, conclusion, state):
    hub.check_runs = [check_run("deploy", "github-actions", conclusion)]

    (found,) = await forge.checks(HEAD)

    assert (found.name, found.by, found.state, found.set_at) == ("deploy", "github-actions", state, parsed_time(NOON))


async def test_the_newest_check_by_each_name_and_setter_counts_on_all_pages(hub, forge):
    later = "2026-01-02T13:00:00Z"
    hub.check_runs = [check_run(f"unit {number}", "ci", "success") for number in range(120)]
    hub.check_runs += [check_run("deploy", "argo", "success", later), check_run("deploy", "argo", "failure")]
    hub.check_runs += [check_run("deploy", "forged", "success")]
    status = {"context": "deploy", "creator": ALICE, "description": "\x1b[31mlive", "target_url": "https://x/log"}
    hub.statuses = [status | {"state": "error", "updated_at": later}, status | {"state": "success", "updated_at": NOON}]

    found = {(one.name, one.by): one for one in await forge.checks(HEAD)}

    assert len(found) == 123
    assert {by: found["deploy", by].state for by in ("argo", "forged", "alice")} == {
        "argo": "success",
        "forged": "success",
        "alice": "failure",
    }
    assert found["deploy", "alice"].text == r"\x1b[31mlive"
    assert [one.path.partition("?")[2] for one in hub.seen if "check-runs" in one.path] == [
        "per_page=100",
        "per_page=100&page=2",
    ]


async def test_a_deployment_has_its_newest_state_and_stays_a_success_when_a_later_one_replaces_it(hub, forge):
    deployer = person("deployer[bot]", "Bot")
    for number, environment in enumerate(("production", "staging", "preview")):
        made = {"id": number, "sha": HEAD, "environment": environment, "creator": ALICE, "updated_at": NOON}
        hub.deployments.append(made)
    hub.deployments.append({"id": 9, "sha": MERGED, "environment": "production", "creator": ALICE, "updated_at": NOON})

    def state(name):
        return {"state": name, "creator": deployer, "environment": "", "updated_at": NOON, "description": name}

    hub.states = {0: [state("inactive"), state("success"), state("in_progress")], 1: [state("error"), state("success")]}
    hub.states |= {2: []}

    found = {one.environment: (one.state, one.by) for one in await forge.deployments(HEAD)}

    assert found == {
        "production": ("success", "deployer[bot]"),
        "staging": ("failure", "deployer[bot]"),
        "preview": ("pending", "alice"),
    }


async def test_auto_merge_is_turned_on_once_at_the_head_and_in_a_way_that_the_repository_allows(hub, forge):
    made = await forge.propose(OURS, "main", "One", "")

    await forge.merge_when_ready(made)
    await forge.merge_when_ready(made)

    assert hub.pulls[1]["auto_merge"]["merge_method"] == "squash"
    assert (await forge.proposal(1)).auto
    assert len([one for one in hub.seen if one.path.endswith("/graphql")]) == 1


async def test_auto_merge_of_another_head_or_one_that_github_does_not_offer_is_refused(hub, forge):
    made = await forge.propose(OURS, "main", "One", "")
    hub.pulls[1]["head"]["sha"] = MERGED
    with pytest.raises(InfraError, match="Head sha") as moved:
        await forge.merge_when_ready(made)
    hub.graphql_errors = [{"type": "UNPROCESSABLE", "message": "Auto merge is not allowed for this repository"}]
    with pytest.raises(InfraError, match="not allowed for this repository") as refused:
        await forge.merge_when_ready(made)
    hub.graphql_errors = [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]
    with pytest.raises(Unavailable) as limited:
        await forge.merge_when_ready(made)

    assert {one.value.code for one in (moved, refused)} == {"forge-refused"}
    assert limited.value.code == "forge-unreachable"
    assert hub.pulls[1]["auto_merge"] is None


async def test_an_apps_token_is_asked_whose_it_is_by_graphql(hub, forge):
    hub.app = True

    assert await forge.account() == Account("infra-mcp[bot]", bot=True)


async def test_requests_say_which_api_and_who_asks(hub, forge):
    await forge.account()

    (asked,) = hub.seen
    assert asked.headers["X-GitHub-Api-Version"] == "2022-11-28"
    assert asked.headers["Accept"] == "application/vnd.github+json"
    assert asked.headers["User-Agent"] == "infra-mcp"


@pytest.mark.parametrize(
    "limited",
    [
        Answer(
            {"message": "API rate limit exceeded"},
            403,
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999999999"},
        ),
        Answer({"message": "You have exceeded a secondary rate limit"}, 403),
        Answer({"message": "You have exceeded a secondary rate limit"}, 429, {"Retry-After": "120"}),
    ],
    ids=["primary", "secondary", "retry-after"],
)
async def test_a_rate_limit_is_waited_for_and_no_refusal(hub, forge, limited):
    """Of "Rate limits for the REST API": requests during the time may get an integration banned."""
    hub.limited = [limited]
    for _ in range(3):
        with pytest.raises(Unavailable, match="asks to wait"):
            await forge.account()

    assert len(hub.seen) == 1


async def test_a_refusal_has_githubs_words_and_not_the_token(forge):
    with pytest.raises(InfraError) as caught:
        await forge.propose("infra-mcp/none", "main", "One", "")

    assert caught.value.code == "forge-refused"
    assert '422: "Validation Failed; invalid"' in caught.value.what
    assert TOKEN not in str(caught.value)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(http, "PAUSES", (0.01, 0.01))
