"""Peers' words at a real Gitea: as they stand they are commands; made inert, nothing is triggered by any of them."""

import pytest
from hostile_forge import TEXTS, Ground

from infra_mcp.model import forge_text
from infra_mcp.repository.commit import message

GROUPS = 4


@pytest.fixture
def ground(gitea, tmp_path):
    return Ground(gitea, tmp_path)


def having(kind):
    return [name for name in TEXTS if kind in TEXTS[name].get("gitea", ())]


def test_as_they_stand_these_texts_mention_and_refer(ground):
    """The control: without it, the test below could not fail."""
    for name in having("mention"):
        before = ground.mentions()
        ground.repository.call("POST", "/issues", {"title": name, "body": ground.words(name, 1)}, by=ground.bot)
        ground.server.wait(lambda before=before: ground.mentions() > before)
    for name in having("reference"):
        issue = ground.issue()
        ground.repository.call("POST", "/issues", {"title": name, "body": ground.words(name, issue)}, by=ground.bot)
        ground.server.wait(lambda issue=issue: ground.referred(issue))


def test_as_they_stand_these_texts_close_issues_and_book_time_from_a_commit(ground):
    aims = {name: ground.issue() for name in {*having("close"), *having("time")}}

    ground.chain(ground.words(name, issue) for name, issue in aims.items())

    for name in having("close"):
        ground.server.wait(lambda name=name: not ground.is_open(aims[name]))
    for name in having("time"):
        ground.server.wait(lambda name=name: ground.times(aims[name]))


def test_as_they_stand_these_texts_skip_the_checks_or_make_a_draft(ground):
    commits = {name: ground.commit(f"{name}.txt", ground.words(name, 1)) for name in having("skip")}
    plain = ground.commit("plain.txt", "plain")
    ground.git("push", "-q", "origin", *(f"{one}:refs/heads/theirs/{one}" for one in (*commits.values(), plain)))
    ground.server.wait(lambda: ground.runs(plain, "push"))
    assert [name for name, commit in commits.items() if ground.runs(commit, "push")] == []

    for number, name in enumerate(having("draft")):
        ground.git("push", "-q", "origin", f"{plain}:refs/heads/draft/{number}")
        opened = ground.repository.propose(f"draft/{number}", ground.words(name, 1), by=ground.bot)
        assert ground.repository.pull(opened)["draft"]


@pytest.mark.promise("forge.inert")
@pytest.mark.parametrize("group", range(GROUPS))
def test_made_inert_no_text_triggers_anything_as_title_commit_body_or_comment(ground, group):
    names = sorted(TEXTS)[group::GROUPS]
    assert len(TEXTS) >= 40
    issue = ground.issue()
    messages, commits = {}, {}
    for name in names:
        words = ground.words(name, issue)
        messages[name] = message(words, words, {"Idempotency-Key": words})
        commits[name] = ground.commit(f"{name}.txt", messages[name])
    ground.git("push", "-q", "origin", *(f"{one}:refs/heads/infra-mcp/{name}" for name, one in commits.items()))
    numbers = {}
    for name in names:
        words = ground.words(name, issue)
        body = f"Why: {forge_text.code(words)}\n\n{forge_text.fenced(words)}"
        numbers[name] = ground.repository.propose(f"infra-mcp/{name}", forge_text.title(words), body, by=ground.bot)
        ground.repository.comment(numbers[name], forge_text.fenced(words), by=ground.bot)

    for name, commit in commits.items():
        ground.server.wait(lambda commit=commit: ground.runs(commit, "push"))
        ground.server.wait(lambda commit=commit: ground.runs(commit, "pull_request"))
        pull = ground.repository.pull(numbers[name])
        assert (pull["draft"], pull["state"], pull["labels"], pull["assignees"] or []) == (False, "open", [], []), name
    for name, how in zip(names, ("merge", "squash", "rebase"), strict=False):
        ground.repository.merge(numbers[name], how, by=ground.owner)
    plain = ground.issue()
    ground.chain([*messages.values(), f"Closes #{plain}"])
    ground.server.wait(lambda: not ground.is_open(plain))  # so it has read the others, too

    assert ground.mentions() == 0
    assert not ground.referred(issue)
    assert ground.is_open(issue)
    assert ground.times(issue) == 0
