"""What policy leaves out of a forge's place is read from the remote's address, or asked for by name."""

import pytest

from infra_mcp.clients.forge.connect import Place, connect, place_of
from infra_mcp.clients.forge.gitea import Gitea
from infra_mcp.clients.forge.github import GitHub
from infra_mcp.errors import InfraError

API = "https://api.github.com"


@pytest.mark.parametrize(
    ("remote", "rules", "place"),
    [
        ("https://github.com/acme/infra.git", {}, Place("github", API, "acme/infra")),
        ("git@github.com:acme/infra.git", {}, Place("github", API, "acme/infra")),
        ("ssh://git@github.com/acme/infra", {}, Place("github", API, "acme/infra")),
        ("https://git.example/team/infra", {"kind": "gitea"}, Place("gitea", "https://git.example", "team/infra")),
        ("http://127.0.0.1:3000/a/b.git", {"kind": "gitea"}, Place("gitea", "http://127.0.0.1:3000", "a/b")),
        ("https://x.example/git/a/b", {"kind": "gitea"}, Place("gitea", "https://x.example/git", "a/b")),
        (
            "https://someone:secret@git.example/team/infra",
            {"kind": "gitea"},
            Place("gitea", "https://git.example", "team/infra"),
        ),
        (
            "git@git.example:team/infra.git",
            {"kind": "gitea", "url": "https://git.example/"},
            Place("gitea", "https://git.example", "team/infra"),
        ),
        (
            "file:///srv/infra.git",
            {"kind": "gitea", "url": "https://git.example", "repository": "team/infra"},
            Place("gitea", "https://git.example", "team/infra"),
        ),
        (
            "git@github.example:acme/infra.git",
            {"kind": "github", "url": "https://github.example/api/v3"},
            Place("github", "https://github.example/api/v3", "acme/infra"),
        ),
    ],
)
def test_a_place_is_known_from_policy_and_the_remote(remote, rules, place):
    assert place_of(remote, **rules) == place


@pytest.mark.parametrize(
    ("remote", "rules", "key"),
    [
        ("https://git.example/team/infra", {}, "kind"),
        ("git@git.example:team/infra.git", {"kind": "gitea"}, "url"),
        ("https://github.example/acme/infra", {"kind": "github"}, "url"),
        ("https://github.com/infra", {}, "repository"),
        ("ssh://git.example:x/y", {"kind": "gitea", "url": "https://git.example"}, "repository"),
    ],
)
def test_what_neither_says_is_asked_for_by_its_key_and_no_password_is_shown(remote, rules, key):
    with pytest.raises(InfraError) as caught:
        place_of(remote, **rules)

    assert caught.value.code == "setup-failed"
    assert f"does not name {key}" in caught.value.what
    assert f"adds {key} to [forge]" in caught.value.next_step


@pytest.mark.anyio
async def test_each_kind_has_its_client(tmp_path):
    gitea = await connect(Place("gitea", "https://git.example", "team/infra"), tmp_path)
    github = await connect(Place("github", API, "acme/infra"), tmp_path)

    assert (type(gitea), gitea.shown) == (Gitea, "git.example/team/infra")
    assert (type(github), github.shown) == (GitHub, "github.com/acme/infra")
