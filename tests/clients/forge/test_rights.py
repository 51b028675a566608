"""The rights of the server's token are held against those it needs: at a real Gitea, and at GitHub's stand-in."""

import pytest
from github_stand_in import TOKEN, GitHubStandIn

from infra_mcp.clients.forge import Rights
from infra_mcp.clients.forge.github import GitHub
from infra_mcp.errors import InfraError

pytestmark = pytest.mark.anyio


@pytest.fixture
def walled(scene):
    """The branch protection that docs/forges.md asks for: nobody pushes, and the bot does not merge."""
    scene.repository.protect(enable_merge_whitelist=True, merge_whitelist_usernames=[scene.person.name])
    return scene


async def rights(scene, *scopes, of=None, merges=False):
    """The rights of a token of our bot, or of another account."""
    scene.token_file = scene.server.token_file(of or scene.bot, *scopes)
    client = scene.client()
    try:
        return await client.rights("main", merges=merges)
    finally:
        await client.aclose()


async def test_the_token_that_it_should_have_lacks_nothing_and_has_nothing_too_much(walled):
    assert await rights(walled) == Rights()


@pytest.mark.parametrize(
    ("scopes", "missing"),
    [
        (("read:repository", "write:issue", "read:user"), "open pull requests: it needs the scope write:repository"),
        (
            ("write:repository", "read:issue", "read:user"),
            "comment and label pull requests: it needs the scope write:issue",
        ),
        (("write:repository", "write:issue"), "read whose it is: it needs the scope read:user"),
    ],
)
async def test_a_scope_that_is_missing_is_named(walled, scopes, missing):
    found = await rights(walled, *scopes)

    assert len(found.missing) == 1
    assert missing in found.missing[0]
    assert found.excess == ()


async def test_a_token_that_may_not_read_the_repository_is_told_so_alone(walled):
    found = await rights(walled, "write:issue", "read:user")

    assert [one for one in found.missing if "may not read the repository" in one] == list(found.missing)


async def test_an_account_that_may_only_read_may_not_push_branches(walled):
    reader = walled.server.account("reader")
    walled.repository.call("PUT", f"/collaborators/{reader.name}", {"permission": "read"})

    found = await rights(walled, of=reader)

    assert len(found.missing) == 1
    assert "may not push branches" in found.missing[0]


async def test_a_branch_without_protection_is_a_right_too_many(scene):
    found = await rights(scene)

    assert found.missing == ()
    assert any("may push to main, which is not protected" in one for one in found.excess)
    assert any("may merge pull requests into main" in one for one in found.excess)


async def test_an_account_on_the_protections_list_may_push(walled):
    walled.repository.protect(enable_push=True, enable_push_whitelist=True, push_whitelist_usernames=[walled.bot.name])

    found = await rights(walled)

    assert len(found.excess) == 1
    assert "may push to main: take it from" in found.excess[0]


async def test_merging_is_a_right_too_many_unless_policy_wants_auto_merge(scene):
    scene.repository.protect()

    without, wanted = await rights(scene), await rights(scene, merges=True)

    assert len(without.excess) == 1
    assert "may merge pull requests into main" in without.excess[0]
    assert wanted == Rights()


async def test_auto_merge_without_the_right_to_merge_is_missing(walled):
    found = await rights(walled, merges=True)

    assert len(found.missing) == 1
    assert "cannot turn on auto-merge" in found.missing[0]


async def test_administrators_of_the_repository_and_of_the_forge_are_too_much(walled):
    walled.repository.call("PUT", f"/collaborators/{walled.bot.name}", {"permission": "admin"})
    of_the_repository = await rights(walled)
    of_the_forge = await rights(walled, "all", of=walled.server.account("chief", admin=True))

    assert any("administers the repository" in one for one in of_the_repository.excess)
    assert not any("administers the forge" in one for one in of_the_repository.excess)
    assert any("administers the forge" in one for one in of_the_forge.excess)


