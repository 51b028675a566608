"""The client of Gitea and Forgejo at a real Gitea, where people and pipelines do their part by its API."""

import re
from dataclasses import replace

import anyio
import pytest
from gitea import gitea_server
from pull_requests import git

from infra_mcp.clients.forge import Account, http
from infra_mcp.clients.forge import gitea as gitea_client
from infra_mcp.clients.forge.gitea import Gitea
from infra_mcp.errors import InfraError, Unavailable

pytestmark = pytest.mark.anyio
OURS = "infra-mcp/1"


async def until(look, wanted, seconds=30.0):
    """Look until it is so: Gitea works on much of it in the background."""
    with anyio.fail_after(seconds):
        while not wanted(found := await look()):  # noqa: ASYNC110 - Gitea has no event for it
            await anyio.sleep(0.05)
    return found


async def test_a_proposal_is_what_was_proposed_by_whom_and_from_where(scene, forge):
    head = scene.branch()

    made = await forge.propose(OURS, "main", "Deploy docs 2.0", "Why", ("infra-mcp", "docs"))

    pull = scene.repository.pull(made.number)
    assert (pull["title"], pull["body"]) == ("Deploy docs 2.0", "Why")
    assert {one["name"] for one in pull["labels"]} == {"infra-mcp", "docs"}
    assert (made.state, made.branch, made.head, made.base) == ("open", OURS, head, "main")
    assert made.author == await forge.account() == Account(scene.bot.name)
    assert made.url == f"{scene.server.url}/{scene.repository.full_name}/pulls/{made.number}"
    assert (made.merged, made.ended_by, made.auto) == ("", None, False)
    assert forge.shown == f"{scene.server.host}/{scene.repository.full_name}"


async def test_a_branch_that_is_proposed_already_is_not_proposed_again(scene, forge):
    scene.branch()

    first = await forge.propose(OURS, "main", "One", "", ("infra-mcp",))
    again = await forge.propose(OURS, "main", "Two", "", ("infra-mcp",))

    assert again.number == first.number
    assert len(scene.repository.pulls()) == 1


@pytest.mark.parametrize("how", ["merge", "squash", "rebase", "rebase-merge", "fast-forward-only"])
async def test_a_merge_names_the_commit_that_it_made_on_the_base_branch(scene, forge, how):
    scene.branch()
    made = await forge.propose(OURS, "main", "One", "")
    if how in ("merge", "squash", "rebase", "rebase-merge"):
        scene.repository.commit({"other.txt": "theirs\n"})  # so that a rebase makes a new commit

    head = scene.repository.merge(made.number, how, by=scene.person)
    done = await forge.proposal(made.number)

    assert (done.state, done.merged, done.ended_by) == ("merged", head, Account(scene.person.name))
    assert scene.repository.read("a.txt", done.merged) == "ours\n"


async def test_a_close_by_a_person_names_the_person_and_ours_is_fine_twice(scene, forge):
    scene.branch()
    first = await forge.propose(OURS, "main", "One", "")
    scene.repository.close(first.number, by=scene.person)
    closed = await forge.proposal(first.number)
    second = await forge.propose(OURS, "main", "Two", "")
    await forge.close(second.number)
    await forge.close(second.number)

    assert (closed.state, closed.ended_by, closed.merged) == ("closed", Account(scene.person.name), "")
    assert (await forge.proposal(second.number)).ended_by == Account(scene.bot.name)
    assert (await forge.proposal_of(OURS)).number == second.number


async def test_the_newest_proposal_of_a_branch_is_found_among_many_and_after_the_branch_is_gone(scene, forge):
    scene.branch()
    first = await forge.propose(OURS, "main", "One", "")
    await forge.close(first.number)
    for number in range(3):
        scene.branch(f"theirs/{number}", path=f"{number}.txt")
        scene.repository.propose(f"theirs/{number}", by=scene.person)

    assert (await forge.proposal_of(OURS)).number == first.number
    second = await forge.propose(OURS, "main", "Two", "")
    scene.repository.delete_branch(OURS)
    found = await until(lambda: forge.proposal_of(OURS), lambda found: found.state == "closed")
    assert (found.number, found.branch, found.ended_by) == (second.number, OURS, Account(scene.owner.name))
    assert await forge.proposal_of("infra-mcp/none") is None


