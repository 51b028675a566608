"""Reviews at the forge as approvals: whose count, of which commit, and what becomes of a merge without them."""

import pytest
from engine.forge_ground import BEFORE, ended, proposed, pushed_to, tell
from engine.two_kinds import NEW, THINGS, until

from infra_mcp.clients.forge import Account
from infra_mcp.errors import InfraError
from infra_mcp.model.request import State
from infra_mcp.policy.policy import load

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.promise("git.pull-request"),
    pytest.mark.promise("approval.not-self"),
    pytest.mark.promise("approval.digest"),
]
IN_MEMORY = pytest.mark.parametrize("ground", ["a forge in memory"], indirect=True)


def wants(ground, approvals=1):
    """Have a rule want reviews: of olga, whose account is ann's, of bert, and by the asker's own account."""
    rule = f"""
[[rules]]
id = "seen"
match = {{ namespaces = ["docs-*"] }}
require = {{ by = "review", approvals = {approvals} }}
[forge.operators]
"{ground.account("ann")}" = "olga"
"{ground.account("bob")}" = "bert"
"{ground.account("asker")}" = "docs"
infra-bot = "robo"
linter = "lint"
"""
    text = ground.settings.policy_file.read_text("utf-8")
    ground.settings.policy_file.write_text(text + rule, "utf-8")


def theirs(ground, number):
    """A commit that ann pushes to the branch of a pull request."""
    ground.pushed(pushed_to(ground, ground.pulls()[number]["branch"], "notes.txt", "and this\n"))


def says(engine, request, words):
    """Whether its wait at the forge is described with these words."""
    return lambda: words in engine.progress(request.id)


def approved(engine, request):
    """Whether its wait at the forge is described, and no review is missing any more."""
    return lambda: "waits for people" in (said := engine.progress(request.id)) and "rules.seen" not in said


async def test_reviews_by_enough_operators_approve_what_is_then_merged_by_anyone(ground):
    wants(ground, 2)
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        assert "wants 2 reviews by different operators" in ground.pulls()[number]["body"]
        await until(says(engine, request, "rules.seen has 0 of 2 reviews by different operators"))
        ground.review(number, "ann")
        tell(engine)
        await until(says(engine, request, "has 1 of 2"))
        ground.review(number, "bob")
        tell(engine)
        await until(approved(engine, request))
        ground.merge(number, "squash")
        tell(engine)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt
    assert ground.live() == ground.in_git() == dict.fromkeys(THINGS, NEW)


async def test_a_review_of_the_last_commit_counts_also_where_others_pushed_it(ground):
    wants(ground)
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        theirs(ground, number)
        ground.review(number, "bob")
        await until(approved(engine, request))
        ground.merge(number)
        tell(engine)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt


def _unreviewed(ground, number):
    pass


def _by_the_asker(ground, number):
    ground.review(number, "asker")


def _by_nobody_known(ground, number):
    ground.review(number, "carl")


def _of_an_older_commit(ground, number):
    ground.review(number, "bob")
    theirs(ground, number)


def _by_an_author(ground, number):
    theirs(ground, number)
    ground.review(number, "ann")


def _taken_back(ground, number):
    ground.review(number, "bob")
    ground.review(number, "bob", approves=False)


def _another_is_against_it(ground, number):
    ground.review(number, "bob")
    ground.review(number, "ann", approves=False)


def _dismissed(ground, number):
    ground.review(number, "bob")
    ground.dismiss(number, "bob")


LACKS = [
    (_unreviewed, "has 0 of 1 review by an operator"),
    (_by_the_asker, "docs asked for it"),
    (_by_nobody_known, "to no operator"),
    (_of_an_older_commit, "it is of another commit than the last"),
    (_by_an_author, "it is an author's"),
    (_taken_back, "bert asks for changes"),
    (_another_is_against_it, "olga asks for changes"),
    (_dismissed, "has 0 of 1 review by an operator"),
]
AT_GITEA = [one for one in LACKS if one[0] in (_of_an_older_commit, _by_an_author, _taken_back)]


@IN_MEMORY
@pytest.mark.parametrize(("reviewed", "why"), LACKS, ids=[how.__name__.strip("_") for how, _ in LACKS])
async def test_a_merge_without_enough_reviews_approves_nothing_and_is_taken_back(ground, reviewed, why):
    await _reviewed_and_merged(ground, reviewed, why)


@pytest.mark.process
@pytest.mark.parametrize(("reviewed", "why"), AT_GITEA, ids=[how.__name__.strip("_") for how, _ in AT_GITEA])
async def test_at_a_real_forge_it_is_the_same(at_gitea, reviewed, why):
    await _reviewed_and_merged(at_gitea, reviewed, why)