async def test_a_branch_that_is_not_there_is_said(walled):
    walled.token_file = walled.server.token_file(walled.bot)
    client = walled.client()
    found = await client.rights("release/1", merges=False)
    await client.aclose()

    assert found.missing == ("The repository has no branch release/1 that the token may read.",)


async def test_looking_at_the_rights_changes_nothing_at_the_forge(walled):
    before = walled.repository.call("GET", "/issues?state=all&type=issues"), walled.repository.pulls()

    await rights(walled, "all")

    assert (walled.repository.call("GET", "/issues?state=all&type=issues"), walled.repository.pulls()) == before


def reviewed(count, number=5):
    return {"type": "pull_request", "ruleset_id": number, "parameters": {"required_approving_review_count": count}}


@pytest.fixture
def hub():
    """A repository at GitHub as docs/forges.md asks for."""
    return GitHubStandIn(
        rules=[reviewed(1)], rulesets={5: {"name": "main is reviewed", "current_user_can_bypass": "never"}}
    )


@pytest.fixture
def ask(hub, tmp_path):
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(TOKEN, encoding="utf-8")

    async def asking(*, merges=False):
        with hub.up() as url:
            client = GitHub(url, "acme/infra", file)
            try:
                return await client.rights("main", merges=merges)
            finally:
                await client.aclose()

    return asking


@pytest.mark.parametrize("scopes", [None, "repo", "repo, read:user"])
async def test_github_as_documented_lacks_nothing_and_has_nothing_too_much(hub, ask, scopes):
    hub.scopes = scopes

    assert await ask() == Rights()


@pytest.mark.parametrize(
    ("refuses", "missing"),
    [
        (r"^/repos/acme/infra$", "may not read the repository"),
        (r"/pulls$", "may not read pull requests"),
        (r"check-runs$", "may not read check runs"),
        (r"/statuses$", "may not read commit statuses"),
        (r"/branches/", "has no branch main that the token may read"),
    ],
)
async def test_at_github_what_the_token_may_not_read_is_named(hub, ask, refuses, missing):
    hub.refuses = refuses

    found = await ask()

    assert any(missing in one for one in found.missing), found


def admin(hub):
    hub.repository["permissions"]["admin"] = True


def unprotected(hub):
    hub.rules, hub.protected = [], False


def bypass(hub):
    hub.rulesets[5]["current_user_can_bypass"] = "pull_requests_only"


def unreviewed(hub):
    hub.rules = [reviewed(0)]


def workflow(hub):
    hub.scopes = "repo, workflow"


def wide(hub):
    hub.scopes = "repo, delete_repo, admin:org"


@pytest.mark.parametrize(
    ("change", "excess"),
    [
        (admin, "administers the repository"),
        (unprotected, "may push to main, which is not protected"),
        (bypass, 'may bypass the ruleset "main is reviewed" of main'),
        (unreviewed, "may merge what it proposed into main"),
        (workflow, "may change workflows"),
        (wide, "scopes that nothing here needs: delete_repo, admin:org"),
    ],
)
async def test_at_github_a_right_too_many_is_named(hub, ask, change, excess):
    change(hub)

    found = await ask()

    assert len(found.excess) == 1
    assert excess in found.excess[0]
    assert found.missing == ()


async def test_at_github_auto_merge_must_be_offered_and_then_merging_is_no_right_too_many(hub, ask):
    unreviewed(hub)
    assert await ask(merges=True) == Rights()
    hub.repository["allow_auto_merge"] = False

    assert (await ask(merges=True)).missing == ("The repository does not offer auto-merge: allow it in its settings.",)


async def test_at_github_a_wrong_token_is_a_refusal(ask, tmp_path):
    (tmp_path / "token").write_text("another-0123456789", encoding="utf-8")

    with pytest.raises(InfraError, match="401") as caught:
        await ask()
    assert caught.value.code == "forge-refused"