async def test_a_branch_that_was_never_proposed_is_not_looked_for_in_the_whole_history(scene, forge, monkeypatch):
    monkeypatch.setattr(gitea_client, "_NEWEST", 2)
    monkeypatch.setattr(gitea_client, "_PAGE", "1")
    monkeypatch.setattr(http, "MAX_PAGES", 3)
    for number in range(4):
        scene.branch(f"theirs/{number}", path=f"{number}.txt")
        scene.repository.propose(f"theirs/{number}", by=scene.person)

    assert await forge.proposal_of(OURS) is None
    assert (await forge.proposal_of("theirs/2")).branch == "theirs/2"


async def test_a_number_that_is_no_pull_request_is_not_found(forge):
    with pytest.raises(InfraError) as caught:
        await forge.proposal(7)

    assert caught.value.code == "not-found"


async def test_conflicts_show_once_gitea_has_looked_and_not_before(scene):
    scene.branch(text="ours\n")
    patient, at_once = scene.client(), scene.client(looking=0.0)
    made = await patient.propose(OURS, "main", "One", "")
    scene.repository.server.wait(lambda: scene.repository.pull(made.number)["mergeable"])
    scene.repository.commit({"a.txt": "theirs\n"})

    scene.repository.server.wait(lambda: not scene.repository.pull(made.number)["mergeable"])
    early = await patient.proposal(made.number)
    late = await until(lambda: at_once.proposal(made.number), lambda found: found.conflicts)
    scene.repository.commit({"a.txt": None})
    clean = await until(lambda: at_once.proposal(made.number), lambda found: not found.conflicts)

    assert (early.conflicts, late.conflicts, clean.conflicts) == (False, True, False)
    for client in (patient, at_once):
        await client.aclose()


async def test_title_body_and_comments_are_set(scene, forge):
    scene.branch()
    made = await forge.propose(OURS, "main", "One", "first")

    await forge.describe(made.number, "Two", "second")
    await forge.comment(made.number, "a newer release closes it")

    pull = scene.repository.pull(made.number)
    assert (pull["title"], pull["body"]) == ("Two", "second")
    assert scene.repository.comments(made.number) == ["a newer release closes it"]


async def test_the_last_word_of_each_reviewer_counts_for_the_head_it_was_given_on(scene, forge):
    repository = scene.repository
    head = scene.branch()
    number = (await forge.propose(OURS, "main", "One", "")).number
    repository.review(number, "REQUEST_CHANGES", by=scene.person)
    repository.review(number, "APPROVED", by=scene.owner)
    repository.review(number, "APPROVED", by=scene.person)
    repository.review(number, "COMMENT", by=scene.person)
    newer = scene.branch(text="ours again\n")
    dismissed = scene.server.account("reviewer")
    repository.call("PUT", f"/collaborators/{dismissed.name}", {"permission": "write"})
    review = repository.review(number, "APPROVED", by=dismissed)

    assert {(one.by.name, one.approves, one.head) for one in await forge.reviews(number)} == {
        (scene.person.name, True, head),
        (scene.owner.name, True, head),
        (dismissed.name, True, newer),
    }
    repository.call("POST", f"/pulls/{number}/reviews/{review}/dismissals", {"message": "no"})
    repository.review(number, "REQUEST_CHANGES", by=scene.owner)
    assert {(one.by.name, one.approves, one.head) for one in await forge.reviews(number)} == {
        (scene.person.name, True, head),
        (scene.owner.name, False, newer),
    }


async def test_the_authors_are_who_pushed_and_whom_the_commits_name(scene, forge, tmp_path):
    repository, owner = scene.repository, scene.owner
    scene.branch()
    made = await forge.propose(OURS, "main", "One", "")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "-b", OURS, repository.url_for(scene.person), str(clone))
    named = "-c", f"user.email={owner.name}@test.example"
    git(clone, *named, "commit", "-q", "--allow-empty", "-m", "written by another")
    git(clone, "push", "-q", "origin", f"HEAD:{OURS}")
    head = git(clone, "rev-parse", "HEAD")
    pushed = replace(made, head=head)
    scene.server.wait(lambda: head in str(repository.call("GET", f"/issues/{made.number}/timeline")))

    assert await forge.authors(pushed) == {scene.bot.name, scene.person.name, owner.name}
    assert await forge.authors(replace(made, head="0" * 40)) is None