async def _reviewed_and_merged(ground, reviewed, why):
    wants(ground)
    async with ground.engine(deliverer=False) as engine:
        request, number = await proposed(ground, engine)
        reviewed(ground, number)
        tell(engine)
        await until(says(engine, request, why))
        await _nothing_came_of_it(ground, engine, request, why)


async def _nothing_came_of_it(ground, engine, request, why):
    ground.merge(1)
    tell(engine)
    await until(lambda: len(ground.pulls()) == 2)
    waiting = await engine.wait(request.id, 60.0)
    ground.close(2)
    tell(engine)
    done = await ended(engine, request)

    assert waiting.state is State.REVERTING
    assert done.state is State.NEEDS_OPERATOR, done.receipt
    assert why in done.receipt["message"]
    assert ground.live() == BEFORE


@IN_MEMORY
@pytest.mark.parametrize(("by", "bot", "why"), [("infra-bot", False, "an author's"), ("linter", True, "a bot's")])
async def test_no_bot_and_not_the_server_itself_reviews_a_change(ground, by, bot, why):
    wants(ground)
    async with ground.engine(deliverer=False) as engine:
        request, number = await proposed(ground, engine)
        ground.forge.review(number, by, bot=bot)
        await _nothing_came_of_it(ground, engine, request, why)


@IN_MEMORY
async def test_neither_does_an_account_that_the_server_has_had_since(ground, monkeypatch):
    wants(ground)

    async def account():
        return Account(ground.account("bob"))

    monkeypatch.setattr(ground.forge, "account", account)
    async with ground.engine(deliverer=False) as engine:
        request, number = await proposed(ground, engine)
        ground.review(number, "bob")
        await _nothing_came_of_it(ground, engine, request, "an author's")


@IN_MEMORY
async def test_where_the_forge_does_not_say_who_pushed_no_review_counts(ground):
    wants(ground)
    async with ground.engine(deliverer=False) as engine:
        request, number = await proposed(ground, engine)
        theirs(ground, number)
        ground.forge.pushers.clear()
        ground.review(number, "bob")
        await _nothing_came_of_it(ground, engine, request, "does not say who pushed")


@IN_MEMORY
async def test_a_rule_that_wants_reviews_since_it_was_proposed_counts_those_that_are_there(ground):
    async with ground.engine() as engine:
        request, number = await proposed(ground, engine)
        ground.review(number, "bob")
    wants(ground)
    async with ground.engine() as engine:
        ground.merge(number)
        done = await ended(engine, request)

    assert done.state is State.LANDED, done.receipt


WANTS = '[[rules]]\nid = "seen"\nrequire = { by = "review", approvals = 2 }\n'


@pytest.mark.parametrize(
    ("tree", "forge", "wrong"),
    [
        ("pull-request", "", "forge.operators maps no account"),
        ("pull-request", 'operators = { a = "ann", b = "ann" }', "names fewer operators: 1"),
        ("pull-request", 'merge = "auto"\noperators = { a = "ann", b = "bob" }', "the forge merge by itself"),
        ("push", 'operators = { a = "ann", b = "bob" }', "tree.write is not pull-request"),
    ],
)
def test_a_policy_that_wants_reviews_which_cannot_come_is_invalid(tree, forge, wrong):
    with pytest.raises(InfraError, match=wrong):
        load(f'[tree]\nwrite = "{tree}"\n[forge]\nkind = "gitea"\n{forge}\n{WANTS}')


@IN_MEMORY
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("by", ["merge", "review"])
async def test_a_change_that_is_pushed_without_a_pull_request_does_not_wait_for_an_approval_there(ground, by, dry_run):
    wants(ground)
    text = ground.settings.policy_file.read_text("utf-8").replace('by = "review"', f'by = "{by}"')
    for path in ("own", "others"):
        text = text.replace(f'path = "{path}"', f'path = "{path}"\nwrite = "push"')
    ground.settings.policy_file.write_text(text, "utf-8")
    async with ground.engine() as engine:
        done = await ground.ask(engine, dry_run=dry_run)

    assert done.state is State.REFUSED, done.receipt
    error = done.receipt["error"]
    assert (error["code"], error["rule"]) == ("policy-denied", "rules.seen")
    assert f"It needs 1 {by} by an operator of a pull request, and others/fourth.json is pushed" in error["what"]
    assert 'write = "pull-request"' in error["next"]
    assert (ground.live(), ground.pulls()) == (BEFORE, {})