async def test_the_head_of_what_was_merged_is_the_commit_that_was_merged(scene, forge):
    head = scene.branch()
    number = (await forge.propose(OURS, "main", "One", "")).number
    scene.repository.merge(number)
    scene.branch(text="pushed after the merge\n")

    assert (await forge.proposal(number)).head == head


async def test_the_newest_status_by_each_name_and_setter_counts(scene, forge):
    head = scene.branch()
    for state in ("pending", "success"):
        scene.repository.status(head, "deploy", state, "live\x1b[31m since\n noon", by=scene.owner)
    scene.repository.status(head, "deploy", "failure", by=scene.person)
    for context, state in (("slow", "pending"), ("broken", "error"), ("doubtful", "warning")):
        scene.repository.status(head, context, state, by=scene.owner)

    found = {(one.name, one.by): one for one in await forge.checks(head)}

    assert {key: one.state for key, one in found.items()} == {
        ("deploy", scene.owner.name): "success",
        ("deploy", scene.person.name): "failure",
        ("slow", scene.owner.name): "pending",
        ("broken", scene.owner.name): "failure",
        ("doubtful", scene.owner.name): "failure",
    }
    ours = found["deploy", scene.owner.name]
    assert ours.text == r"live\x1b[31m since noon"
    assert ours.url == f"{scene.server.url}/log"
    assert ours.set_at.year > 2000
    assert await forge.checks(scene.repository.head()) == ()
    assert await forge.deployments(head) == ()


async def test_more_statuses_than_a_page_are_all_read(scene, forge):
    head = scene.branch()
    for number in range(53):
        scene.repository.status(head, f"check {number}", by=scene.owner)

    assert len(await forge.checks(head)) == 53


async def test_auto_merge_is_turned_on_once_shows_and_merges_when_the_check_is_there(scene, forge):
    scene.repository.protect(enable_status_check=True, status_check_contexts=["build"])
    head = scene.branch()
    made = await forge.propose(OURS, "main", "One", "")

    await forge.merge_when_ready(made)
    await forge.merge_when_ready(made)
    waiting = await forge.proposal(made.number)
    scene.repository.status(head, "build", by=scene.owner)
    done = await until(lambda: forge.proposal(made.number), lambda found: found.state == "merged")

    assert (made.auto, waiting.auto, waiting.state) == (False, True, "open")
    assert done.merged == scene.repository.head()


async def test_auto_merge_that_the_account_may_not_is_refused_in_gitea_s_words(scene, forge):
    scene.repository.protect(enable_merge_whitelist=True, merge_whitelist_usernames=[scene.owner.name])
    scene.branch()
    made = await forge.propose(OURS, "main", "One", "")

    with pytest.raises(InfraError, match="User not allowed to merge PR") as caught:
        await forge.merge_when_ready(made)
    assert caught.value.code == "forge-refused"


async def test_what_gitea_refuses_is_said_in_its_words_and_without_the_token(scene, forge):
    token = scene.token_file.read_text(encoding="utf-8")
    with pytest.raises(InfraError) as missing:
        await forge.propose("infra-mcp/none", "main", "One", "")
    scene.token_file.write_text(scene.server.token(scene.bot, "read:repository"), encoding="utf-8")
    scene.branch()
    with pytest.raises(InfraError) as scope:
        await forge.propose(OURS, "main", "One", "")
    scene.token_file.write_text("a" * 40, encoding="utf-8")
    with pytest.raises(InfraError) as stranger:
        await forge.account()

    assert {one.value.code for one in (missing, scope, stranger)} == {"forge-refused"}
    assert re.search(r"answers 404: \".*", missing.value.what)
    assert "required scope" in scope.value.what
    assert "answers 401" in stranger.value.what
    assert str(scene.token_file) in stranger.value.next_step
    assert not any(token in str(one.value) or "a" * 40 in str(one.value) for one in (missing, scope, stranger))


async def test_a_forge_that_is_away_is_unreachable_and_answers_again_when_it_is_back(tmp_path):
    with gitea_server(tmp_path / "gitea") as server:
        bot = server.account("bot")
        client = Gitea(server.url, server.repository(bot).full_name, server.token_file(bot))
        assert (await client.account()).name == bot.name
        server.stop()
        with pytest.raises(Unavailable) as caught:
            await client.account()
        server.start()

        assert (await client.account()).name == bot.name
        assert caught.value.code == "forge-unreachable"
        await client.aclose()
